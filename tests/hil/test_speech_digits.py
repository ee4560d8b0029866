"""Spoken digits: joined and published forms are one set, with the official split."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hil.errors import RequestError
from hil.training.data import load_dataset
from hil.training.data.audio import one_second


def clip(number: int, samples: int) -> np.ndarray:
    """Noise that tells the clip: no two numbers give the same."""
    return np.random.default_rng(number).integers(-9000, 9000, samples).astype(np.int16)


def digit_name(digit: int, speaker: str, number: int) -> str:
    return f"{digit}_{speaker}_{number}.wav"


def write_digits(folder: Path, numbers: int = 7) -> dict[tuple[int, str, int], np.ndarray]:
    """Write recordings of two speakers as the publisher does."""
    folder.mkdir(parents=True)
    waves = {}
    for digit in range(10):
        for speaker in ("jackson", "theo"):
            for number in range(numbers):
                key = (digit, speaker, number)
                waves[key] = clip(len(waves), 1500 + 100 * number)
                soundfile.write(folder / digit_name(*key), waves[key], 8_000)
    return waves


def test_spoken_digits_0_to_4_are_the_test_part(tmp_path):
    waves = write_digits(tmp_path / "recordings")
    data = load_dataset("spoken-digits", tmp_path)
    assert (len(data.train), len(data.test)) == (40, 100)
    order = sorted(waves, key=lambda key: (key[2], key[1], key[0]))
    for part, keys in ((data.test, order[:100]), (data.train, order[100:])):
        assert part.labels.tolist() == [digit for digit, _, _ in keys]
        for samples, key in zip(part.samples.numpy(), keys, strict=True):
            assert np.array_equal(samples, one_second(waves[key] / 32_768, 8_000)), key
    assert data.image_shape == (1, 49, 10)


def test_joined_digits_are_the_published_ones(tmp_path):
    waves = write_digits(tmp_path / "published" / "recordings")
    keys = sorted(waves)
    joined = tmp_path / "joined"
    joined.mkdir()
    soundfile.write(joined / "fsdd_8k.flac", np.concatenate([waves[k] for k in keys]), 8_000)
    length = np.array([len(waves[k]) for k in keys], np.int32)
    number = np.array([k[2] for k in keys], np.uint8)
    index = {
        "offset": (np.cumsum(length) - length).astype(np.int32),
        "length": length,
        "label": np.array([k[0] for k in keys], np.uint8),
        "speaker": np.array([k[1] for k in keys], "<U8"),
        "recording": number,
        "is_test": number < 5,
    }
    np.savez(joined / "fsdd_index.npz", **index)
    one = load_dataset("spoken-digits", joined)
    other = load_dataset("spoken-digits", tmp_path / "published")
    assert (one.form, other.form) == ("joined", "recordings")
    assert (one.train.sha256, one.test.sha256) == (other.train.sha256, other.test.sha256)
    for change in ({"is_test": number < 4}, {"offset": index["offset"] + np.int32(1)}):
        np.savez(joined / "fsdd_index.npz", **{**index, **change})
        with pytest.raises(RequestError, match="get it again"):
            load_dataset("spoken-digits", joined)


def test_digits_in_an_archive_are_read_in_place(tmp_path):
    write_digits(tmp_path / "set" / "recordings")
    archive = tmp_path / "free-spoken-digit-dataset-1.0.10.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "set", arcname="free-spoken-digit-dataset-1.0.10")
        large = tarfile.TarInfo("free-spoken-digit-dataset-1.0.10/README.md")
        file.addfile(large, io.BytesIO(b""))
    found = load_dataset("spoken-digits", tmp_path)
    assert found.form == "archive"
    assert found.test.sha256 == load_dataset("spoken-digits", tmp_path / "set").test.sha256


def test_digits_that_lack_one_are_refused(tmp_path):
    write_digits(tmp_path / "recordings")
    for path in (tmp_path / "recordings").glob("3_*"):
        path.unlink()
    with pytest.raises(RequestError, match=r"every digit 0\.\.\.9"):
        load_dataset("spoken-digits", tmp_path)


@pytest.mark.data
def test_the_digit_set_is_as_its_readme_says(data_dir):
    data = load_dataset("spoken-digits", data_dir, train_samples=120, test_samples=60)
    assert torch.bincount(data.train.labels).tolist() == [12] * 10
    assert torch.bincount(data.test.labels).tolist() == [6] * 10
