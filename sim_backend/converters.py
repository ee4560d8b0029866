"""Output converters: gain, offset, trims, noise, quantisation, saturation. Knows no device.

Codes are round(gain y / step + offset), clipped. One converter per col (HERMES: 256 current-
controlled oscillators per core; Khaddam-Aljameh et al., IEEE JSSC 57(4), 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sim_backend.params import ConverterParams
    from sim_backend.pcm import Effects
    from sim_backend.streams import Streams

__all__ = ["Codes", "Mask", "OutputConverter"]

Codes = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

BITS_OF_OFFSETS = 8
"""Offsets and output noise are given in codes of this many bits, whatever the ADC has."""


class OutputConverter:
    """The ADCs of one array side.

    Args:
        params: Spreads and steps.
        lines: Number of converters.
        streams: Named random streams.
        device: Where tensors live.
        effects: Which effects are on.
        name: Name of the fabrication stream.
    """

    def __init__(
        self,
        params: ConverterParams,
        lines: int,
        streams: Streams,
        device: torch.device,
        effects: Effects,
        *,
        name: str = "converter_fabrication",
    ) -> None:
        self._params = params
        self._effects = effects
        made = streams.on_cpu(name)
        gain = (2 * torch.rand(lines, generator=made) - 1) * params.gain_spread
        offset = torch.randn(lines, generator=made) * params.offset_sigma
        on = float(effects.mismatch)
        self._raw_gain: Float[Tensor, " lines"] = (1 + on * gain).to(device)
        self._raw_offset: Float[Tensor, " lines"] = (on * offset).to(device)
        self._gain_trim = torch.zeros(lines, device=device)
        self._offset_trim = torch.zeros(lines, device=device)
        self.max_code = (1 << (params.adc_bits - 1)) - 1
        self.read_max_code = (1 << params.adc_bits) - 1
        self._scale = self.max_code / ((1 << (BITS_OF_OFFSETS - 1)) - 1)
        self._noise_variance = torch.tensor([self.noise_codes**2], device=device)

    def trim(self, gain: Tensor | None, offset: Tensor | None) -> None:
        """Set trim codes per converter; None keeps."""
        if gain is not None:
            self._gain_trim = gain.to(self._raw_gain)
        if offset is not None:
            self._offset_trim = offset.to(self._raw_offset)

    @property
    def gain(self) -> Float[Tensor, " lines"]:
        """Gain in force, relative to nominal."""
        return self._raw_gain * (1 + self._params.gain_trim_step * self._gain_trim)

    @property
    def offset_codes(self) -> Float[Tensor, " lines"]:
        """Offset in force, output codes."""
        step = self._params.offset_trim_step
        return self._scale * (self._raw_offset + step * self._offset_trim)

    @property
    def noise_codes(self) -> float:
        """Standard deviation of the additive output noise, output codes."""
        return self._scale * self._params.output_noise if self._effects.output_noise else 0.0

    @property
    def noise_variance(self) -> Float[Tensor, " 1"]:
        """Variance of the additive output noise, output codes squared: float32, one element."""
        return self._noise_variance

    @property
    def read_offset_codes(self) -> Float[Tensor, " lines"]:
        """Offset in force, codes of a cell read (its codes are those of the 8-bit converter)."""
        return self.offset_codes * (self.read_max_code / (2 * self.max_code + 1))

    @property
    def read_noise_codes(self) -> float:
        """Standard deviation of the converter noise of a cell read, codes."""
        return self.noise_codes * (self.read_max_code / (2 * self.max_code + 1))

    def convert(self, codes: Float[Tensor, "*s"], low: int, high: int) -> tuple[Codes, Mask]:
        """Round in place and clip to low...high; return codes and where they were clipped."""
        wide = codes.round_().clamp_(low - 1, high + 1).to(torch.int16).cpu()
        clipped = wide.clamp(low, high).numpy()
        return clipped, clipped != wide.numpy()
