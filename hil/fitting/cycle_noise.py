"""Noise from one RESET pulse to the next against what the pulse aims at. Knows reads, no core.

What a read misses its aim by is cycle noise, the relaxation that has happened by then, read noise
and converter noise. The last three are known from elsewhere; what is left is a cubic in r, the
form in which programming errors are published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.fitting.estimates import Z95, Array, Curve, Fitness
from hil.fitting.reset_curve import CurveFit
from hil.fitting.reset_floor import rectified
from hil.fitting.trajectories import TrajectoryFit
from hil.fitting.trajectory_model import TimeAxis

__all__ = ["CycleNoiseFit", "FloorNoise", "fit_cycle_noise", "floor_noise"]

EDGES = np.r_[0.0, np.geomspace(0.015, 0.1, 8), np.linspace(0.14, 1.02, 23)]
BAND = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
"""Conductances over g_max at which the cubic is given with its interval."""
DEGREE = 3
LEAST = 1e-4
LOW = 0.1
"""Aims below this over g_max lean on the floor."""
DRAWS = 80
"""Bootstrap samples of devices, each with other laws drawn within their errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CycleNoiseFit:
    """Cycle noise over g_max against r, and goodness of fit.

    Attributes:
        sigma: The curve.
        aimed, seen, fitted: Centre of each bin, and scatter of reads around it: for pictures.
    """

    sigma: Curve
    fitness: tuple[Fitness, ...]
    aimed: Array
    seen: Array
    fitted: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What else a read misses its aim by, at the bins.

    Attributes:
        relaxed: Spread of the relaxation so far, over g_max.
        relative: Read noise over conductance.
        converter: Variance that the converter adds, over g_max^2.
    """

    relaxed: Array
    relative: Array
    converter: Array


@dataclass(frozen=True, kw_only=True)
class FloorNoise:
    """Read noise of devices at full RESET, below the ladder.

    Attributes:
        q: Q there, as the root mean square of Q g over that of g.
        error: Its standard error.
        relative: What a pulse of full RESET aims at, over g_max.
    """

    q: float
    error: float
    relative: float


def floor_noise(reads: Array, variance: Array, axis: TimeAxis, laws: TrajectoryFit) -> FloorNoise:
    """Tell Q at full RESET by how much reads of one landing differ from each other.

    Args:
        reads: Reads at the ages of `axis`, (K, n).
        variance: Variance that the converter adds to a read, (n,).
        axis: Ages.
        laws: The share of the noise that has a memory: it differs less from read to read.
    """
    count, n = reads.shape
    share = laws.memory[0]
    band = share * axis.memory + (1 - share) * np.diag(axis.fresh)
    seen = (np.trace(band) - band.sum() / count) / (count - 1)
    within = reads.var(axis=0, ddof=1) - variance
    power = max(float(within.mean()) / seen, 0.0)
    doubt = float(within.std()) / np.sqrt(n) / seen
    square = max(float(np.mean(reads**2) - variance.mean()), 1e-9)
    q = np.sqrt(power / square)
    return FloorNoise(
        q=float(q),
        error=float(doubt / square / (2 * max(q, 0.01))),
        relative=max(float(reads.mean()), 1e-3),
    )


def fit_cycle_noise(
    curve: CurveFit,
    laws: TrajectoryFit,
    *,
    chosen: npt.NDArray[np.bool_],
    variance: Array,
    relaxed: float,
    noise_log: float,
    at_floor: FloorNoise,
    rng: np.random.Generator,
) -> CycleNoiseFit:
    """Fit sigma(r).

    Args:
        curve: Curves of all devices, with squared residuals.
        laws: Laws of read noise and relaxation.
        chosen: Devices to use, (n,).
        variance: Variance that the converter adds to a read, (n,).
        relaxed: Share of the relaxation that had happened at the read.
        noise_log: Variance of 1/f noise at the read in units of Q^2.
        at_floor: Read noise below the ladder.
        rng: Draws the bootstrap.
    """
    used = curve.used & chosen
    count, squares, centre, converter = _by_bin(curve, used, variance)
    weights = np.ones(count.shape[0])
    seen, total = _means(weights, count, squares)

    noise_r = np.log(np.r_[min(at_floor.relative, laws.q.r[0] / 2), laws.q.r])
    at = np.log(np.maximum(centre, 1e-4))

    def known_from(q: Array, relaxation: Array, q_floor: float) -> _Known:
        powers = np.log(np.maximum(np.r_[q_floor, q], 1e-5))  # Q bends as a power of r
        return _Known(
            relaxed=np.interp(centre, np.r_[0.0, laws.relaxation.r], np.r_[0.0, relaxation])
            * relaxed,
            relative=np.exp(np.interp(at, noise_r, powers)) * np.sqrt(noise_log),
            converter=converter,
        )

    known = known_from(laws.q.values, laws.relaxation.values, at_floor.q)
    start = np.polynomial.polynomial.polyfit(
        centre, np.sqrt(np.maximum(seen - known.converter, 1e-8)), DEGREE
    )
    found = _solve(np.asarray(start, np.float64), centre, seen, total, known)
    half = laws.q.values.size
    spread = np.linalg.cholesky(laws.covariance + 1e-14 * np.eye(laws.covariance.shape[0]))
    floor_error = next(e.standard_error for e in curve.estimates if e.name == "reset_floor")
    drawn = []
    for _ in range(DRAWS):
        # Were the floor higher, so would be what the highest amplitudes aim at.
        aims = centre + floor_error * rng.standard_normal() * np.maximum(1 - centre / LOW, 0.0)
        shift = spread @ rng.standard_normal(spread.shape[0])
        other = known_from(
            np.maximum(laws.q.values + shift[:half], 0.0),
            np.sqrt(np.maximum(laws.relaxation.values**2 + shift[half:], 0.0)),
            max(at_floor.q + at_floor.error * rng.standard_normal(), 0.0),
        )
        picked = rng.multinomial(weights.size, weights / weights.size).astype(np.float64)
        again, n = _means(picked, count, squares)
        drawn.append(found + _step(found, np.maximum(aims, 0.0), again, n, other))
    band = np.stack([np.polynomial.polynomial.polyval(BAND, one) for one in drawn], axis=1)
    # The squares were corrected by those of as many made-up devices.
    error = np.sqrt(2.0) * band.std(axis=1, ddof=1)
    values = np.maximum(np.polynomial.polynomial.polyval(BAND, found), 0.0)
    fitted = _expected(found, centre, known)
    r2 = 1 - np.sum(total * (seen - fitted) ** 2) / np.sum(
        total * (seen - np.average(seen, weights=total)) ** 2
    )
    return CycleNoiseFit(
        sigma=Curve(
            name="sigma",
            r=BAND,
            values=values,
            low=np.maximum(values - Z95 * error, 0.0),
            high=values + Z95 * error,
            n=int(chosen.sum()),
            coefficients=found,
        ),
        fitness=(
            Fitness(family="cycle noise", statistic="R2", value=float(r2), low=0.95, high=1.0),
        ),
        aimed=centre,
        seen=np.sqrt(seen),
        fitted=np.sqrt(fitted),
    )


def _by_bin(
    curve: CurveFit, used: npt.NDArray[np.bool_], variance: Array
) -> tuple[Array, Array, Array, Array]:
    """Counts and sums of squares (n, bins), mean aim and converter variance of each bin."""
    n, bins = used.shape[1], EDGES.size - 1
    index = np.digitize(curve.aimed, EDGES) - 1
    inside = used & (index >= 0) & (index < bins)
    device = np.broadcast_to(np.arange(n), used.shape)[inside]
    flat = device * bins + index[inside]
    size = n * bins
    count = np.asarray(np.bincount(flat, np.ones(flat.size), size), np.float64).reshape(n, bins)
    squares = np.asarray(np.bincount(flat, curve.squares[inside], size), np.float64)
    squares = squares.reshape(n, bins)
    aims = np.bincount(flat, curve.aimed[inside], size).reshape(n, bins).sum(axis=0)
    total = np.maximum(count.sum(axis=0), 1e-9)
    centre = np.asarray(np.where(total > 1, aims / total, (EDGES[1:] + EDGES[:-1]) / 2))
    converter = np.asarray((count * variance[:, None]).sum(axis=0) / total)
    return count, squares, centre, converter


def _means(weights: Array, count: Array, squares: Array) -> tuple[Array, Array]:
    total = weights @ count
    return weights @ squares / np.maximum(total, 1e-9), total


def _expected(coefficients: Array, centre: Array, known: _Known) -> Array:
    """Mean squared miss of a read."""
    sigma = np.maximum(np.polynomial.polynomial.polyval(centre, coefficients), LEAST)
    mean, landing = rectified(centre, sigma)
    moved = landing + known.relaxed**2
    return np.asarray(moved + known.relative**2 * (mean**2 + moved) + known.converter)


def _solve(start: Array, centre: Array, seen: Array, count: Array, known: _Known) -> Array:
    from scipy.optimize import least_squares  # noqa: PLC0415 - keeps `import hil` light

    enough = count > 30
    weight = np.sqrt(count[enough]) / np.maximum(seen[enough], 1e-8)

    def miss(coefficients: Array) -> Array:
        return np.asarray(weight * (_expected(coefficients, centre, known) - seen)[enough])

    return np.asarray(least_squares(miss, start).x)


def _step(at: Array, centre: Array, seen: Array, count: Array, known: _Known) -> Array:
    """One Gauss-Newton step from `at`: what other data near by would change."""
    enough = count > 30
    weight = np.sqrt(count[enough]) / np.maximum(seen[enough], 1e-8)
    expected = _expected(at, centre, known)
    small = 1e-5
    slopes = np.stack(
        [(_expected(at + small * e, centre, known) - expected) / small for e in np.eye(at.size)],
        axis=1,
    )
    left = weight * (seen - expected)[enough]
    step = np.linalg.lstsq(weight[:, None] * slopes[enough], left, rcond=None)[0]
    return np.asarray(step, np.float64)
