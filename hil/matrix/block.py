"""One block of a matrix on one core: measure it, correct what it gives. Knows no whole matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.calibration import (
    CalibrationRecord,
    ColumnAffine,
    DriftBaseline,
    DriftMode,
    DriftScale,
    require_valid,
    run_calibration,
)
from hil.core import CoreSettings
from hil.errors import RecordError, RequestError
from hil.matrix.correction import Correction
from hil.matrix.seeds import mixed_seed
from hil.measure import choose_output_range, exact_output, measure_codes, measure_mvm
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Core
    from hil.mapping import PlacedBlock
    from hil.metrics import AffineFit
    from hil.programming import ProgrammingResult

__all__ = ["BlockOutput", "ProgrammedBlock"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

NARROWER = 2
"""Output ranges below the predicted one that are tried."""
AFFINE_VECTORS = 1024
"""Synthetic vectors per affine fit; 2 parameters a col are known to 3 % of the error."""
LEAST_VECTORS = 8
"""Fewer representative vectors are repeated to this many: the fit keeps some back."""
DRIFT_VECTORS = 128
"""Vectors of a drift readout; a col's factor is known to 1 / sqrt(128) of its error."""
DRIFT_TOLERANCE = 0.9
"""Drift residual above which a factor says nothing: the readouts' correlation is below 0.6."""
AFFINE_STREAM, BASELINE_STREAM, DRIFT_STREAM = 3, 4, 5


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockOutput:
    """Outputs of a block, (batch, cols): raw and corrected, S; still clipped."""

    raw_siemens: Array
    siemens: Array
    saturated: npt.NDArray[np.bool_]


@dataclass(kw_only=True, eq=False)
class ProgrammedBlock:
    """A block as it stands in the array, with its digital correction.

    Attributes:
        core: The core it lies on.
        place: Which part of the matrix, and where.
        target_siemens: What was to be written, S, (rows, cols).
        result: What programming did.
        seed: Seeds of its own random inputs.
        output_range: Output range in use.
        calibrated: Correction as calibrated.
        correction: Correction in force.
        baseline: Record of its readout that drift is measured against; None: not taken yet.
    """

    core: Core
    place: PlacedBlock
    target_siemens: Array
    result: ProgrammingResult
    seed: tuple[int, ...]
    output_range: int = 0
    calibrated: Correction = field(default_factory=Correction)
    correction: Correction = field(default_factory=Correction)
    baseline: CalibrationRecord | None = None

    @property
    def fits(self) -> dict[int, AffineFit]:
        """Affine correction in force, by output range."""
        return self.correction.fits

    @property
    def records(self) -> tuple[CalibrationRecord, ...]:
        """Records of its calibration, drift baseline and compensation."""
        baseline = () if self.baseline is None else (self.baseline,)
        every = (*self.calibrated.records, *self.correction.records, *baseline)
        return tuple({id(record): record for record in every}.values())

    def rows_of(self, input_codes: IntArray) -> IntArray:
        """Return the part of (batch, matrix rows) that drives this block."""
        return np.ascontiguousarray(
            input_codes[:, self.place.row : self.place.row + self.place.rows]
        )

    def exact(self, input_codes: IntArray) -> Array:
        """Return what the wanted conductances would give, S; (batch, block rows) in."""
        return exact_output(self.core.info, self.target_siemens, input_codes)

    def predicted_range(self, input_codes: IntArray) -> int:
        """Return the smallest usable output range for inputs like these, (batch, block rows)."""
        if input_codes.shape[0] == 0:
            return self.output_range
        wanted = choose_output_range(self.core.info, self.target_siemens, input_codes)
        usable = self.correction.affine
        return min((r for r in usable if r >= wanted), default=max(usable, default=wanted))

    def widest_range(self) -> int:
        """Return the range that holds any input; the widest there is if none does."""
        ranges = self.core.info.output_ranges_siemens
        most = float(np.abs(self.target_siemens).sum(axis=0).max())
        return next((k for k, limit in enumerate(ranges) if limit >= most), len(ranges) - 1)

    def require_valid(self) -> None:
        """Set the output range in use, and refuse a correction that no longer holds.

        Raises:
            RecordError: Cells were pulsed, trims or temperature changed since the calibration; or
                the outcome of a pulse request is not known.
        """
        if self.core.in_doubt is not None:
            raise RecordError(
                f"core {self.place.core} is dirty: pulses were sent to it and their outcome is not "
                f"known ({self.core.in_doubt}); resume the run that sent them, or program it anew",
                core=self.place.core,
            )
        record = self.correction.affine.get(self.output_range)
        if record is not None:
            self._set_range(self.output_range)
            require_valid(record, self.core)

    def measure(self, input_codes: IntArray, output_range: int) -> BlockOutput:
        """Multiply (batch, block rows) in one output range."""
        seen = measure_mvm(
            self.core, input_codes, window=self.place.window, output_range=output_range
        )
        return BlockOutput(
            raw_siemens=seen.siemens,
            siemens=self.correction.apply(seen.siemens, output_range),
            saturated=seen.saturated,
        )

    def measure_units(
        self, input_codes: IntArray, output_range: int, unit_siemens: float
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Multiply (batch, block rows) in one output range: corrected outputs, saturated.

        Args:
            input_codes: Codes.
            output_range: The range.
            unit_siemens: What to count the outputs in, S.
        """
        seen = measure_codes(
            self.core, input_codes, window=self.place.window, output_range=output_range
        )
        scale, offset = self.correction.line(output_range)
        units = seen.codes.astype(np.float64)
        units *= scale * (seen.step_siemens / unit_siemens)
        units += offset / unit_siemens
        return units, seen.saturated

    def measure_adapting(self, input_codes: IntArray) -> BlockOutput:
        """Multiply (batch, block rows), starting in the range predicted for these inputs.

        Vectors with a clipped output are multiplied again in the next wider range, until none is
        clipped or no wider range is left (or calibrated).
        """
        start = self.predicted_range(input_codes)
        first = self.measure(input_codes, start)
        raw, siemens, saturated = first.raw_siemens, first.siemens, first.saturated
        ranges = self.correction.affine or range(len(self.core.info.output_ranges_siemens))
        for wider in sorted(r for r in ranges if r > start):
            again = np.flatnonzero(saturated.any(axis=1))
            if again.size == 0:
                break
            more = self.measure(input_codes[again], wider)
            raw[again], siemens[again] = more.raw_siemens, more.siemens
            saturated[again] = more.saturated
        return BlockOutput(raw_siemens=raw, siemens=siemens, saturated=saturated)

    def fit(self, output_range: int, input_codes: IntArray | None = None) -> CalibrationRecord:
        """Calibrate the affine correction of one output range; it is not put in force.

        Args:
            output_range: The range.
            input_codes: Representative inputs (batch, block rows); None draws Gaussian ones.
        """
        if input_codes is not None and 0 < input_codes.shape[0] < LEAST_VECTORS:
            times = -(-LEAST_VECTORS // input_codes.shape[0])
            input_codes = np.tile(input_codes, (times, 1))
        measurement = ColumnAffine(
            window=self.place.window,
            target_siemens=self.target_siemens,
            vectors=AFFINE_VECTORS,
            input_codes=input_codes,
            output_range=output_range,
        )
        seed = mixed_seed(*self.seed, AFFINE_STREAM, output_range)
        return run_calibration(self.core, measurement, seed=seed)

    def fit_best(self, input_codes: IntArray) -> tuple[int, CalibrationRecord]:
        """Calibrate every likely output range; return the one with the least squared error.

        A narrow range clips large outputs, a wide one rounds small ones and carries more noise;
        which is worse depends on how these inputs (batch, block rows) are distributed.
        """
        predicted = self.predicted_range(input_codes)
        tried = {
            k: self.fit(k, input_codes) for k in range(max(0, predicted - NARROWER), predicted + 1)
        }
        best = min(tried, key=lambda k: float(np.sum(tried[k].array("error_rms") ** 2)))
        return best, tried[best]

    def take_baseline(self) -> None:
        """Keep a readout of the block as it is now, for drift to be measured against."""
        seed = mixed_seed(*self.seed, BASELINE_STREAM)
        sample = random_inputs(
            InputKind.GAUSSIAN,
            DRIFT_VECTORS,
            self.place.rows,
            self.core.info.input,
            np.random.default_rng(seed),
        )
        measurement = DriftBaseline(
            window=self.place.window,
            vectors=DRIFT_VECTORS,
            output_range=choose_output_range(self.core.info, self.target_siemens, sample),
        )
        self.baseline = run_calibration(self.core, measurement, seed=seed)

    def scale_drift(self, drift: DriftMode) -> CalibrationRecord:
        """Measure the factor that brings the block's outputs back to its baseline.

        Raises:
            RequestError: No baseline was taken.
            RecordError: The baseline does not hold any more.
        """
        if self.baseline is None:
            raise RequestError(
                f"no drift baseline was taken of {self.place.layer!r}; calibrate it, or have it "
                "expect inputs, while it is fresh"
            )
        self._set_range(int(self.baseline.settings["output_range"]))
        measurement = DriftScale(baseline=self.baseline, drift=drift, tolerance=DRIFT_TOLERANCE)
        return run_calibration(self.core, measurement, seed=mixed_seed(*self.seed, DRIFT_STREAM))

    def _set_range(self, output_range: int) -> None:
        if self.core.settings().output_range != output_range:
            self.core.configure(CoreSettings(output_range=output_range))
