"""Gain of each col's converter, against a reference conductance that is equal for all cols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from hil.calibration.base import (
    Array,
    BoolArray,
    IntArray,
    Judgement,
    Measurement,
    Seen,
    Setup,
    Stimulus,
    Values,
)
from hil.calibration.search import BinarySearch, Knob, KnobPlace, LinearSolve, Search
from hil.errors import RequestError
from hil.info import Capability, CoreInfo, MvmMode

__all__ = ["AdcGain"]

HIGHEST_GAIN = 8.0
"""Limit of the digital gain factor: a col that needs more counts as dead."""


@dataclass(frozen=True, kw_only=True)
class AdcGain(Measurement):
    """Gain per col, matched to the median of all cols: corrected code = code * `gain`.

    Inputs of random level, both signs, drive the reference conductance; the gain is the slope of
    the output over the level, so that an offset does not matter and the steps of the converter
    average out. Parameters of the record: `gain_trim` (register codes, where the core has the
    register) and `gain` (factor that the register leaves).

    Attributes:
        vectors: Levels per trial, at least 2.
        used_share: Highest level, as a share of the output range at nominal gain.
        output_range: Range to measure in; None keeps the core's.
        tolerance: Largest relative deviation left that counts as success.
    """

    kind = "adc_gain"
    depends_on = ("output_range",)
    vectors: int = 256
    used_share: float = 0.5
    output_range: int | None = None
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if self.vectors < 2:
            raise RequestError(f"vectors {self.vectors} is below 2: a slope needs two levels")
        if not 0.0 < self.used_share <= 1.0:
            raise RequestError(f"used_share {self.used_share} is outside 0...1")

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        if Capability.REFERENCE_MVM not in info.capabilities:
            raise RequestError(
                f"{info.model} has no reference MVM (info.capabilities), so gains cannot be "
                "compared; use ColumnAffine on a programmed block"
            )
        digital = Knob(name="gain", unit="1", low=0.0, high=HIGHEST_GAIN, neutral=1.0)
        if Capability.GAIN_TRIM not in info.capabilities or info.gain_trim is None:
            return (digital,)
        return (Knob.register("gain_trim", info.gain_trim), digital)

    @override
    def instances(self, info: CoreInfo) -> int:
        return info.cols

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        info = setup.info
        limit = self.used_share * info.output_ranges_siemens[setup.output_range]
        highest = limit / info.device.g_max_siemens / info.input.step
        highest = max(1.0, min(highest, info.rows * float(info.input.max_code)))
        half = self.vectors // 2
        # Stratified levels in ± pairs: every part of the range is visited, the mean is zero.
        levels = highest * (np.arange(half) + rng.uniform(0.0, 1.0, half)) / half
        totals = np.rint(np.concatenate([levels, -levels, [highest] * (self.vectors % 2)]))
        return Stimulus(input_codes=_spread(totals.astype(np.int64), info), mode=MvmMode.REFERENCE)

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        relative = _gain(seen) / _median(_gain(first))
        return relative - 1.0 if knob == "gain_trim" else values["gain"] * relative - 1.0

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        before = _gain(first)
        relative = _gain(seen) / _median(before)
        left = values["gain"] * relative - 1.0
        clear = ~seen.saturated.any(axis=0)
        success = found["gain"] & (np.abs(left) <= self.tolerance) & clear
        return Judgement(
            residual=left, unit="1", success=success, extra={"gain_before": (before, "1")}
        )

    @override
    def wanted_range(self) -> int | None:
        return self.output_range

    @override
    def search(self, knob: Knob) -> Search[Any]:
        return BinarySearch() if knob.place is KnobPlace.REGISTER else LinearSolve()


def _spread(totals: IntArray, info: CoreInfo) -> IntArray:
    """Spread each total of input codes evenly over the rows, (batch, rows)."""
    sign, size = np.sign(totals)[:, None], np.abs(totals)[:, None]
    share, rest = np.divmod(size, info.rows)
    codes: IntArray = sign * (share + (np.arange(info.rows) < rest))
    return codes.astype(info.input.dtype)


def _gain(seen: Seen) -> Array:
    """Slope of each col's output over the reference's output, dimensionless."""
    info = seen.setup.info
    level = info.device.g_max_siemens * info.input.to_si(seen.input_codes).sum(axis=1)
    level = level - level.mean()
    slope: Array = level @ (seen.siemens - seen.siemens.mean(axis=0)) / np.dot(level, level)
    return slope


def _median(gain: Array) -> float:
    """Median of the cols that respond; 1 if none does, so that none can match it."""
    alive = gain[gain > 0]
    return float(np.median(alive)) if alive.size else 1.0
