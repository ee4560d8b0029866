"""Scale and offset of each col of a programmed block, by least squares over random vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
from hil.calibration.record import CalibrationRecord
from hil.calibration.search import Knob
from hil.core import Window
from hil.errors import RequestError
from hil.info import CoreInfo, MvmMode
from hil.measure import choose_output_range, exact_output
from hil.metrics import AffineFit, fit_affine
from hil.stimulus import InputKind, random_inputs

__all__ = ["ColumnAffine"]

HIGHEST_SCALE = 64.0
"""Limit of the scale: a year of drift and the worst converter stay far below."""
LOWEST_CORRELATION = 0.5
"""A col whose corrected output explains less than its square of the variance is not trusted."""
KEPT_BACK = 4
"""Of given inputs, one vector in this many is kept for the residual."""
LEAST_GIVEN = 8
"""Given inputs: two vectors at least on either side."""
LEAST_UNSATURATED = 0.5
"""Share of a col's vectors that must be unsaturated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnAffine(Measurement):
    """Per-col correction to the exact product: corrected = `scale` * measured + `offset`, in S.

    Least squares minimises the error and shrinks the magnitude by about 1 / (1 + err²). Saturated
    outputs are left out of the fit. The residual (rms, S) is measured on vectors that the fit has
    not seen; so is the parameter `error_rms`, which counts saturated outputs too and so tells which
    output range serves best.

    Attributes:
        window: The programmed block.
        target_siemens: What it should hold, S, (rows, cols) of the window.
        vectors: Random vectors to fit over, at least 2.
        inputs: Their distribution.
        input_codes: Representative inputs to use instead, (vectors, rows of the window); every
            fourth is kept back for the residual.
        mode: Execution mode; None is the core's fastest.
        output_range: Range to measure in, the one that inference will use; None keeps the core's.
    """

    kind = "column_affine"
    depends_on = ("output_range", "gain_trim", "offset_trim")
    prerequisites = ("adc_gain", "adc_offset")
    of_cells = True
    window: Window
    target_siemens: Array
    vectors: int = 2048
    inputs: InputKind = InputKind.GAUSSIAN
    input_codes: IntArray | None = None
    mode: MvmMode | None = None
    output_range: int | None = None

    def __post_init__(self) -> None:
        if self.vectors < 2:
            raise RequestError(f"vectors {self.vectors} is below 2: a line needs two points")
        shape, wanted = self.target_siemens.shape, (self.window.rows, self.window.cols)
        if shape != wanted:
            raise RequestError(f"target has shape {shape}, its window is {wanted}")
        if not np.isfinite(self.target_siemens).all():
            raise RequestError("target conductance holds NaN or infinity; give finite values")
        given = self.input_codes
        if given is not None and (
            given.ndim != 2 or given.shape[0] < LEAST_GIVEN or given.shape[1] != self.window.rows
        ):
            raise RequestError(
                f"input_codes have shape {given.shape}; give ({LEAST_GIVEN} or more vectors, "
                f"{self.window.rows} rows of the window)"
            )

    @classmethod
    def in_best_range(
        cls, info: CoreInfo, window: Window, target_siemens: Array, *, seed: int
    ) -> ColumnAffine:
        """Return the calibration in the smallest range that holds the default stimulus."""
        sample = random_inputs(
            InputKind.GAUSSIAN, 256, window.rows, info.input, np.random.default_rng(seed)
        )
        best = choose_output_range(info, target_siemens, sample)
        return cls(window=window, target_siemens=target_siemens, output_range=best)

    @staticmethod
    def correction(record: CalibrationRecord) -> AffineFit:
        """Return the correction that a record holds."""
        return AffineFit(
            scale=record.array("scale"), offset=record.array("offset"), success=record.success_mask
        )

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        limit = HIGHEST_SCALE * info.output_ranges_siemens[-1]
        return (
            Knob(name="scale", unit="1", low=0.0, high=HIGHEST_SCALE, neutral=1.0),
            Knob(name="offset", unit="S", low=-limit, high=limit),
        )

    @override
    def instances(self, info: CoreInfo) -> int:
        return self.window.cols

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        codes = self.input_codes
        if codes is None:
            return self._random(setup, rng)
        kept_back = np.arange(codes.shape[0]) % KEPT_BACK == KEPT_BACK - 1
        return Stimulus(input_codes=codes[~kept_back], window=self.window, mode=self.mode)

    @override
    def check_stimulus(self, setup: Setup, rng: np.random.Generator, first: Seen) -> Stimulus:
        if self.input_codes is None:
            return self._random(setup, rng)
        kept_back = self.input_codes[KEPT_BACK - 1 :: KEPT_BACK]
        return Stimulus(input_codes=kept_back, window=self.window, mode=self.mode)

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        measured, exact = self._pairs(seen)
        if knob == "scale":
            return values["scale"] - fit_affine(measured, exact).scale
        left: Array = (values["scale"] * measured + values["offset"] - exact).mean(axis=0)
        return left

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        fit = fit_affine(*self._pairs(first))
        measured, exact = self._pairs(seen)
        corrected = values["scale"] * measured + values["offset"]
        left = np.sqrt(np.mean((corrected - exact) ** 2, axis=0))
        explained = left**2 <= (1.0 - LOWEST_CORRELATION**2) * exact.var(axis=0)
        clear = seen.saturated.mean(axis=0) <= 1.0 - LEAST_UNSATURATED
        success = fit.success & found["scale"] & found["offset"] & explained & clear
        return Judgement(
            residual=left,
            unit="S",
            success=success,
            extra={
                "output_rms": (np.sqrt(np.mean(exact**2, axis=0)), "S"),
                "error_rms": (self._error_with_clipped(values, seen), "S"),
            },
        )

    @override
    def wanted_range(self) -> int | None:
        return self.output_range

    def _random(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        codes = random_inputs(self.inputs, self.vectors, self.window.rows, setup.info.input, rng)
        return Stimulus(input_codes=codes, window=self.window, mode=self.mode)

    def _error_with_clipped(self, values: Values, seen: Seen) -> Array:
        """Return the rms error per col, S, clipped outputs counted as they come: a range's cost."""
        exact = exact_output(seen.setup.info, self.target_siemens, seen.input_codes)
        left = values["scale"] * seen.siemens + values["offset"] - exact
        return np.asarray(np.sqrt(np.mean(left**2, axis=0)))

    def _pairs(self, seen: Seen) -> tuple[Array, Array]:
        """Return measured and exact outputs, (batch, cols), S; saturated entries count for nothing.

        Such an entry is put at its col's mean of both, where it adds to neither variance nor
        covariance nor mean: the same as leaving it out. The choice goes by the measured output,
        which is the regressor, so it does not bias the fit.
        """
        exact = exact_output(seen.setup.info, self.target_siemens, seen.input_codes)
        if not seen.saturated.any():
            return seen.siemens, exact
        kept = ~seen.saturated
        count = np.maximum(kept.sum(axis=0), 1)
        parts = []
        for full in (seen.siemens, exact):
            mean = np.where(kept, full, 0.0).sum(axis=0) / count
            parts.append(np.where(kept, full, mean))
        return parts[0], parts[1]
