"""Drift compensation: the readout of a block now, against its readout when it was programmed.

Both readouts apply the same inputs and are centred per col, so that a converter's offset, which
does not drift with the cells, plays no part. An all-ones input is not used: it excites one
direction only.
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
from hil.calibration.record import CalibrationRecord
from hil.calibration.search import Knob
from hil.core import Window
from hil.errors import RequestError
from hil.info import CoreInfo, MvmMode
from hil.stimulus import InputKind, random_inputs

__all__ = ["DriftBaseline", "DriftMode", "DriftScale", "drift_scale"]

HIGHEST_SCALE = 64.0
"""Limit of the scale: (1 year / 1 s)^0.1 is 5.6."""


class DriftMode(StrEnum):
    """How much of the drift is taken out."""

    GLOBAL = "global"
    """One factor for the block: ratio of the summed magnitudes."""
    PER_COLUMN = "per_column"
    """One factor per col: ratio of its summed magnitudes."""
    LEAST_SQUARES = "least_squares"
    """One factor per col that brings its readout closest to the baseline."""


def drift_scale(now: npt.ArrayLike, baseline: npt.ArrayLike, mode: DriftMode) -> Array:
    """Return the factor that undoes the drift of readouts, (1,) or (cols,).

    A col without signal (then or now) takes the global factor; a block without any takes 1.

    Args:
        now, baseline: Readouts of the same inputs, (batch, cols), the same unit.
        mode: One factor for all, or one per col.
    """
    y, y0 = np.asarray(now, np.float64), np.asarray(baseline, np.float64)
    if y.shape != y0.shape or y.ndim != 2 or y.shape[0] < 2:
        raise RequestError(
            f"readouts now {y.shape} and at programming {y0.shape} must be equal, "
            "(batch >= 2, cols)"
        )
    y, y0 = y - y.mean(axis=0), y0 - y0.mean(axis=0)
    size, size0 = np.abs(y).sum(axis=0), np.abs(y0).sum(axis=0)
    whole = _ratio(size0.sum(keepdims=True), size.sum(keepdims=True), np.ones(1))
    if mode is DriftMode.GLOBAL:
        return whole
    if mode is DriftMode.PER_COLUMN:
        return _ratio(size0, size, whole)
    return _ratio(np.einsum("bc,bc->c", y, y0), np.einsum("bc,bc->c", y, y), whole)


def _ratio(top: Array, bottom: Array, otherwise: Array) -> Array:
    usable = (top > 0) & (bottom > 0)
    return np.where(usable, top / np.where(usable, bottom, 1.0), otherwise)


@dataclass(frozen=True, kw_only=True)
class DriftBaseline(Measurement):
    """Readout of a programmed block, to be kept until its drift is measured against it.

    Takes two readouts of the same inputs: the record keeps their mean (`siemens`, (batch, cols)),
    the inputs (`input_codes`, (batch, rows)), and as residual what one readout differs from the
    mean (rms, S): the read noise. Success is a col whose signal stands above that.

    Attributes:
        window: The programmed block.
        vectors: Random vectors, at least 2.
        inputs: Their distribution.
        mode: Execution mode; None is the core's fastest.
        output_range: Range to measure in; None keeps the core's.
    """

    kind = "drift_baseline"
    depends_on = ("output_range", "gain_trim", "offset_trim")
    prerequisites = ("adc_gain", "adc_offset")
    of_cells = True
    window: Window
    vectors: int = 512
    inputs: InputKind = InputKind.GAUSSIAN
    mode: MvmMode | None = None
    output_range: int | None = None

    def __post_init__(self) -> None:
        if self.vectors < 2:
            raise RequestError(f"vectors {self.vectors} is below 2")

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        return ()

    @override
    def instances(self, info: CoreInfo) -> int:
        return self.window.cols

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        codes = random_inputs(self.inputs, self.vectors, self.window.rows, setup.info.input, rng)
        return Stimulus(input_codes=codes, window=self.window, mode=self.mode)

    @override
    def check_stimulus(self, setup: Setup, rng: np.random.Generator, first: Seen) -> Stimulus:
        return Stimulus(input_codes=first.input_codes, window=self.window, mode=self.mode)

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        raise RequestError(f"a {self.kind} has no knob {knob}")

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        mean = (seen.siemens + first.siemens) / 2
        noise = np.sqrt(np.mean((seen.siemens - first.siemens) ** 2, axis=0)) / 2
        signal = mean.std(axis=0)
        return Judgement(
            residual=noise,
            unit="S",
            success=(signal > 2 * noise) & ~(seen.saturated | first.saturated).all(axis=0),
            extra={"siemens": (mean, "S"), "input_codes": (seen.input_codes, "code")},
        )

    @override
    def wanted_range(self) -> int | None:
        return self.output_range


@dataclass(frozen=True, kw_only=True, eq=False)
class DriftScale(Measurement):
    """Factor on the outputs of a block that undoes its drift: compensated = `scale` * output.

    The residual is what still differs from the baseline, rms over rms, dimensionless; a global
    factor cannot follow cols that drift apart. The factor leaves a constant offset out: apply it
    to outputs whose offset was removed.

    Attributes:
        baseline: Record of `DriftBaseline`, made when the block was programmed.
        drift: How much of the drift is taken out.
        mode: Execution mode; None is the core's fastest.
        tolerance: Largest residual that counts as success.
    """

    kind = "drift_scale"
    depends_on = ("output_range", "gain_trim", "offset_trim")
    prerequisites = ("drift_baseline",)
    of_cells = True
    baseline: CalibrationRecord
    drift: DriftMode = DriftMode.GLOBAL
    mode: MvmMode | None = None
    tolerance: float = 0.5

    def __post_init__(self) -> None:
        if self.baseline.kind != DriftBaseline.kind:
            raise RequestError(
                f"baseline is a {self.baseline.kind} record; give one of kind {DriftBaseline.kind}"
            )

    @override
    def baselines(self) -> tuple[CalibrationRecord, ...]:
        return (self.baseline,)

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        return (Knob(name="scale", unit="1", low=0.0, high=HIGHEST_SCALE, neutral=1.0),)

    @override
    def instances(self, info: CoreInfo) -> int:
        return 1 if self.drift is DriftMode.GLOBAL else self._then.shape[1]

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        codes = self.baseline.array("input_codes").astype(setup.info.input.dtype)
        stored = self.baseline.window
        window = None if stored is None else stored.window()
        return Stimulus(input_codes=codes, window=window, mode=self.mode)

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        return values["scale"] - drift_scale(seen.siemens, self._then, self.drift)

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        now = seen.siemens - seen.siemens.mean(axis=0)
        then = self._then - self._then.mean(axis=0)
        over = None if self.drift is DriftMode.GLOBAL else 0
        difference = np.mean((values["scale"] * now - then) ** 2, axis=over)
        signal = np.mean(then**2, axis=over)
        left = np.atleast_1d(np.sqrt(difference / np.where(signal > 0, signal, 1.0)))
        success = found["scale"] & (left <= self.tolerance) & np.atleast_1d(signal > 0)
        if self.drift is not DriftMode.GLOBAL:
            success &= self.baseline.success_mask
        return Judgement(residual=left, unit="1", success=success)

    @cached_property
    def _then(self) -> Array:
        return self.baseline.array("siemens")
