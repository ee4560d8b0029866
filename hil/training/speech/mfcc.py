"""Mel-frequency cepstral coefficients (MFCC): recordings to network inputs. Knows no data set.

Frames of 40 ms every 20 ms and ten coefficients, as for the keyword spotters of MicroNets (arXiv
2010.11267) and AnalogNets (arXiv 2111.06503): 49 x 10 from one second. Triangular filters, linear
in frequency, between points that are equally far apart on O'Shaughnessy's mel scale; natural
logarithm of power; orthonormal DCT-II. No pre-emphasis, no liftering, no level control.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated, Self

import torch
from jaxtyping import Float, Int16
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hil.errors import RequestError

__all__ = ["FULL_SCALE", "SAMPLES", "SAMPLE_RATE_HZ", "MfccSettings", "mfcc", "speech_inputs"]

SAMPLE_RATE_HZ = 16_000
SAMPLES = 16_000
"""Samples of a recording: one second."""
FULL_SCALE = 32_768.0
"""Sample value that counts as amplitude 1 (16 bit)."""
CHUNK = 256
"""Recordings transformed at a time: 0.3 GB of intermediate values for one second each."""
MEL_HZ = 700.0
"""Corner of the mel scale: mel = 2595 log10(1 + f / 700 Hz) (O'Shaughnessy 1987)."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class MfccSettings(BaseModel):
    """How a recording becomes features.

    Attributes:
        sample_rate_hz: Rate of the recordings.
        window_samples, stride_samples: Length of a frame (Hann window), distance of two.
        fft_samples: Length of the transform; a frame is padded with zeros to it.
        mel_bands: Number of filters.
        low_hz, high_hz: Lower edge of the first filter, upper edge of the last.
        log_floor: Added to the power of a band before the logarithm; amplitude 1 is full scale.
        mean, std: Of each coefficient over the training part of the 12-class speech set; inputs
            are (coefficient - mean) / std. Their number is the number of coefficients kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: Annotated[int, Field(ge=1)] = SAMPLE_RATE_HZ
    window_samples: Annotated[int, Field(ge=2)] = 640
    stride_samples: Annotated[int, Field(ge=1)] = 320
    fft_samples: Annotated[int, Field(ge=2)] = 1024
    mel_bands: Annotated[int, Field(ge=1, le=512)] = 40
    low_hz: Annotated[Finite, Field(ge=0)] = 20.0
    high_hz: Positive = 4000.0
    log_floor: Positive = 1e-6
    mean: tuple[Finite, ...] = (-32.0, 6.2, 0.46, -0.30, -0.51, -0.23, -0.29, -0.25, -0.58, -0.52)
    std: tuple[Positive, ...] = (27.8, 7.9, 5.0, 3.9, 3.3, 2.6, 2.3, 2.0, 1.9, 1.8)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"low_hz {self.low_hz} and high_hz {self.high_hz} must rise within "
                f"0...{self.sample_rate_hz / 2} Hz, half the sample rate"
            )
        if self.window_samples > self.fft_samples:
            raise ValueError(
                f"window_samples {self.window_samples} is above fft_samples {self.fft_samples}"
            )
        if not 1 <= len(self.mean) == len(self.std) <= self.mel_bands:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} deviations; give as many of both, "
                f"1...{self.mel_bands} (mel_bands)"
            )
        return self

    @property
    def coefficients(self) -> int:
        """Coefficients kept, from the zeroth."""
        return len(self.mean)

    def frames(self, samples: int) -> int:
        """Whole frames in so many samples."""
        return max(0, 1 + (samples - self.window_samples) // self.stride_samples)


def mfcc(
    waveforms: Float[Tensor, "n samples"], settings: MfccSettings
) -> Float[Tensor, "n frames coefficients"]:
    """Compute coefficients in float64, whatever else is in the batch; amplitude 1 is full scale.

    Raises:
        RequestError: Not (n, samples), or shorter than one frame.
    """
    if waveforms.ndim != 2 or settings.frames(waveforms.shape[1]) < 1:
        raise RequestError(
            f"waveforms have shape {tuple(waveforms.shape)}; (n, samples >= "
            f"{settings.window_samples}) is needed"
        )
    if len(waveforms) == 0:  # the Fourier transform refuses an empty batch
        frames = settings.frames(waveforms.shape[1])
        return waveforms.new_zeros(0, frames, settings.coefficients, dtype=torch.float64)
    tables = _tables(settings, waveforms.device)
    cut = waveforms.double().unfold(1, settings.window_samples, settings.stride_samples)
    spectrum = torch.fft.rfft(cut * tables.window, n=settings.fft_samples)
    spectrum = spectrum[..., : len(tables.filters)]
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.log(power @ tables.filters + settings.log_floor) @ tables.cosines


def speech_inputs(
    recordings: Int16[Tensor, "n samples"], settings: MfccSettings | None = None
) -> Float[Tensor, "n 1 frames coefficients"]:
    """Turn 16-bit recordings into network inputs, float32; (n, 1, 49, 10) from one second each."""
    chosen = settings or MfccSettings()
    parts = [_scaled(part, chosen) for part in torch.split(recordings, CHUNK)]
    return torch.cat(parts).unsqueeze(1)


def _scaled(recordings: Tensor, settings: MfccSettings) -> Tensor:
    features = mfcc(recordings.double() / FULL_SCALE, settings)
    mean, std = (features.new_tensor(v) for v in (settings.mean, settings.std))
    return ((features - mean) / std).float()


class _Tables:
    """Window (window,), filters (bins up to high_hz, bands), cosines (bands, coefficients)."""

    def __init__(self, settings: MfccSettings, device: torch.device) -> None:
        phase = torch.arange(settings.window_samples, dtype=torch.float64)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * phase / settings.window_samples)
        self.window = window.to(device)
        self.filters = _mel_filters(settings).to(device)
        self.cosines = _dct(settings.mel_bands, settings.coefficients).to(device)


@functools.lru_cache(maxsize=8)
def _tables(settings: MfccSettings, device: torch.device) -> _Tables:
    return _Tables(settings, device)


def _mel_filters(settings: MfccSettings) -> Tensor:
    """Triangles of height 1, (bins, bands); band b rises from edge b to b + 1, falls to b + 2."""
    low, high = (2595 * math.log10(1 + hz / MEL_HZ) for hz in (settings.low_hz, settings.high_hz))
    mels = torch.linspace(low, high, settings.mel_bands + 2, dtype=torch.float64)
    edges = MEL_HZ * (10 ** (mels / 2595) - 1)
    bin_hz = settings.sample_rate_hz / settings.fft_samples
    hz = torch.arange(int(settings.high_hz / bin_hz) + 1, dtype=torch.float64)[:, None] * bin_hz
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def _dct(bands: int, coefficients: int) -> Tensor:
    """Orthonormal DCT-II as a matrix (bands, coefficients)."""
    band = torch.arange(bands, dtype=torch.float64)[:, None]
    order = torch.arange(coefficients, dtype=torch.float64)
    cosines = torch.cos(math.pi / bands * (band + 0.5) * order) * math.sqrt(2 / bands)
    cosines[:, 0] *= math.sqrt(0.5)
    return cosines
