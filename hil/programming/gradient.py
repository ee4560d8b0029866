"""From an MVM batch to each cell's conductance error: gradient, col gains, filter. No core.

The gradient of the squared MVM error of a batch, X^T E / (B var(x)), is an estimate of each cell's
conductance error in S. With Hadamard inputs (orthogonal over a block) it has no cross-talk between
rows and its noise is that of one output divided by sqrt(B); with Gaussian or uniform inputs the
other cells of the col add theirs. Estimates of cells left alone are averaged over iterations by a
scalar Kalman filter per cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hil.metrics import AffineFit

__all__ = ["CellErrors", "MvmBatch"]

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

WANDER = 0.005
"""What a cell left alone moves between probes (relaxation, drift), in g_max of a device."""

LEAST_SPREAD = 0.005
"""Lower bound of a pulse's spread, in g_max of a device: keeps the filter open."""

BINS = 12
"""Steps of target size by which a pulse's spread is told apart."""

MEMORY = 50.0
"""Cells' worth of weight that the spread of earlier iterations keeps in a bin."""

GAIN_BOUNDS = (0.5, 2.0)
"""A col's gain outside these is no converter spread but a dead col; it takes the median."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MvmBatch:
    """Inputs as fractions of full scale (batch, rows); measured and exact outputs, S (batch, cols).

    `orthogonal` says that the inputs of any two rows are.
    """

    x: Array
    measured: Array
    exact: Array
    orthogonal: bool

    def gradient(self) -> tuple[Array, Array]:
        """Return each cell's apparent error, S (rows, cols), and its noise variance, (cols,)."""
        batch, rows = self.x.shape
        power = np.mean(self.x**2, axis=0)
        power = np.where(power > 0, power, 1.0)
        miss = self.measured - self.exact
        miss = miss - miss.mean(axis=0)
        gradient = self.x.T @ miss / (batch * power[:, None])
        clean = self.orthogonal and batch > rows
        residual = miss - self.x @ gradient if clean else miss
        free = 1.0 - rows / batch if clean else 1.0
        return gradient, np.mean(residual**2, axis=0) / (free * batch * float(power.mean()))


@dataclass(frozen=True, kw_only=True, eq=False)
class CellErrors:
    """What is believed of a block's cells, and of its cols' converters.

    Attributes:
        siemens, variance: Each cell's error and its variance, S and S^2, (rows, cols).
        gain, offset: Per col, S per S and S: measured = gain * exact + offset, (cols,).
        noise_siemens: Standard deviation of the last gradient, S, over the cols' median.
        pulse_variance: Variance of a cell's error after a pulse, S^2, by size of its target, in
            `BINS` steps up to the largest.
    """

    siemens: Array
    variance: Array
    gain: Array
    offset: Array
    noise_siemens: float
    pulse_variance: Array

    @classmethod
    def unknown(cls, shape: tuple[int, ...], spread_siemens: float) -> Self:
        """Return the belief before any measurement."""
        return cls(
            siemens=np.zeros(shape),
            variance=np.full(shape, spread_siemens**2),
            gain=np.ones(shape[1]),
            offset=np.zeros(shape[1]),
            noise_siemens=0.0,
            pulse_variance=np.full(BINS, spread_siemens**2),
        )

    @property
    def affine(self) -> AffineFit:
        """The correction that the gains and offsets amount to."""
        return AffineFit(
            scale=1.0 / self.gain,
            offset=-self.offset / self.gain,
            success=np.ones(self.gain.shape, np.bool_),
        )

    def update(
        self,
        batch: MvmBatch,
        target_siemens: Array,
        *,
        pulsed: BoolArray,
        good: BoolArray | None,
        unit_siemens: float,
    ) -> CellErrors:
        """Take in a batch.

        Args:
            batch: What was measured.
            target_siemens: Wanted conductances, (rows, cols).
            pulsed: Cells pulsed since the last batch; what was believed of them is void.
            good: Cells to judge the cols' gains by; None fixes the gains at 1, so that
                conductances, not the correction, take up what is off.
            unit_siemens: g_max of a device.
        """
        gradient, noise = batch.gradient()
        gain = np.ones(noise.shape)
        if good is not None:
            gain = _gains(target_siemens, target_siemens + gradient, good)
        seen = (target_siemens + gradient) / gain - target_siemens
        noise = noise / gain**2
        size = _bins(target_siemens)
        fresh = self._pulse_variance(size[pulsed], (seen**2 - noise)[pulsed], unit_siemens)
        spread = fresh[size]
        mean = np.where(pulsed, 0.0, self.siemens)
        prior = np.where(pulsed, spread, self.variance) + (WANDER * unit_siemens) ** 2
        weight = prior / (prior + noise)
        return CellErrors(
            siemens=mean + weight * (seen - mean),
            variance=(1 - weight) * prior,
            gain=gain,
            offset=batch.measured.mean(axis=0) - gain * batch.exact.mean(axis=0),
            noise_siemens=float(np.sqrt(np.median(noise))),
            pulse_variance=fresh,
        )

    def worth_pulsing(
        self, candidates: BoolArray, target_siemens: Array, *, allowance: float
    ) -> BoolArray:
        """Return the candidates whose pulses together are not expected to raise the error.

        A pulse replaces a cell's error by a fresh draw. Cells further off than a draw's spread pay
        at once; what they are expected to gain is spent on cells nearer than that, which pay only
        after some draws. So the squared error of the block is never expected to grow by more than
        `allowance` of itself.
        """
        rows, cols = np.nonzero(candidates)
        drawn = self.pulse_variance[_bins(target_siemens)[rows, cols]]
        held = self.siemens[rows, cols] ** 2
        order = np.argsort(-held / drawn, kind="stable")
        growth = np.cumsum((drawn - held)[order])
        spend = allowance * float(np.sum(self.siemens**2))
        taken = order[growth <= spend]
        worth = np.zeros(candidates.shape, np.bool_)
        worth[rows[taken], cols[taken]] = True
        return worth

    def spread_of(self, target_siemens: Array) -> Array:
        """Variance of each cell's error after a pulse, S^2, (rows, cols)."""
        return self.pulse_variance[_bins(target_siemens)]

    def _pulse_variance(
        self, size: npt.NDArray[np.intp], squared: Array, unit_siemens: float
    ) -> Array:
        """Mean squared error of freshly pulsed cells by size of target, carried over iterations."""
        total = np.bincount(size, squared, BINS)
        count = np.bincount(size, minlength=BINS)
        memory = MEMORY if self.pulse_variance.min() < self.pulse_variance.max() else 0.0
        mixed = (total + memory * self.pulse_variance) / np.maximum(count + memory, 1)
        kept = np.where(count + memory > 0, mixed, self.pulse_variance)
        return np.maximum(kept, (LEAST_SPREAD * unit_siemens) ** 2)


def _bins(target: Array) -> npt.NDArray[np.intp]:
    """Bin of each target's size, 0 ... BINS - 1; bin 0 is for zero."""
    size = np.abs(target)
    most = float(size.max(initial=0.0))
    return np.ceil(size / (most or 1.0) * (BINS - 1)).astype(np.intp)


def _gains(target: Array, found: Array, good: BoolArray) -> npt.NDArray[Any]:
    """Slope of found on wanted conductance over a col's good cells.

    Cells still far off, mostly too low, do not drag it along; and unlike the fit of outputs by
    least squares it does not shrink. Cols without good cells take the median.
    """
    held = np.where(good, target, 0.0)
    power = np.einsum("rc,rc->c", held, held)
    slope = np.einsum("rc,rc->c", held, found) / np.where(power > 0, power, 1.0)
    usable = (power > 0) & (slope > GAIN_BOUNDS[0]) & (slope < GAIN_BOUNDS[1])
    typical = float(np.median(slope[usable])) if usable.any() else 1.0
    return np.where(usable, slope, typical)
