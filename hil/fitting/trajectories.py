"""Drift, read noise and relaxation together, from reads of many devices at many ages.

All three make a device's reads differ from each other; what tells them apart is how their
covariance grows with time: drift with the square of ln t, 1/f noise with ln of the lag, relaxation
ends at t0. So one likelihood holds them all. It needs to know where a device has landed, which its
noisy reads tell: what their error costs is measured on made-up devices of known laws, fitted the
same way, and taken off (indirect inference; Gourieroux, Monfort & Renault, J. Appl. Econometrics 8,
S85 (1993)). Intervals allow for what straight lines between knots miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hil.fitting.estimates import Z95, Array, Curve, Fitness, root_interval
from hil.fitting.trajectory_bins import BinnedFit, binned_fit, sandwich
from hil.fitting.trajectory_laws import LADDER, Layout
from hil.fitting.trajectory_model import Point, TimeAxis, covariance

__all__ = ["TrajectoryData", "TrajectoryFit", "fit_trajectories"]

MADE_UP = 4
"""Made-up devices per device measured: the correction then adds a quarter to the variance."""
CORRECTIONS = 2
LEAST_RELAXATION, LEAST_SD = 5e-3, 4e-3
"""Spread of relaxation, and of the drift exponent, below which the variance, not its root, has a
normal error."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryData:
    """Reads of devices at several ages.

    Attributes:
        axis: Ages, with the reference age and read time.
        relative: Reads over g_max, (K, n).
        usable: Devices all of whose reads are data: neither stuck nor at the ends of the
            converter, (n,).
        variance: Variance that the converter adds to a read, (n,).
    """

    axis: TimeAxis
    relative: Array
    usable: npt.NDArray[np.bool_]
    variance: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryFit:
    """Curves against r with bands, share of noise with memory, goodness of fit.

    Attributes:
        mu, sd, q, relaxation: Curves.
        memory: Share of the noise variance that has the memory of 1/f noise: value, low, high.
        fitness: Goodness of fit.
        covariance: Of q at its reported knots and of the *variance* of relaxation at its own, in
            this order.
        landed: Where each usable device landed, over g_max.
        decay: Mean of g over landed g, seen and fitted, (3, K) each, by thirds of r.
        scatter: Its variance, likewise.
    """

    mu: Curve
    sd: Curve
    q: Curve
    relaxation: Curve
    memory: tuple[float, float, float]
    fitness: tuple[Fitness, ...]
    covariance: Array
    landed: Array
    decay: tuple[Array, Array]
    scatter: tuple[Array, Array]


def fit_trajectories(data: TrajectoryData, rng: np.random.Generator) -> TrajectoryFit:
    """Fit the laws to the reads of all usable devices; `rng` draws the made-up ones."""
    axis, y = data.axis, data.relative[:, data.usable].T
    n = y.shape[0]
    lay = Layout.for_devices(n)
    noise = float(data.variance[data.usable].mean())
    plain = binned_fit(axis, lay, y, noise)
    theta = _corrected(axis, lay, plain, noise, rng)
    errors = (1 + 1 / MADE_UP) * sandwich(axis, lay, y, plain, noise)
    sigma = np.sqrt(np.diag(errors))

    def curve(name: str, part: slice, least: float) -> Curve:
        """Laws without the guard."""
        values = theta[part][1:]
        half = Z95 * np.hypot(sigma[part], _bend(lay.knots, theta[part]))[1:]
        low = np.maximum(values - half, least)
        return Curve(name=name, r=lay.knots[1:], values=values, low=low, high=values + half, n=n)

    def spread(name: str, part: slice, knots: Array, least: float) -> Curve:
        """Laws that are the root of a variance."""
        each = np.hypot(sigma[part], _bend(knots, theta[part]))
        error = 2 * np.maximum(theta[part], least) * each
        values, low, high = root_interval(theta[part] ** 2, error)
        kept = slice(1, None) if knots.size == lay.knots.size else slice(None)
        return Curve(
            name=name, r=knots[kept], values=values[kept], low=low[kept], high=high[kept], n=n
        )

    both = np.r_[np.arange(lay.size)[lay.q][1:], np.arange(lay.size)[lay.relaxation]]
    by_variance = np.r_[
        np.ones(lay.knots.size - 1), 2 * np.maximum(theta[lay.relaxation], LEAST_RELAXATION)
    ]
    share, doubt = theta[lay.memory], Z95 * sigma[lay.memory]
    decay, scatter, fitness = _compared(axis, lay, y, plain, noise)
    return TrajectoryFit(
        mu=curve("mu", lay.mu, -np.inf),
        sd=spread("sd", lay.sd, lay.knots, LEAST_SD),
        q=curve("q", lay.q, 0.0),
        relaxation=spread("relaxation", lay.relaxation, lay.relaxation_knots, LEAST_RELAXATION),
        memory=(float(share), float(share - doubt), float(share + doubt)),
        fitness=fitness,
        covariance=errors[np.ix_(both, both)] * np.outer(by_variance, by_variance),
        landed=plain.landed,
        decay=decay,
        scatter=scatter,
    )


def _corrected(
    axis: TimeAxis, lay: Layout, plain: BinnedFit, noise: float, rng: np.random.Generator
) -> Array:
    """Laws whose made-up devices, fitted the same way, give what was fitted."""
    theta = plain.theta
    n = MADE_UP * plain.landed.size
    landed = rng.choice(plain.landed, n)
    landed = np.maximum(landed * (1 + 0.02 * rng.standard_normal(n)), 1e-3)
    draws = rng.standard_normal((axis.age_s.size * 3 + 2, n))  # the same ones every time
    for _ in range(CORRECTIONS):
        made = _made_up(axis, lay.laws_at(theta, landed), landed, noise, draws)
        again = binned_fit(axis, lay, made, noise, start=plain.theta)
        theta = lay.bounded(theta, theta + plain.theta - again.theta)
    return theta


def _made_up(axis: TimeAxis, laws: Point, landed: Array, noise: float, draws: Array) -> Array:
    """Reads (n, K) of devices that landed there, with the laws there; draws (3 K + 2, n)."""
    count = axis.age_s.size
    nu = laws.mu + laws.sd * draws[0]
    level = landed + laws.relaxation * draws[1] * axis.relaxed[:, None]
    level = np.maximum(level, 0.0) * np.exp(-nu * axis.log_drift[:, None])
    values, vectors = np.linalg.eigh(axis.memory)
    slow = (vectors * np.sqrt(np.maximum(values, 0.0))) @ draws[2 : 2 + count]
    fast = np.sqrt(axis.fresh)[:, None] * draws[2 + count : 2 + 2 * count]
    share = float(np.clip(laws.memory, 0.0, 1.0))
    relative = laws.q * (np.sqrt(share) * slow + np.sqrt(1 - share) * fast)
    converter = np.sqrt(noise) * draws[2 + 2 * count :]
    return np.asarray((np.maximum(level * (1 + relative), 0.0) + converter).T)


def _bend(knots: Array, values: Array) -> Array:
    """How far a bent curve is from its chords at most: second derivative times spacing^2 / 8."""
    spacing = np.diff(knots)
    second = 2 * np.diff(np.diff(values) / spacing) / (spacing[1:] + spacing[:-1])
    inner = np.abs(second) * np.maximum(spacing[1:], spacing[:-1]) ** 2 / 8
    return np.asarray(np.concatenate([inner[:1], inner, inner[-1:]]), np.float64)


def _compared(
    axis: TimeAxis, lay: Layout, y: Array, fit: BinnedFit, noise: float
) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Fitness, ...]]:
    """Mean course and scatter around it, seen and fitted, by thirds of the ladder."""
    courses, meants, scatters, expected = [], [], [], []
    for low, high in pairwise(np.geomspace(*LADDER, 4)):
        inside = (fit.landed >= low) & (fit.landed < high)
        if inside.sum() < 20:
            continue
        r, reads = fit.landed[inside], y[inside]
        mean, spread = covariance(axis, r, lay.laws_at(fit.theta, r), np.full(r.size, noise))
        left = (reads / r[:, None]) - mean
        courses.append((reads / r[:, None]).mean(axis=0))
        meants.append(mean.mean(axis=0))
        # Where a device landed was told by the same reads: the weights it was told with.
        inverse = np.linalg.inv(spread)
        weights = np.einsum("nkl,nl->nk", inverse, mean)
        norm = np.einsum("nk,nk->n", weights, mean)
        told = mean[:, :, None] * mean[:, None, :] / norm[:, None, None]
        scatters.append((left**2).mean(axis=0))
        expected.append((np.einsum("nkk->nk", spread - told) / r[:, None] ** 2).mean(axis=0))
    course, meant = np.stack(courses), np.stack(meants)
    scatter, meant_scatter = np.stack(scatters), np.stack(expected)
    left, whole = np.sum((course - meant) ** 2), np.sum((meant - meant.mean()) ** 2)
    ratio = scatter / meant_scatter
    return (
        (course, meant),
        (scatter, meant_scatter),
        (
            Fitness(
                family="drift, mean course",
                statistic="R2",
                value=float(1 - left / whole) if whole > 0 else 1.0,
                low=0.98,
                high=1.0,
            ),
            Fitness(
                family="drift, noise and relaxation, scatter",
                statistic="chi2/dof",
                value=float(ratio.mean()),
                low=0.9,
                high=1.1,
            ),
            Fitness(
                family="scatter at each age",
                statistic="largest |ln(seen / fitted)|",
                value=float(np.abs(np.log(ratio)).max()),
                low=0.0,
                high=0.35,
            ),
        ),
    )
