"""One block of a matrix on one core: measure it, correct what it gives. Knows no whole matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.measure import choose_output_range, exact_output, measure_mvm
from hil.metrics import AffineFit, fit_affine

if TYPE_CHECKING:
    from hil.core import Core
    from hil.mapping import PlacedBlock
    from hil.programming import ProgrammingResult

__all__ = ["BlockOutput", "ProgrammedBlock"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
Fits = dict[int, AffineFit]

NARROWER = 2
"""Output ranges below the predicted one that are tried."""


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
        output_range: Output range in use.
        calibrated: Affine correction per output range, as calibrated. Empty: none.
        fits: Affine correction in force.
        drift: Factor per col that compensates drift, applied after the affine correction.
    """

    core: Core
    place: PlacedBlock
    target_siemens: Array
    result: ProgrammingResult
    output_range: int = 0
    calibrated: Fits = field(default_factory=dict)
    fits: Fits = field(default_factory=dict)
    drift: Array

    def rows_of(self, input_codes: IntArray) -> IntArray:
        """Return the part of (batch, matrix rows) that drives this block."""
        return input_codes[:, self.place.row : self.place.row + self.place.rows]

    def exact(self, input_codes: IntArray) -> Array:
        """Return what the wanted conductances would give, S; (batch, block rows) in."""
        return exact_output(self.core.info, self.target_siemens, input_codes)

    def predicted_range(self, input_codes: IntArray) -> int:
        """Return the smallest usable output range for inputs like these, (batch, block rows)."""
        if input_codes.shape[0] == 0:
            return self.output_range
        wanted = choose_output_range(self.core.info, self.target_siemens, input_codes)
        return min((r for r in self.fits if r >= wanted), default=max(self.fits, default=wanted))

    def widest_range(self) -> int:
        """Return the range that holds any input; the widest there is if none does."""
        ranges = self.core.info.output_ranges_siemens
        most = float(np.abs(self.target_siemens).sum(axis=0).max())
        return next((k for k, limit in enumerate(ranges) if limit >= most), len(ranges) - 1)

    def measure(self, input_codes: IntArray, output_range: int) -> BlockOutput:
        """Multiply (batch, block rows) in one output range."""
        seen = measure_mvm(
            self.core, input_codes, window=self.place.window, output_range=output_range
        )
        return BlockOutput(
            raw_siemens=seen.siemens,
            siemens=self._correct(seen.siemens, output_range),
            saturated=seen.saturated,
        )

    def measure_adapting(self, input_codes: IntArray) -> BlockOutput:
        """Multiply (batch, block rows), starting in the range predicted for these inputs.

        Vectors with a clipped output are multiplied again in the next wider range, until none is
        clipped or no wider range is left (or calibrated).
        """
        start = self.predicted_range(input_codes)
        first = self.measure(input_codes, start)
        raw, siemens, saturated = first.raw_siemens, first.siemens, first.saturated
        ranges = self.fits or range(len(self.core.info.output_ranges_siemens))
        for wider in sorted(r for r in ranges if r > start):
            again = np.flatnonzero(saturated.any(axis=1))
            if again.size == 0:
                break
            more = self.measure(input_codes[again], wider)
            raw[again], siemens[again] = more.raw_siemens, more.siemens
            saturated[again] = more.saturated
        return BlockOutput(raw_siemens=raw, siemens=siemens, saturated=saturated)

    def fit(self, input_codes: IntArray, output_range: int) -> AffineFit:
        """Fit the affine correction of one output range on (batch, block rows).

        Inputs that a narrow range would clip are scaled down for it.
        """
        limit = self.core.info.output_ranges_siemens[output_range]
        exact = self.exact(input_codes)
        need = float(np.max(np.abs(exact.mean(axis=0)) + 4.0 * exact.std(axis=0)))
        if need > limit:
            input_codes = np.rint(input_codes * (limit / need)).astype(input_codes.dtype)
        return self._fit(input_codes, output_range)[0]

    def fit_best(self, input_codes: IntArray) -> tuple[int, AffineFit]:
        """Fit in every likely output range; return the one with the least squared error.

        A narrow range clips large outputs, a wide one rounds small ones and carries more noise;
        which is worse depends on how these inputs (batch, block rows) are distributed.
        """
        predicted = self.predicted_range(input_codes)
        tried = {
            k: self._fit(input_codes, k) for k in range(max(0, predicted - NARROWER), predicted + 1)
        }
        best = min(tried, key=lambda k: tried[k][1])
        return best, tried[best][0]

    def _fit(self, input_codes: IntArray, output_range: int) -> tuple[AffineFit, float]:
        """Return a fit and its mean squared error; clipped vectors are left out of the fit.

        If that leaves less than half of them, all are kept.
        """
        exact = self.exact(input_codes)
        seen = measure_mvm(
            self.core, input_codes, window=self.place.window, output_range=output_range
        )
        used = ~seen.saturated.any(axis=1)
        if used.sum() < max(2, used.size // 2):
            used = np.ones(used.size, np.bool_)
        fit = fit_affine(seen.siemens[used], exact[used])
        return fit, float(np.mean((fit.apply(seen.siemens) - exact) ** 2))

    def _correct(self, siemens: Array, output_range: int) -> Array:
        fit = self.fits.get(output_range)
        corrected = siemens.copy() if fit is None else fit.apply(siemens)
        corrected *= self.drift
        return corrected
