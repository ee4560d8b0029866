"""MFCC: golden values of another library, and the laws of frames, gain and silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hil.errors import RequestError
from hil.training.speech import MfccSettings, mfcc, speech_inputs
from hil.training.speech.mfcc import CHUNK, FULL_SCALE

GOLDEN = Path(__file__).parent / "golden" / "mfcc.npz"
SETTINGS = MfccSettings()


def noise(seed: int, count: int = 2, level: float = 0.1, samples: int = 16_000) -> torch.Tensor:
    """Waveforms of white noise, (count, samples) float64, full scale 1."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(level * rng.standard_normal((count, samples)))


def test_golden_values_of_librosa():
    with np.load(GOLDEN) as golden:
        clips = torch.from_numpy(golden["recordings"])
        wanted = torch.from_numpy(golden["coefficients"]).double()
    found = mfcc(clips.double() / FULL_SCALE, SETTINGS)
    assert found.shape == (5, 49, 10)
    assert float((found - wanted).abs().max()) < 1e-5  # rounding of the golden file to float32


def test_librosa_itself_where_it_is_installed():
    librosa = pytest.importorskip("librosa")
    clip = noise(11, 1)[0].numpy()
    spectrum = librosa.stft(
        np.pad(clip, 192), n_fft=1024, hop_length=320, win_length=640, center=False
    )
    filters = librosa.filters.mel(
        sr=16_000, n_fft=1024, n_mels=40, fmin=20, fmax=4000, htk=True, norm=None
    )
    log_mel = np.log(filters @ np.abs(spectrum) ** 2 + 1e-6)
    wanted = librosa.feature.mfcc(S=log_mel, n_mfcc=10).T
    assert np.allclose(mfcc(torch.from_numpy(clip)[None], SETTINGS)[0], wanted, atol=1e-4)


@given(strides=st.integers(1, 20), seed=st.integers(0, 50))
def test_shift_by_strides_shifts_frames(strides, seed):
    long = noise(seed, 1, samples=16_000 + 320 * strides)
    whole = mfcc(long, SETTINGS)
    later = mfcc(long[:, 320 * strides :], SETTINGS)
    # Another number of frames is another matrix product: rounding may differ with the processor.
    torch.testing.assert_close(later, whole[:, strides:], rtol=1e-10, atol=1e-10)


@given(gain=st.floats(0.1, 8.0), seed=st.integers(0, 50))
def test_gain_moves_the_zeroth_coefficient_alone(gain, seed):
    # Loud noise: the floor of the logarithm is a part in 10^5 of the power of a band.
    quiet, loud = (mfcc(noise(seed) * level, SETTINGS) for level in (1.0, gain))
    change = loud - quiet
    assert torch.allclose(
        change[..., 0], torch.tensor(40**0.5 * 2 * np.log(gain)).double(), atol=0.02
    )
    assert float(change[..., 1:].abs().max()) < 0.02


def test_tone_lies_in_the_band_of_its_frequency():
    t = torch.arange(16_000, dtype=torch.float64) / 16_000
    every = SETTINGS.model_copy(update={"mean": (0.0,) * 40, "std": (1.0,) * 40})
    tones = torch.stack([torch.sin(2 * torch.pi * hz * t) for hz in (200.0, 1000.0, 3000.0)])
    bands = torch.arange(40)
    # All coefficients undo to log powers: the DCT is orthonormal.
    log_power = mfcc(tones, every) @ _dct40().T
    peak = bands[log_power.mean(dim=1).argmax(dim=1)]
    mels = [2595 * np.log10(1 + hz / 700) for hz in (200, 1000, 3000)]
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (20, 4000))
    wanted = [round((mel - low) / (high - low) * 41 - 1) for mel in mels]
    assert peak.tolist() == wanted


def _dct40() -> torch.Tensor:
    from scipy.fft import dct  # noqa: PLC0415 - another implementation, as a judge

    return torch.from_numpy(dct(np.eye(40), axis=1, norm="ortho"))


@pytest.mark.parametrize(("count", "samples"), [(7, 16_000), (CHUNK + 5, 1_300)])
def test_batch_equals_its_parts_bit_for_bit(count, samples):
    clips = (noise(3, count, samples=samples) * FULL_SCALE).round().to(torch.int16)
    whole = speech_inputs(clips)
    assert torch.equal(whole, torch.cat([speech_inputs(clips[:2]), speech_inputs(clips[2:])]))


def test_inputs_are_float32_images_scaled_by_constants():
    clips = (noise(4, 3) * FULL_SCALE).round().to(torch.int16)
    inputs = speech_inputs(clips)
    assert inputs.shape == (3, 1, 49, 10)
    assert inputs.dtype == torch.float32
    features = mfcc(clips.double() / FULL_SCALE, SETTINGS)
    mean, std = torch.tensor(SETTINGS.mean).double(), torch.tensor(SETTINGS.std).double()
    assert torch.allclose(inputs[:, 0].double() * std + mean, features, atol=1e-4)


@pytest.mark.parametrize("value", [0, -32_768, 32_767])
def test_constant_recordings_give_finite_inputs(value):
    inputs = speech_inputs(torch.full((1, 16_000), value, dtype=torch.int16))
    assert bool(inputs.isfinite().all())


def test_no_recordings_give_no_inputs():
    assert speech_inputs(torch.zeros(0, 16_000, dtype=torch.int16)).shape == (0, 1, 49, 10)


@pytest.mark.parametrize("shape", [(16_000,), (1, 639), (1, 2, 16_000)], ids=str)
def test_another_shape_is_refused(shape):
    with pytest.raises(RequestError, match=r"samples >= 640"):
        mfcc(torch.zeros(shape), SETTINGS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"high_hz": 8001.0}, "half the sample rate"),
        ({"low_hz": 5000.0}, "must rise"),
        ({"window_samples": 2048}, "above fft_samples"),
        ({"std": (1.0,)}, "10 means and 1 deviations"),
        ({"log_floor": 0.0}, "greater than 0"),
        ({"liftering": 22}, "liftering"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        MfccSettings.model_validate({**SETTINGS.model_dump(), **change})


@pytest.mark.data
def test_constants_are_the_statistics_of_the_training_part(data_dir):
    from hil.training import load_dataset  # noqa: PLC0415 - only this test reads data

    inputs = load_dataset("speech-commands", data_dir, train_samples=1000).train.images
    assert float(inputs.mean(dim=(0, 1, 2)).abs().max()) < 0.1
    assert float((inputs.std(dim=(0, 1, 2)) - 1).abs().max()) < 0.1
