"""A person's recording: any channels, rate and length to one second, or one clear sentence."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import RequestError
from hil.training.data.audio import one_second, read_joined, read_wav


def tone(seconds: float, rate: int, hz: float = 500.0, level: float = 0.25) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return level * np.sin(2 * np.pi * hz * t)


def written(folder: Path, wave: np.ndarray, rate: int, **options: str) -> Path:
    path = folder / options.pop("name", "word.wav")
    soundfile.write(path, wave, rate, **options)
    return path


def test_one_second_at_16_khz_is_read_sample_for_sample(tmp_path):
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 16_000).astype(np.int16)
    path = tmp_path / "word.wav"
    soundfile.write(path, samples, 16_000, subtype="PCM_16")
    assert np.array_equal(read_wav(path), samples)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("word.wav", {"subtype": "PCM_16"}),
        ("word.wav", {"subtype": "PCM_24"}),
        ("word.wav", {"subtype": "FLOAT"}),
        ("word.wav", {"subtype": "PCM_U8"}),
        ("word.flac", {}),
    ],
    ids=["16 bit", "24 bit", "float", "8 bit", "flac"],
)
def test_sample_formats_agree(tmp_path, name, options):
    path = written(tmp_path, tone(1.0, 16_000), 16_000, name=name, **options)
    found = read_wav(path)
    assert found.dtype == np.int16
    tolerance = 257 if options.get("subtype") == "PCM_U8" else 1
    assert np.abs(found - 32_768 * tone(1.0, 16_000)).max() <= tolerance


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_rates_are_brought_to_16_khz(tmp_path, rate):
    found = read_wav(written(tmp_path, tone(1.0, rate), rate)) / 32_768
    error = (found - tone(1.0, 16_000))[800:-800]  # the filter rings at both ends
    assert found.shape == (16_000,)
    assert np.abs(error).max() < 0.003


def test_channels_are_averaged(tmp_path):
    both = np.stack([tone(1.0, 16_000), -tone(1.0, 16_000)], axis=1)
    assert not read_wav(written(tmp_path, both, 16_000)).any()
    left = both * [1.0, 0.0]
    assert np.abs(read_wav(written(tmp_path, left, 16_000))).max() == pytest.approx(4096, abs=2)


@given(seconds=st.floats(0.01, 0.99))
def test_a_short_recording_stands_in_the_middle_of_zeros(seconds):
    wave = np.full(round(seconds * 16_000), 0.5)
    found = one_second(wave, 16_000)
    where = np.flatnonzero(found)
    assert len(where) == len(wave)
    assert abs((where[0] + where[-1]) / 2 - 7999.5) <= 0.5


@given(start=st.integers(0, 40_000), seed=st.integers(0, 99))
def test_the_loudest_second_of_a_long_recording_is_kept(start, seed):
    rng = np.random.default_rng(seed)
    wave = 0.001 * rng.standard_normal(56_000)
    word = 0.3 * rng.standard_normal(16_000)
    wave[start : start + 16_000] = word
    assert np.array_equal(one_second(wave, 16_000), one_second(word, 16_000))


def test_full_scale_does_not_wrap():
    found = one_second(np.concatenate([np.full(10, 1.5), np.full(10, -1.5)]), 16_000)
    assert (int(found.max()), int(found.min())) == (32_767, -32_768)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"nothing\.wav cannot be read .*give a WAV or FLAC"):
        read_wav(tmp_path / "nothing.wav")
    with pytest.raises(RequestError, match="cannot be read"):
        read_wav(tmp_path)


@pytest.mark.parametrize(
    ("wave", "rate", "sentence"),
    [
        (np.zeros(0), 16_000, "lasts 0 s"),
        (np.zeros(2_000_001), 3_000, "3000 samples a second, outside 4000"),
        (np.zeros(601 * 4_000), 4_000, "lasts 601 s.*up to 600 s"),
        (np.full(16_000, np.nan, np.float32), 16_000, "no numbers"),
    ],
    ids=["empty", "rate", "long", "nan"],
)
def test_recordings_out_of_range_are_refused(tmp_path, wave, rate, sentence):
    path = written(tmp_path, wave, rate, subtype="FLOAT")
    with pytest.raises(RequestError, match=sentence) as caught:
        read_wav(path)
    assert str(path) in str(caught.value)


def test_a_truncated_flac_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = written(tmp_path, 0.3 * rng.standard_normal(16_000), 16_000, name="word.flac")
    path.write_bytes(path.read_bytes()[:12_000])
    with pytest.raises(RequestError, match="get or record it again"):
        read_wav(path)


@given(content=st.binary(max_size=200), head=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS"]))
def test_any_bytes_give_a_recording_or_a_request_error(tmp_path_factory, content, head):
    path = tmp_path_factory.mktemp("audio") / "word.wav"
    path.write_bytes(head + content)
    with contextlib.suppress(RequestError):
        assert read_wav(path).shape == (16_000,)


def test_joined_clips_are_decoded_only_as_far_as_wanted(tmp_path):
    samples = np.random.default_rng(1).integers(-9000, 9000, 4000).astype(np.int16)
    path = tmp_path / "joined.flac"
    soundfile.write(path, samples, 8_000)
    assert np.array_equal(read_joined(path, rate_hz=8_000, samples=4000), samples)
    few = read_joined(path, rate_hz=8_000, samples=4000, wanted=100)
    assert np.array_equal(few, samples[:100])


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [((16_000, 4000), "rate, channels, format"), ((8_000, 4001), "as its index says")],
    ids=["rate", "length"],
)
def test_a_joined_file_of_another_rate_or_length_is_refused(tmp_path, expected, sentence):
    path = tmp_path / "joined.flac"
    soundfile.write(path, np.zeros(4000, np.int16), 8_000)
    with pytest.raises(RequestError, match=sentence):
        read_joined(path, rate_hz=expected[0], samples=expected[1])
