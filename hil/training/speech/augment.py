"""Changes of recordings and of their features, for training. Knows no network and no data set.

Shift, speed, gain and noise act on the recording; masks act on the features (SpecAugment: Park et
al., arXiv 1904.08779). Every number is drawn from the generator that is handed in, on the CPU.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from jaxtyping import Float, Int16
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hil.training.speech.mfcc import FULL_SCALE, SAMPLE_RATE_HZ

__all__ = ["SpeechChange", "change_features", "change_recordings"]

Share = Annotated[float, Field(ge=0, le=1)]
Decibel = Annotated[float, Field(ge=-100, le=100)]
Count = Annotated[int, Field(ge=0, le=1000)]


class SpeechChange(BaseModel):
    """Largest change per recording; each is drawn uniformly up to it, in both directions.

    Attributes:
        shift_s: Shift in time, s; zeros come in.
        speed: Relative change of speed about the middle, pitch included.
        gain_db: Change of level.
        noise_share: Share of the recordings that get noise.
        noise_db: Lowest and highest level of that noise below the recording's own RMS.
        noise_class: Label of the recordings that are background noise, one of which is mixed in
            half of the time; the other half, and without a label, it is noise made here, of a
            spectral slope between white and brown.
        channel: Standard deviation of an offset of each coefficient that stays for the whole
            recording, as the response of another microphone does; in units of the inputs.
        time_masks, time_mask_frames: Masks over frames, and the length of the longest.
        mel_masks, mel_mask_coefficients: Likewise over coefficients.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["speech"] = "speech"
    shift_s: float = Field(default=0.1, ge=0, le=1)
    speed: float = Field(default=0.1, ge=0, le=0.5)
    gain_db: Decibel = 6.0
    noise_share: Share = 0.8
    noise_db: tuple[Decibel, Decibel] = (5.0, 40.0)
    noise_class: int | None = Field(default=None, ge=0)
    channel: Share = 0.0
    time_masks: Count = 2
    time_mask_frames: Count = 8
    mel_masks: Count = 1
    mel_mask_coefficients: Count = 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.noise_db[0] > self.noise_db[1]:
            raise ValueError(f"noise_db {self.noise_db} must not fall")
        return self


def change_recordings(
    recordings: Int16[Tensor, "n samples"],
    settings: SpeechChange,
    generator: torch.Generator,
    *,
    background: Int16[Tensor, "m samples"] | None = None,
) -> Int16[Tensor, "n samples"]:
    """Return changed copies, clipped at full scale.

    Args:
        recordings: What to change.
        settings: How much.
        generator: Where all numbers come from.
        background: Recordings of noise to choose from, if there are any.
    """
    count, length = recordings.shape
    draw = 2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1
    moved = _moved(
        recordings.float(),
        speed=1 + settings.speed * draw[:, 0],
        shift=settings.shift_s * SAMPLE_RATE_HZ * draw[:, 1],
    )
    noise = _coloured_noise(count, length, generator)
    if background is not None and len(background):
        noise = _with_background(noise, background, generator)
    chance = torch.rand(count, 2, generator=generator)
    low, high = settings.noise_db
    below_db = low + (high - low) * chance[:, 0]
    level = moved.square().mean(dim=1).sqrt() * 10 ** (-below_db / 20)
    level = torch.where(chance[:, 1] < settings.noise_share, level, 0.0)
    gain = (10 ** (settings.gain_db * draw[:, 2] / 20)).float()
    changed = gain[:, None] * (moved + level[:, None] * noise)
    return changed.round().clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16)


def change_features(
    features: Float[Tensor, "n 1 frames coefficients"],
    settings: SpeechChange,
    generator: torch.Generator,
) -> Float[Tensor, "n 1 frames coefficients"]:
    """Return copies of another channel, stretches of frames and of coefficients at 0, the mean."""
    count, _, frames, coefficients = features.shape
    offset = settings.channel * torch.randn(count, 1, 1, coefficients, generator=generator)
    keep_frame = _kept(count, frames, settings.time_masks, settings.time_mask_frames, generator)
    keep_coefficient = _kept(
        count, coefficients, settings.mel_masks, settings.mel_mask_coefficients, generator
    )
    keep = keep_frame[:, None, :, None] & keep_coefficient[:, None, None, :]
    return (features + offset.to(features.device)) * keep.to(features.device)


def _moved(recordings: Tensor, *, speed: Tensor, shift: Tensor) -> Tensor:
    """Resample about the middle by linear interpolation, zeros outside; speed, shift (n,)."""
    length = recordings.shape[1]
    middle = (length - 1) / 2
    time = torch.arange(length, dtype=torch.float64) - middle
    place = time * speed[:, None] + (middle - shift[:, None])
    before = place.floor()
    share = (place - before).float()
    padded = torch.nn.functional.pad(recordings, (1, 2))
    index = before.clamp(-1, length).long() + 1
    inside = (place > -1) & (place < length)
    taken = padded.gather(1, index) * (1 - share) + padded.gather(1, index + 1) * share
    return taken * inside


def _coloured_noise(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise of RMS 1, (count, length); power falls as f^-slope, slope 0...2 by draw."""
    slope = 2 * torch.rand(count, 1, generator=generator)
    white = torch.randn(count, length, generator=generator)
    bins = torch.arange(length // 2 + 1).clamp(min=1)
    shaped = torch.fft.irfft(torch.fft.rfft(white) * bins ** (-slope / 2), n=length)
    return _unit_power(shaped)


def _with_background(noise: Tensor, background: Tensor, generator: torch.Generator) -> Tensor:
    count = len(noise)
    chosen = torch.randint(len(background), (count,), generator=generator)
    real = torch.rand(count, 1, generator=generator) < 0.5
    return torch.where(real, _unit_power(background[chosen].float()), noise)


def _unit_power(noise: Tensor) -> Tensor:
    """Scale each row to RMS 1; a silent one stays silent."""
    rms = noise.square().mean(dim=1, keepdim=True).sqrt()
    return noise / rms.clamp(min=torch.finfo(noise.dtype).tiny)


def _kept(count: int, length: int, masks: int, longest: int, generator: torch.Generator) -> Tensor:
    """Draw which of `length` places stay, (count, length), bool; masks may overlap."""
    draw = torch.rand(count, masks, 2, generator=generator)
    width = (draw[..., 0] * (longest + 1)).floor()
    start = (draw[..., 1] * (length + 1 - width).clamp(min=1)).floor()
    place = torch.arange(length)
    hidden = (place >= start[..., None]) & (place < (start + width)[..., None])
    return ~hidden.any(dim=1)
