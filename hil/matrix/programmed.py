"""A matrix on a chip: multiply, calibrate, compensate drift, report. Does not program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.calibration import CalibrationRecord
from hil.calibration import DriftMode as DriftRule
from hil.errors import RequestError
from hil.matrix.block import BlockOutput, ProgrammedBlock
from hil.matrix.correction import Correction
from hil.matrix.evaluation import evaluate
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Chip
    from hil.info import CoreInfo
    from hil.mapping import EncodedWeights
    from hil.matrix.report import ProgrammingReport

__all__ = ["DriftMode", "MatrixOutput", "ProgrammedMatrix", "UnitOutput"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

PROBE_VECTORS = 256
"""Synthetic vectors that output ranges are predicted from."""
PROBE_STREAM, EVALUATION_STREAM = 1, 2


class DriftMode(StrEnum):
    """How drift is compensated digitally."""

    GLOBAL = "global"
    """One factor per block: the summed |output| at calibration over the same now."""
    PER_COLUMN = "per_column"
    """One factor per col and block: least squares against the outputs at calibration."""
    AFFINE = "affine"
    """The whole affine correction fitted anew."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitOutput:
    """Corrected outputs of a whole matrix in a unit of the caller's, (batch, cols).

    Attributes:
        units: The outputs, summed over row blocks.
        saturated: Outputs of blocks that were clipped, of `converted`.
        converted: Outputs of blocks, all.
    """

    units: Array
    saturated: int
    converted: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixOutput:
    """Outputs of a whole matrix, (batch, cols), summed over row blocks.

    Attributes:
        raw_siemens: Without any digital correction, S.
        siemens: With affine correction and drift compensation, S.
        saturated: Outputs of blocks that were clipped, of `converted`.
        converted: Outputs of blocks, all.
    """

    raw_siemens: Array
    siemens: Array
    saturated: int
    converted: int


class ProgrammedMatrix:
    """A weight matrix split over blocks of a chip. Made by `program_matrix`.

    Attributes:
        name: Name of the matrix.
        encoded: The weights as fractions of the largest conductance.
        blocks: Its blocks, in the order of rows, then cols.
        converters: Records of the converter trims made for it; none if they were in force already.
    """

    def __init__(
        self,
        *,
        chip: Chip,
        name: str,
        encoded: EncodedWeights,
        blocks: Sequence[ProgrammedBlock],
        seed: tuple[int, ...],
        converters: Sequence[CalibrationRecord] = (),
    ) -> None:
        self.name = name
        self.encoded = encoded
        self.blocks = tuple(blocks)
        self.converters = tuple(converters)
        self._chip = chip
        self._seed = seed
        self._compensation = "none"
        self._given: IntArray | None = None
        self._report: ProgrammingReport | None = None
        self._choose_ranges()

    @property
    def info(self) -> CoreInfo:
        """What the core of the first block says of itself."""
        return self.blocks[0].core.info

    @property
    def chip(self) -> Chip:
        """The chip it lies on."""
        return self._chip

    @property
    def seed(self) -> tuple[int, ...]:
        """Seeds of its own random inputs."""
        return self._seed

    @property
    def compensation(self) -> str:
        """Drift compensation in force: "none" or a `DriftMode`."""
        return self._compensation

    @property
    def age_s(self) -> float:
        """Device time since the last pulse, s."""
        return self._chip.now_s() - max(b.result.last_pulse_at_s for b in self.blocks)

    @property
    def success_mask(self) -> npt.NDArray[np.bool_]:
        """Cells accepted while programming, (rows, cols); cells that were left out count as so."""
        mask = np.ones((self.encoded.rows, self.encoded.cols), np.bool_)
        for block in self.blocks:
            p = block.place
            mask[p.row : p.row + p.rows, p.col : p.col + p.cols] = block.result.done
        return mask

    @property
    def records(self) -> tuple[CalibrationRecord, ...]:
        """Calibration records made for it: converters, then each block's."""
        return (*self.converters, *(r for block in self.blocks for r in block.records))

    @property
    def report(self) -> ProgrammingReport:
        """The latest report; measured now if there is none yet."""
        return self._report or self.evaluate()

    def matmul(self, x: npt.ArrayLike, *, input_range: float | None = None) -> Array:
        """Multiply on the chip: x (batch, rows) float -> near x @ weights, (batch, cols) float64.

        Inputs are quantised to the core's codes. Output ranges follow the inputs of this call.

        Args:
            x: (batch, rows), finite.
            input_range: |x| of the highest input code; larger values are clipped to it. None takes
                the largest |x| of this call.

        Raises:
            RequestError: A shape or value does not fit.
            RecordError: The calibration no longer holds; see `require_valid`.
        """
        values = np.asarray(x)
        if values.dtype.kind not in "fiub":
            raise RequestError(f"x has dtype {values.dtype}; give real numbers")
        if values.ndim != 2 or values.shape[1] != self.encoded.rows:
            raise RequestError(
                f"x has shape {values.shape}; (batch, {self.encoded.rows}) is needed for a "
                f"{self.encoded.rows} x {self.encoded.cols} matrix"
            )
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise RequestError("x holds NaN or infinity; give finite inputs")
        if input_range is None:
            input_range = float(np.max(np.abs(values), initial=0.0)) or 1.0
        elif not (np.isfinite(input_range) and input_range > 0):
            raise RequestError(f"input_range {input_range} is not a number above 0")
        self.require_valid()
        full = self.info.input.max_code
        codes = np.clip(np.rint(values / input_range * full), -full, full)
        seen = self.measure_adapting(codes.astype(self.info.input.dtype))
        weight_per_siemens = self.encoded.scale / self.info.device.g_max_siemens
        input_per_fraction = input_range / (full * self.info.input.step)
        return seen.siemens * (weight_per_siemens * input_per_fraction)

    def require_valid(self) -> None:
        """Refuse a correction that no longer holds; `measure` and `measure_adapting` do not ask.

        Raises:
            RecordError: Cells were pulsed, trims or temperature changed since the calibration.
        """
        for block in self.blocks:
            block.require_valid()

    def measure(self, input_codes: IntArray) -> MatrixOutput:
        """Multiply codes (batch, rows) in the output ranges that were set by calibration."""
        return self._sum(input_codes, [(b, b.output_range) for b in self.blocks])

    def measure_units(self, input_codes: IntArray, unit_siemens: float) -> UnitOutput:
        """Multiply as `measure`, and count the outputs in `unit_siemens`: the same, in less time.

        Correction and unit are one multiplication and one addition per output, so the last bits
        may differ.
        """
        seen = [
            block.measure_units(block.rows_of(input_codes), block.output_range, unit_siemens)
            for block in self.blocks
        ]
        shape = (input_codes.shape[0], self.encoded.cols)
        return UnitOutput(
            units=_added(shape, self.blocks, [units for units, _ in seen]),
            saturated=sum(int(np.count_nonzero(clipped)) for _, clipped in seen),
            converted=sum(clipped.size for _, clipped in seen),
        )

    def measure_adapting(self, input_codes: IntArray) -> MatrixOutput:
        """Multiply codes (batch, rows) in output ranges that follow these inputs."""
        return self._sum(input_codes, [(b, None) for b in self.blocks])

    def exact(self, input_codes: IntArray) -> Array:
        """Return what the wanted conductances would give, S, (batch, cols)."""
        fractions = self.info.input.to_si(input_codes)
        return fractions @ self.encoded.to_siemens(self.info.device.g_max_siemens)

    def calibrate(self, input_codes: IntArray | None = None) -> None:
        """Fit the per-col affine correction of every block, and take the drift baseline.

        Args:
            input_codes: Representative inputs (batch >= 2, rows): the output range that suits them
                best is found by trial and alone fitted. None takes synthetic Gaussian inputs and
                also fits every wider range, so that any later input finds a calibrated one.
        """
        self._expect(input_codes)
        for block in self.blocks:
            if self._given is None:
                affine = self._fit_any_input(block)
            else:
                block.output_range, record = block.fit_best(block.rows_of(self._given))
                affine = {block.output_range: record}
            block.calibrated = block.correction = Correction(affine=affine)
        self._take_baseline()

    def expect(self, input_codes: IntArray | None = None) -> None:
        """Choose output ranges for inputs like these and take the drift baseline; fit nothing.

        Args:
            input_codes: Representative inputs (batch >= 2, rows); None expects Gaussian ones.
        """
        self._expect(input_codes)
        self._take_baseline()

    def resume(self, input_codes: IntArray, compensation: str) -> None:
        """Go on with blocks whose range, corrections and baseline stand; measures nothing.

        Args:
            input_codes: The representative inputs (batch >= 2, rows) they were calibrated on.
            compensation: Drift compensation in force: "none" or a `DriftMode`.
        """
        self._given = input_codes
        self._compensation = compensation

    def compensate_drift(self, mode: DriftMode | str = DriftMode.GLOBAL) -> None:
        """Compensate drift as it stands now; replaces an earlier compensation.

        Raises:
            RequestError: The mode is unknown, or no drift baseline was taken.
            RecordError: The drift baseline no longer holds: cells were pulsed, trims or temperature
                changed.
        """
        try:
            kind = DriftMode(mode)
        except ValueError as error:
            known = ", ".join(m.value for m in DriftMode)
            raise RequestError(
                f"drift compensation {str(mode)!r} is unknown; known: {known}"
            ) from error
        # First all, then in force: a refusal leaves the earlier compensation as it was.
        found = [self._compensated(block, kind) for block in self.blocks]
        for block, correction in zip(self.blocks, found, strict=True):
            block.correction = correction
        self._compensation = kind.value
        self._report = None

    def forget_compensation(self) -> None:
        """Go back to the correction as calibrated."""
        self._reset_compensation()
        self._report = None

    def evaluate(self) -> ProgrammingReport:
        """Measure the errors now, on inputs used for nothing else; return a new report."""
        self._report = evaluate(self, stream=EVALUATION_STREAM)
        return self._report

    def _expect(self, input_codes: IntArray | None) -> None:
        """Forget every correction and choose output ranges."""
        if input_codes is not None:
            shape = input_codes.shape
            if len(shape) != 2 or shape[0] < 2 or shape[1] != self.encoded.rows:
                raise RequestError(
                    f"representative inputs have shape {shape}; "
                    f"(at least 2, {self.encoded.rows}) is needed"
                )
        self._given = input_codes
        for block in self.blocks:
            block.calibrated = Correction()
        self._reset_compensation()
        self._choose_ranges()
        self._report = None

    def _choose_ranges(self) -> None:
        """Set output ranges for the inputs expected: those given, or Gaussian ones."""
        probe = self._given
        if probe is None:
            rng = np.random.default_rng([*self._seed, PROBE_STREAM])
            probe = random_inputs(
                InputKind.GAUSSIAN, PROBE_VECTORS, self.encoded.rows, self.info.input, rng
            )
        for block in self.blocks:
            block.output_range = block.predicted_range(block.rows_of(probe))

    def _sum(
        self, input_codes: IntArray, blocks: Sequence[tuple[ProgrammedBlock, int | None]]
    ) -> MatrixOutput:
        seen = [_measured(block, input_codes, output_range) for block, output_range in blocks]
        places = [block for block, _ in blocks]
        shape = (input_codes.shape[0], self.encoded.cols)
        return MatrixOutput(
            raw_siemens=_added(shape, places, [one.raw_siemens for one in seen]),
            siemens=_added(shape, places, [one.siemens for one in seen]),
            saturated=sum(int(np.count_nonzero(one.saturated)) for one in seen),
            converted=sum(one.saturated.size for one in seen),
        )

    def _compensated(self, block: ProgrammedBlock, mode: DriftMode) -> Correction:
        """Measure drift now; return the calibrated correction with its compensation."""
        if mode is DriftMode.AFFINE:
            if self._given is None:
                return Correction(affine=self._fit_any_input(block))
            record = block.fit(block.output_range, block.rows_of(self._given))
            return Correction(affine={block.output_range: record})
        rule = DriftRule.GLOBAL if mode is DriftMode.GLOBAL else DriftRule.LEAST_SQUARES
        return Correction(affine=block.calibrated.affine, drift=block.scale_drift(rule))

    def _fit_any_input(self, block: ProgrammedBlock) -> dict[int, CalibrationRecord]:
        """Calibrate the expected output range and every wider one that an input may need."""
        last = max(block.output_range, block.widest_range())
        return {k: block.fit(k) for k in range(block.output_range, last + 1)}

    def _take_baseline(self) -> None:
        for block in self.blocks:
            block.take_baseline()

    def _reset_compensation(self) -> None:
        for block in self.blocks:
            block.correction = block.calibrated
        self._compensation = "none"


def _measured(
    block: ProgrammedBlock, input_codes: IntArray, output_range: int | None
) -> BlockOutput:
    codes = block.rows_of(input_codes)
    if output_range is None:
        return block.measure_adapting(codes)
    return block.measure(codes, output_range)


def _added(
    shape: tuple[int, int],
    blocks: Sequence[ProgrammedBlock],
    parts: Sequence[Array],
) -> Array:
    """Add outputs of blocks to the cols of a matrix; a block alone on all cols is not copied."""
    if len(parts) == 1 and parts[0].shape == shape:
        return parts[0]
    total = np.zeros(shape)
    for block, part in zip(blocks, parts, strict=True):
        total[:, block.place.col : block.place.col + block.place.cols] += part
    return total
