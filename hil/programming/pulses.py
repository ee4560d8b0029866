"""Pulses from wishes: the nominal RESET curve, device planes, pulse lists. Knows no algorithm.

A RESET pulse overwrites the state of a PCM element along a curve that falls with amplitude, so a
wanted conductance is an amplitude. The maker's typical curve is the starting point; what one device
does differently is for an algorithm to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from hil.core import Pulse
from hil.errors import RequestError
from hil.info import PulseFamily

if TYPE_CHECKING:
    from hil.info import CoreInfo, PulseLimits

__all__ = [
    "ResetCurve",
    "bounded_move",
    "full_set_pulses",
    "places_of",
    "polarity_targets",
    "require_family",
    "reset_pulses",
    "split_equally",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

SLOPE_FLOOR_SHARE = 0.02  # of the steepest slope; below it a curve is flat to any read noise


@dataclass(frozen=True, kw_only=True, eq=False)
class ResetCurve:
    """The nominal RESET curve of a core, both ways; amplitudes are codes, not yet rounded.

    Attributes:
        codes: Amplitude codes of the curve, rising, (n,).
        siemens: Conductance after a pulse of that amplitude, S, not rising, (n,).
        min_code, max_code: Amplitude codes the core accepts.
        steepest: Largest slope of the curve, S per code.
    """

    codes: Array
    siemens: Array
    min_code: int
    max_code: int
    steepest: float
    _rising: tuple[Array, Array]

    @classmethod
    def of(cls, info: CoreInfo) -> Self:
        """Take the curve and the limits from what a core says of itself.

        Raises:
            RequestError: The core has no RESET pulses, or the curve is flat.
        """
        limits = require_family(info, PulseFamily.RESET)
        codes = np.asarray(info.device.reset_amplitude_codes, np.float64)
        siemens = np.asarray(info.device.reset_siemens, np.float64)
        steepest = float(np.max(-np.diff(siemens) / np.diff(codes)))
        if steepest <= 0:
            raise RequestError(f"the nominal RESET curve of {info.model} is flat; it sets nothing")
        return cls(
            codes=codes,
            siemens=siemens,
            min_code=limits.amplitude.min_code,
            max_code=limits.amplitude.max_code,
            steepest=steepest,
            _rising=_inverse(codes, siemens),
        )

    @property
    def span(self) -> int:
        """Width of the amplitude scale, codes."""
        return self.max_code - self.min_code

    def amplitude(self, siemens: Array) -> Array:
        """Return the amplitude code for a conductance; outside the curve, its nearer end."""
        return np.asarray(np.interp(siemens, *self._rising), np.float64)

    def first_amplitude(self, siemens: Array) -> Array:
        """Return the amplitude to write a target with first: for zero the highest there is."""
        highest = np.float64(self.max_code)
        return np.where(siemens > 0, self.amplitude(siemens), highest)

    def conductance(self, amplitude: Array) -> Array:
        """Return the conductance (S) after a pulse; outside the curve, its nearer end."""
        return np.asarray(np.interp(amplitude, self.codes, self.siemens), np.float64)

    def slope(self, amplitude: Array) -> Array:
        """Return the steepness at an amplitude, S per code; flat parts get a small one."""
        steep = -np.diff(self.siemens) / np.diff(self.codes)
        middle = (self.codes[1:] + self.codes[:-1]) / 2
        return np.maximum(np.interp(amplitude, middle, steep), SLOPE_FLOOR_SHARE * self.steepest)


def _inverse(codes: Array, siemens: Array) -> tuple[Array, Array]:
    """Conductances rising, with their codes; plateaus at the ends are left at the steep edge."""
    top = int(np.flatnonzero(siemens == siemens[0])[-1])
    bottom = int(np.flatnonzero(siemens == siemens[-1])[0])
    steep = slice(top, bottom + 1)
    return siemens[steep][::-1], codes[steep][::-1]


def bounded_move(
    curve: ResetCurve, amplitude: npt.ArrayLike, move: npt.ArrayLike, most: float
) -> Array:
    """Move amplitudes by at most `most` codes either way, and stay on the core's scale."""
    moved = np.asarray(amplitude, np.float64) + np.clip(move, -most, most)
    return np.asarray(np.clip(moved, curve.min_code, curve.max_code), np.float64)


def polarity_targets(target_siemens: Array) -> Array:
    """Return the wanted conductance per polarity, S, (2, rows, cols): positive part, negative."""
    return np.stack([np.maximum(target_siemens, 0.0), np.maximum(-target_siemens, 0.0)])


def split_equally(info: CoreInfo, target_siemens: Array) -> Array:
    """Share a signed target equally among the devices of its polarity: S, (devices, rows, cols)."""
    per_device = polarity_targets(target_siemens) / info.devices_per_polarity
    return np.repeat(per_device, info.devices_per_polarity, axis=0)


def places_of(shape: tuple[int, ...], flat: IntArray) -> dict[str, IntArray]:
    """Return device, rows and cols of flat indices into an array (devices, rows, cols)."""
    device, rows, cols = np.unravel_index(flat, shape)
    return {"device": device, "rows": rows, "cols": cols}


def reset_pulses(
    info: CoreInfo, shape: tuple[int, ...], flat: IntArray, amplitude: npt.ArrayLike
) -> Pulse:
    """One RESET pulse per device listed; the highest amplitude code brings it to zero.

    Args:
        info: The core.
        shape: (devices, rows, cols) of the block.
        flat: Devices to pulse, flat indices into that shape.
        amplitude: Amplitude codes, rounded here, one per device or one for all.
    """
    limits = require_family(info, PulseFamily.RESET)
    codes = np.clip(np.rint(amplitude), limits.amplitude.min_code, limits.amplitude.max_code)
    return Pulse.of(
        PulseFamily.RESET,
        amplitude=codes.astype(np.int64),
        width=limits.width.max_code,
        **places_of(shape, flat),
    )


def full_set_pulses(info: CoreInfo, shape: tuple[int, ...], flat: IntArray) -> Pulse:
    """One pulse of full width per device listed: crystallises it fully.

    Raises:
        RequestError: The core has no such pulse.
    """
    limits = require_family(info, PulseFamily.SET)
    if limits.full_width_code is None:
        raise RequestError(f"{info.model} offers no SET pulse of full width (full_width_code)")
    return Pulse.of(
        PulseFamily.SET,
        amplitude=limits.amplitude.max_code,
        width=limits.full_width_code,
        **places_of(shape, flat),
    )


def require_family(info: CoreInfo, family: PulseFamily) -> PulseLimits:
    """Return the limits of a pulse family, or say that the core has none."""
    limits = info.limits(family)
    if limits is None:
        known = ", ".join(p.family.value for p in info.pulses)
        raise RequestError(
            f"{info.model} has no {family.value} pulses (it has: {known}); choose another method"
        )
    return limits
