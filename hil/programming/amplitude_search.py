"""Search for a device's RESET amplitude from what its pulses gave. State in, state out; no core.

A pulse overwrites a device with a fresh draw around what its amplitude means for it, so the search
learns a mean from noisy misses: the step falls as 1 / (1 + changes of side) (Kesten's rule) and
doubles with each further miss on one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from hil.programming.pulses import bounded_move

if TYPE_CHECKING:
    from hil.programming.pulses import ResetCurve

__all__ = ["AmplitudeSearch", "nominal_step", "step_factor"]

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Place = tuple[npt.NDArray[np.integer[Any]], ...]

PATIENCE = 3
"""Misses on one side before steps grow, and before a device is judged stuck."""


MOST_DOUBLINGS = 2
"""A step grows to four times its size at most."""

MOST_STEP_SHARE = 16
"""A step is at most this part of the amplitude scale: about the width of the curve's fall."""

LEAST_RATIO = 3.0
"""A finding below wanted / 3 counts as that: near zero the curve is so flat that noise would send
the amplitude across the scale."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AmplitudeSearch:
    """Progress of a search at each place of an array.

    Attributes:
        side: Sign of the last miss, int8.
        flips: Times the miss changed its side, int16.
        run: Misses in a row on one side, int16.
        first_code, first_siemens: Amplitude and conductance at the start of that run.
    """

    side: npt.NDArray[np.int8]
    flips: npt.NDArray[np.int16]
    run: npt.NDArray[np.int16]
    first_code: Array
    first_siemens: Array

    @classmethod
    def fresh(cls, shape: tuple[int, ...]) -> Self:
        """Return a search at its beginning everywhere."""
        return cls(
            side=np.zeros(shape, np.int8),
            flips=np.zeros(shape, np.int16),
            run=np.zeros(shape, np.int16),
            first_code=np.zeros(shape),
            first_siemens=np.zeros(shape),
        )

    def restart(self, place: Place) -> AmplitudeSearch:
        """Return a search that begins anew at `place`."""
        side, flips, run = self.side.copy(), self.flips.copy(), self.run.copy()
        side[place], flips[place], run[place] = 0, 0, 0
        return AmplitudeSearch(
            side=side,
            flips=flips,
            run=run,
            first_code=self.first_code,
            first_siemens=self.first_siemens,
        )

    def next_amplitude(
        self,
        place: Place,
        curve: ResetCurve,
        amplitude: Array,
        wanted_siemens: Array,
        found_siemens: Array,
        *,
        gain: float,
        tolerance: float,
    ) -> tuple[AmplitudeSearch, Array, BoolArray]:
        """Take in what the last pulse at each listed place gave; return the next amplitude.

        Args:
            place: Index arrays into this search's arrays, (n,) each.
            curve: The nominal curve.
            amplitude: Amplitude codes that were applied, (n,).
            wanted_siemens, found_siemens: Conductances, S, (n,).
            gain: Factor on a first step.
            tolerance: Less progress than this over half the amplitude scale is none, S.

        Returns:
            The search after it, the amplitudes to apply next (n,), and which places are stuck:
            at the end of the scale, or deaf to the pulses.
        """
        miss = found_siemens - wanted_siemens
        side = np.where(miss > 0, 1, -1).astype(np.int8)
        before = self.side[place]
        turned = side * before < 0
        flips = self.flips[place] + turned
        fresh = turned | (before == 0)
        run = np.where(fresh, 1, self.run[place] + 1)
        first_code = np.where(fresh, amplitude, self.first_code[place])
        first_siemens = np.where(fresh, found_siemens, self.first_siemens[place])
        alpha = step_factor(gain, flips, run, most_doublings=MOST_DOUBLINGS)
        trusted = np.maximum(found_siemens, wanted_siemens / LEAST_RATIO)
        move = alpha * side * nominal_step(curve, wanted_siemens, trusted, miss)
        ahead = bounded_move(curve, amplitude, move, curve.span / MOST_STEP_SHARE)
        # a full RESET that is far too high is not mended by another one; one nearly there may be
        floored = (amplitude >= curve.max_code) & (miss > tolerance)
        ended = (ahead == amplitude) & (run > PATIENCE) & (amplitude < curve.max_code)
        at_end = floored | ended
        progress = (first_siemens - found_siemens) * side
        deaf = (np.abs(amplitude - first_code) >= curve.span / 2) & (run > PATIENCE)
        stuck = at_end | (deaf & (progress < tolerance))
        after = AmplitudeSearch(
            side=_put(self.side, place, side),
            flips=_put(self.flips, place, flips),
            run=_put(self.run, place, run),
            first_code=_put(self.first_code, place, first_code),
            first_siemens=_put(self.first_siemens, place, first_siemens),
        )
        return after, ahead, np.asarray(stuck)


def step_factor(
    gain: float,
    flips: npt.NDArray[np.integer[Any]],
    run: npt.NDArray[np.integer[Any]],
    *,
    most_doublings: int,
) -> Array:
    """Return the factor on a step: gain / (1 + changes of side), doubled per further miss."""
    return np.asarray(gain / (1.0 + flips) * 2.0 ** np.clip(run - PATIENCE, 0, most_doublings))


def nominal_step(
    curve: ResetCurve, wanted_siemens: Array, found_siemens: Array, miss_siemens: Array
) -> Array:
    """Return the amplitude codes between two conductances: the chord, or the steepest slope's."""
    chord = np.abs(curve.amplitude(wanted_siemens) - curve.amplitude(found_siemens))
    return np.maximum(chord, np.abs(miss_siemens) / curve.steepest)


def _put(array: Any, place: Place, values: Any) -> Any:  # noqa: ANN401 - any dtype, kept
    copy = array.copy()
    copy[place] = values
    return copy
