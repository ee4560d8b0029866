"""Input range of a layer: which activation drives an input line at full scale. Host only.

A high quantile of |x| over sample activations (0.99995 in the public toolkits), with vectors that
are all zero left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.calibration.base import (
    Array,
    BoolArray,
    Judgement,
    Measurement,
    Seen,
    Setup,
    Stimulus,
    Values,
)
from hil.calibration.search import Knob
from hil.errors import RequestError
from hil.info import CoreInfo

__all__ = ["QUANTILE", "InputRange", "RangeRule", "choose_input_range"]

QUANTILE = 0.99995
"""Share of |x| that is not clipped."""
SIGMAS = 3.0
"""Standard deviations at full scale, rule STD."""


class RangeRule(StrEnum):
    """How the range is taken from sample activations."""

    QUANTILE = "quantile"
    """A high quantile of |x|: rare outliers are clipped."""
    MAX = "max"
    """The largest |x|: nothing of the samples is clipped."""
    STD = "std"
    """A number of standard deviations about zero."""


def choose_input_range(
    samples: npt.ArrayLike,
    rule: RangeRule = RangeRule.QUANTILE,
    *,
    quantile: float = QUANTILE,
    sigmas: float = SIGMAS,
) -> float:
    """Return the activation at full scale, > 0.

    Activations so sparse that their quantile is zero take the largest |x| instead.

    Args:
        samples: Activations, (vectors, features); vectors that are all zero are left out.
        rule: How to choose.
        quantile: Rule QUANTILE: share of |x| within the range, in (0, 1].
        sigmas: Rule STD: standard deviations at full scale.

    Raises:
        RequestError: Samples hold NaN or infinity, or nothing but zeros.
    """
    size = _magnitudes(samples)
    if not 0.0 < quantile <= 1.0:
        raise RequestError(f"quantile {quantile} is outside 0...1")
    if not 0.0 < sigmas < np.inf:
        raise RequestError(f"sigmas {sigmas} is not a positive number")
    largest = float(size.max())
    if rule is RangeRule.MAX:
        return largest
    if rule is RangeRule.STD:
        return float(sigmas * np.sqrt(np.mean(size**2)))
    found = float(np.quantile(size, quantile))
    return found if found > 0 else largest


def _magnitudes(samples: npt.ArrayLike) -> Array:
    """Return |x| of the vectors that are not all zero, flat."""
    given = np.abs(np.asarray(samples, np.float64))
    if given.ndim != 2:
        raise RequestError(f"samples have shape {given.shape}; give (vectors, features)")
    if not np.isfinite(given).all():
        raise RequestError("samples hold NaN or infinity; give finite activations")
    used: Array = given[(given > 0).any(axis=1)]
    if used.size == 0:
        raise RequestError(
            f"all {given.shape[0]} sample vectors are zero; give activations of real inputs"
        )
    return used.ravel()


@dataclass(frozen=True, kw_only=True, eq=False)
class InputRange(Measurement):
    """Range of one layer's inputs: code = round(clip(x / `range`, ± 1) * highest code).

    The residual is the share of activations that the range clips.

    Attributes:
        samples: Activations, (vectors, features), about 1,000 vectors.
        rule, quantile, sigmas: As in `choose_input_range`.
    """

    kind = "input_range"
    samples: Array
    rule: RangeRule = RangeRule.QUANTILE
    quantile: float = QUANTILE
    sigmas: float = SIGMAS

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        high = 2.0 * max(self._wanted, choose_input_range(self.samples, RangeRule.MAX))
        return (Knob(name="range", unit="activation", low=0.0, high=high, neutral=high),)

    @override
    def instances(self, info: CoreInfo) -> int:
        return 1

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        return Stimulus.none()

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        return values["range"] - self._wanted

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        clipped = np.mean(_magnitudes(self.samples) > values["range"] * (1 + 1e-12))
        return Judgement(residual=np.array([clipped], np.float64), unit="1", success=found["range"])

    @cached_property
    def _wanted(self) -> float:
        return choose_input_range(
            self.samples, self.rule, quantile=self.quantile, sigmas=self.sigmas
        )
