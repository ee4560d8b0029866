"""A matrix on a chip: multiply, calibrate, compensate drift, report. Does not program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from hil.matrix.block import ProgrammedBlock
from hil.matrix.evaluation import evaluate
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Chip
    from hil.info import CoreInfo
    from hil.mapping import EncodedWeights
    from hil.matrix.report import ProgrammingReport

__all__ = ["DriftMode", "MatrixOutput", "ProgrammedMatrix"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

CALIBRATION_VECTORS = 1024
"""Synthetic vectors per output range; 2 parameters a col are known to 3 % of the error."""
PROBE_VECTORS = 512
"""Vectors of a drift readout."""
LEAST_SHARE = 1e-4
"""A readout below this share of its baseline says nothing about drift; the factor stays 1."""
CALIBRATION_STREAM, EVALUATION_STREAM = 1, 2


class DriftMode(StrEnum):
    """How drift is compensated digitally."""

    GLOBAL = "global"
    """One factor for the matrix: the summed |output| at calibration over the same now."""
    PER_COLUMN = "per_column"
    """One factor per col and block: least squares against the wanted product."""
    AFFINE = "affine"
    """The whole affine correction fitted anew."""


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
    """

    def __init__(
        self,
        *,
        chip: Chip,
        name: str,
        encoded: EncodedWeights,
        blocks: Sequence[ProgrammedBlock],
        seed: tuple[int, ...],
    ) -> None:
        self.name = name
        self.encoded = encoded
        self.blocks = tuple(blocks)
        self._chip = chip
        self._seed = seed
        self._compensation = "none"
        self._probe = self._draw(InputKind.GAUSSIAN, CALIBRATION_VECTORS, CALIBRATION_STREAM)
        self._any_input = True
        self._baseline = 0.0
        self._report: ProgrammingReport | None = None
        for block in self.blocks:
            block.output_range = block.predicted_range(block.rows_of(self._probe))
        self._remember_baseline()

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
        full = self.info.input.max_code
        codes = np.clip(np.rint(values / input_range * full), -full, full)
        seen = self.measure_adapting(codes.astype(self.info.input.dtype))
        weight_per_siemens = self.encoded.scale / self.info.device.g_max_siemens
        input_per_fraction = input_range / (full * self.info.input.step)
        return seen.siemens * (weight_per_siemens * input_per_fraction)

    def measure(self, input_codes: IntArray) -> MatrixOutput:
        """Multiply codes (batch, rows) in the output ranges that were set by calibration."""
        return self._sum(input_codes, [(b, b.output_range) for b in self.blocks])

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
            if not self._any_input:
                block.output_range, fit = block.fit_best(self._probe_of(block))
                block.calibrated = {block.output_range: fit}
            else:
                block.calibrated = self._fit(block)
            block.fits = dict(block.calibrated)
        self._remember_baseline()

    def expect(self, input_codes: IntArray) -> None:
        """Choose output ranges for inputs like these and take the drift baseline; fit nothing.

        Args:
            input_codes: Representative inputs (batch >= 2, rows).
        """
        self._expect(input_codes)
        self._remember_baseline()

    def compensate_drift(self, mode: DriftMode | str = DriftMode.GLOBAL) -> None:
        """Compensate drift as it stands now; replaces an earlier compensation.

        Raises:
            RequestError: The mode is unknown.
        """
        try:
            kind = DriftMode(mode)
        except ValueError as error:
            known = ", ".join(m.value for m in DriftMode)
            raise RequestError(
                f"drift compensation {str(mode)!r} is unknown; known: {known}"
            ) from error
        self._reset_compensation()
        match kind:
            case DriftMode.GLOBAL:
                self._compensate_global()
            case DriftMode.PER_COLUMN:
                self._compensate_per_column()
            case DriftMode.AFFINE:
                for block in self.blocks:
                    block.fits = self._fit(block)
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
            self._probe = input_codes
        self._any_input = input_codes is None
        for block in self.blocks:
            block.calibrated = {}
        self._reset_compensation()
        for block in self.blocks:
            block.output_range = block.predicted_range(block.rows_of(self._probe))
        self._report = None

    def _sum(
        self, input_codes: IntArray, blocks: Sequence[tuple[ProgrammedBlock, int | None]]
    ) -> MatrixOutput:
        shape = (input_codes.shape[0], self.encoded.cols)
        raw, corrected = np.zeros(shape), np.zeros(shape)
        saturated = converted = 0
        for block, output_range in blocks:
            codes = np.ascontiguousarray(block.rows_of(input_codes))
            seen = (
                block.measure_adapting(codes)
                if output_range is None
                else block.measure(codes, output_range)
            )
            cols = slice(block.place.col, block.place.col + block.place.cols)
            raw[:, cols] += seen.raw_siemens
            corrected[:, cols] += seen.siemens
            saturated += int(seen.saturated.sum())
            converted += seen.saturated.size
        return MatrixOutput(
            raw_siemens=raw, siemens=corrected, saturated=saturated, converted=converted
        )

    def _fit(self, block: ProgrammedBlock) -> dict[int, Any]:
        codes = self._probe_of(block)
        last = block.output_range
        if self._any_input:
            last = max(last, block.widest_range())
        return {k: block.fit(codes, k) for k in range(block.output_range, last + 1)}

    def _probe_of(self, block: ProgrammedBlock) -> IntArray:
        return np.ascontiguousarray(block.rows_of(self._probe))

    def _readout(self, block: ProgrammedBlock) -> tuple[IntArray, Array]:
        codes = self._probe_of(block)[:PROBE_VECTORS]
        return codes, block.measure(codes, block.output_range).siemens

    def _remember_baseline(self) -> None:
        self._baseline = sum(float(np.abs(self._readout(b)[1]).sum()) for b in self.blocks)

    def _compensate_global(self) -> None:
        now = sum(float(np.abs(self._readout(b)[1]).sum()) for b in self.blocks)
        if now > LEAST_SHARE * self._baseline:
            for block in self.blocks:
                block.drift = np.full(block.place.cols, self._baseline / now)

    def _compensate_per_column(self) -> None:
        for block in self.blocks:
            codes, now = self._readout(block)
            exact = block.exact(codes)
            power = np.einsum("bc,bc->c", now, now)
            common = np.einsum("bc,bc->c", now, exact)
            sound = (common > 0) & (power > LEAST_SHARE**2 * np.einsum("bc,bc->c", exact, exact))
            block.drift = np.where(sound, common / np.where(power > 0, power, 1.0), 1.0)

    def _reset_compensation(self) -> None:
        for block in self.blocks:
            block.drift = np.ones(block.place.cols)
            block.fits = dict(block.calibrated)
        self._compensation = "none"

    def _draw(self, kind: InputKind, batch: int, stream: int) -> IntArray:
        rng = np.random.default_rng([*self._seed, stream])
        return random_inputs(kind, batch, self.encoded.rows, self.info.input, rng)
