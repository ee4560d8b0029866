"""RESET programming curve: G(I) of every device, its spread over devices. Knows reads, no core.

G(I) = floor + (G_set - floor) sigmoid((I50 - I) / s), with ln G_set, I50 and s normal over devices
and a fresh draw of noise at every pulse. This is a mixed-effects model: devices' curves are
estimated together with their distribution (expectation-maximisation with Laplace's approximation
per device; Lindstrom & Bates, Biometrics 46, 673 (1990)), so that the noise of one device's curve
does not count as spread. Landings below zero are cut at zero, reads at the highest code censored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hil.fitting.estimates import Array, Estimate, Fitness, about, hat_weights
from hil.fitting.reset_floor import fit_floor, latent_sigma, rectified

__all__ = ["CurveData", "CurveFit", "curve_of", "fit_reset_curves"]

BoolArray = npt.NDArray[np.bool_]

ROUNDS = 40
CONVERGED = 2e-4
"""Rounds end when no population value moves by more than this, in its own spread."""
NOISE_KNOTS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.3, 2.0, 4.0])
"""Conductances over g_max between which the variance of a landing is a straight line."""
FLOOR_ROUNDS, FLOOR_SETTLED = 3, 0.1
"""The highest amplitude leaves something of the SET state, which the curves tell: floor and curves
are fitted in turn, until the floor moves by less than this share of its error."""
FEWEST = 20
"""Fewest devices of which a mean is shown."""
LEAST_SLOPE_SHARE = 0.2
"""No slope is taken below this share of the population's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveData:
    """Reads after RESET pulses, relative to g_max.

    Attributes:
        ampere: Amplitude of each sweep point, (points,).
        relative: (points, n).
        censored: The read was at the highest code, (points, n).
        highest: Conductance from which on a read is, (n,).
        variance: Variance that the converter adds to a read, (n,).
        set_relative, set_variance: Mean read at SET and its variance, (n,); NaN where it is
            censored or there is none.
        floor_reads: Reads after one pulse of the highest amplitude, (reads, n); NaN where a col
            cannot show them.
        zero_error: Standard error of where all reads have their zero, over g_max.
    """

    ampere: Array
    relative: Array
    censored: BoolArray
    highest: Array
    variance: Array
    set_relative: Array
    set_variance: Array
    floor_reads: Array
    zero_error: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveFit:
    """Population and devices.

    Attributes:
        estimates: i50_ampere, i50_sigma, slope_ampere, slope_sigma, reset_floor, curve_set_median.
        fitness: Goodness of fit.
        theta: ln G_set, I50 and s of each device, A, (n, 3).
        floor: Conductance at full RESET over g_max.
        noise: Variance of one read around its aimed conductance at `NOISE_KNOTS`.
        aimed: What each pulse aimed at, (points, n).
        squares: Squared residuals, corrected for what the fit took of them, (points, n).
        used: Points that are data, (points, n).
        course: Amplitudes, A, and mean of the points that are data, seen and fitted.
    """

    estimates: tuple[Estimate, ...]
    fitness: tuple[Fitness, ...]
    theta: Array
    floor: float
    noise: Array
    aimed: Array
    squares: Array
    used: BoolArray
    course: tuple[Array, Array, Array]

    def amplitude_for(self, relative: Array) -> Array:
        """Amplitude, A, at which each device aims at a conductance over g_max, (n,)."""
        g_set = np.exp(self.theta[:, 0])
        share = (relative - self.floor) / (g_set - self.floor)
        share = np.clip(share, 1e-4, 1 - 1e-4)
        return np.asarray(self.theta[:, 1] - self.theta[:, 2] * np.log(share / (1 - share)))


def curve_of(theta: Array, floor: float, ampere: Array) -> tuple[Array, Array]:
    """Curve and its derivatives by ln G_set, I50 and s: (points, n), (3, points, n)."""
    from scipy.special import expit  # noqa: PLC0415 - keeps `import hil` light

    g_set, i50, slope = np.exp(theta[:, 0]), theta[:, 1], theta[:, 2]
    u = (i50 - ampere[:, None]) / slope
    share = expit(u)
    steep = (g_set - floor) * share * (1 - share)
    aimed = floor + (g_set - floor) * share
    return aimed, np.stack([g_set * share, steep / slope, -steep * u / slope])


def fit_reset_curves(data: CurveData, rng: np.random.Generator) -> CurveFit:
    """Fit every device's curve and their distribution.

    Laplace's approximation takes the most likely curve of a device for its mean. What that costs
    is measured on made-up devices of the fitted population, of which the truth is known, and taken
    off (parametric bootstrap; Efron & Tibshirani 1993, section 10).

    Args:
        data: Reads.
        rng: Draws the made-up devices.
    """
    state, floor_error = _settled_with_floor(data)
    floor = state.floor
    made, truth = _made_up(data, state, rng)
    again = _settled(made, replace(state, theta=np.tile(state.mu, (truth.shape[0], 1))))
    mu = state.mu - (again.mu - truth.mean(axis=0))
    n = state.theta.shape[0]
    sigma = np.sqrt(np.diag(state.omega))
    sigma = sigma * truth.std(axis=0) / np.sqrt(np.diag(again.omega))
    errors_mu, errors_sigma = _errors(state)
    # The correction is one draw of the same measurement: its own noise comes on top.
    errors_mu = np.sqrt(np.maximum(2 * errors_mu**2 - sigma**2 / n, errors_mu**2))
    errors_sigma = np.sqrt(np.maximum(2 * errors_sigma**2 - sigma**2 / (2 * n), errors_sigma**2))
    i50, slope, centre = float(mu[1]), float(mu[2]), float(np.exp(mu[0]))
    aimed, slopes = curve_of(state.theta, floor, data.ampere)
    landed = _landed(data, state, aimed)
    squares = (data.relative - landed.mean) ** 2 / (1 - _leverage(state, slopes, landed))
    course = _course(data, landed)
    # What the fit takes of the scatter beyond leverage, it takes of made-up devices' as well.
    squares = squares / np.interp(aimed, NOISE_KNOTS, again.noise / state.noise)
    return CurveFit(
        estimates=(
            about("i50_ampere", i50, errors_mu[1], "A", n),
            about("i50_sigma", sigma[1] / i50, errors_sigma[1] / i50, n=n, least=0.0),
            about("slope_ampere", slope, errors_mu[2], "A", n),
            about("slope_sigma", sigma[2] / slope, errors_sigma[2] / slope, n=n, least=0.0),
            about("reset_floor", floor, floor_error, n=n, least=0.0),
            about("curve_set_median", centre, centre * errors_mu[0], n=n),
        ),
        fitness=(_mean_fitness(course), _correlations(state.omega)),
        theta=state.theta,
        floor=floor,
        noise=state.noise,
        aimed=aimed,
        squares=squares,
        used=landed.used,
        course=course,
    )


def _settled_with_floor(data: CurveData) -> tuple[_State, float]:
    """Population and floor, each given the other; the floor's standard error."""
    tail = np.zeros(data.relative.shape[1])
    floor, error, sigma = fit_floor(data.floor_reads, tail, data.zero_error)
    state = _settled(data, _start(data, floor, sigma))
    for _ in range(FLOOR_ROUNDS):
        aimed, _ = curve_of(state.theta, state.floor, data.ampere.max(keepdims=True))
        floor, error, sigma = fit_floor(data.floor_reads, aimed[0] - state.floor, data.zero_error)
        if abs(floor - state.floor) < FLOOR_SETTLED * error:
            break
        state = _settled(data, replace(state, floor=floor, floor_sigma=sigma))
    return replace(state, floor=floor), error


def _settled(data: CurveData, state: _State) -> _State:
    """Go on until the population stands still."""
    for _ in range(ROUNDS):
        before, state = state, _round(data, state)
        moved = np.abs(state.mu - before.mu) / np.sqrt(np.diag(state.omega))
        spread = np.abs(np.diag(state.omega) / np.diag(before.omega) - 1)
        if max(moved.max(), spread.max()) < CONVERGED:
            break
    return state


def _made_up(data: CurveData, state: _State, rng: np.random.Generator) -> tuple[CurveData, Array]:
    """Reads of made-up devices of the population, measured the same way; their curves (n, 3)."""
    n = data.relative.shape[1]
    theta = rng.multivariate_normal(state.mu, state.omega, n)
    theta[:, 2] = np.maximum(theta[:, 2], LEAST_SLOPE_SHARE * state.mu[2])
    aimed, _ = curve_of(theta, state.floor, data.ampere)
    variance = np.interp(aimed, NOISE_KNOTS, state.noise)
    sigma = latent_sigma(aimed, np.maximum(variance - data.variance, 1e-8))
    landed = np.maximum(aimed + sigma * rng.standard_normal(aimed.shape), 0.0)
    seen = landed + np.sqrt(data.variance) * rng.standard_normal(aimed.shape)
    # A device is seen at SET if it lies below where those of the data are no longer seen.
    was_seen = np.isfinite(data.set_relative)
    at_set = np.full(n, np.nan)
    if was_seen.any():
        part = np.where(was_seen, data.set_variance, np.median(data.set_variance[was_seen]))
        wanted = np.exp(theta[:, 0]) + np.sqrt(part) * rng.standard_normal(n)
        at_set = np.where(wanted < data.highest - 4 * np.sqrt(part), wanted, np.nan)
        data = replace(data, set_variance=part)
    made = replace(
        data,
        relative=np.minimum(seen, data.highest),
        censored=seen >= data.highest,
        set_relative=at_set,
    )
    return made, theta


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Where the iteration stands: devices, population, noise; `posterior` is (n, 3, 3)."""

    theta: Array
    mu: Array
    omega: Array
    noise: Array
    information: Array
    posterior: Array
    floor: float
    floor_sigma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Landed:
    """Mean and variance of a read, slope of its mean by what was aimed at, points used."""

    mean: Array
    variance: Array
    rise: Array
    used: BoolArray
    censored: BoolArray


def _start(data: CurveData, floor: float, floor_sigma: float) -> _State:
    from scipy.optimize import curve_fit  # noqa: PLC0415 - keeps `import hil` light

    n = data.relative.shape[1]
    typical = np.median(data.relative, axis=1)
    order = np.argsort(data.ampere)
    top = float(typical.max())
    half = data.ampere[order][int(np.argmax(typical[order] < (top + floor) / 2))]

    def model(ampere: Array, log_set: float, i50: float, log_slope: float) -> Array:
        theta = np.array([[log_set, i50, np.exp(log_slope)]])
        return curve_of(theta, floor, ampere)[0][:, 0]

    start = (
        np.log(max(top, 0.1)),
        max(half, data.ampere.max() / 50),
        np.log(data.ampere.max() / 20),
    )
    try:
        found, _ = curve_fit(model, data.ampere, typical, p0=start, maxfev=5000)
    except RuntimeError:
        found = np.asarray(start)
    mu = np.array([found[0], found[1], np.exp(found[2])])
    omega = np.diag([0.4**2, (0.15 * mu[1]) ** 2, (0.2 * mu[2]) ** 2])
    base = floor_sigma**2 + float(data.variance.mean())
    noise = base + (0.12 * np.minimum(NOISE_KNOTS, 1.0)) ** 2
    return _State(
        theta=np.tile(mu, (n, 1)),
        mu=mu,
        omega=omega,
        noise=noise,
        information=np.zeros((n, 3, 3)),
        posterior=np.tile(omega, (n, 1, 1)),
        floor=floor,
        floor_sigma=floor_sigma,
    )


def _landed(data: CurveData, state: _State, aimed: Array) -> _Landed:
    from scipy.special import ndtr  # noqa: PLC0415 - keeps `import hil` light

    variance = np.maximum(np.interp(aimed, NOISE_KNOTS, state.noise), data.variance[None] * 0.5)
    sigma = latent_sigma(aimed, np.maximum(variance - data.variance[None], 1e-8))
    mean, _ = rectified(aimed, sigma)
    # Reads near the top are censored by what they would be, not by what they were.
    near = aimed > data.highest[None] - 3 * np.sqrt(variance)
    return _Landed(
        mean=mean,
        variance=variance,
        rise=ndtr(aimed / sigma),
        used=~near & ~data.censored,
        censored=data.censored,
    )


def _round(data: CurveData, state: _State) -> _State:
    """One expectation step (two Newton steps per device) and one maximisation step."""
    inverse = np.linalg.inv(state.omega)
    theta = state.theta
    information = state.information
    for _ in range(2):
        gradient, information = _likelihood(data, state, theta)
        gradient = gradient - (theta - state.mu) @ inverse
        step = np.linalg.solve(information + inverse, gradient[..., None])[..., 0]
        bound = 1.5 * np.sqrt(np.diag(state.omega))
        theta = theta + np.clip(step, -bound, bound)
        theta[:, 2] = np.maximum(theta[:, 2], LEAST_SLOPE_SHARE * state.mu[2])
    posterior = np.linalg.inv(information + inverse)
    mu = theta.mean(axis=0)
    centred = theta - mu
    omega = centred.T @ centred / theta.shape[0] + posterior.mean(axis=0)
    moved = replace(
        state, theta=theta, mu=mu, omega=omega, information=information, posterior=posterior
    )
    return replace(moved, noise=_noise(data, moved))


def _likelihood(data: CurveData, state: _State, theta: Array) -> tuple[Array, Array]:
    """Gradient (n, 3) and information (n, 3, 3) of each device's reads."""
    from scipy.special import log_ndtr  # noqa: PLC0415 - keeps `import hil` light

    aimed, slopes = curve_of(theta, state.floor, data.ampere)
    landed = _landed(data, state, aimed)
    sd = np.sqrt(landed.variance)
    z = (data.relative - landed.mean) / sd
    above = (data.highest[None] - landed.mean) / sd
    hazard = np.exp(-(above**2) / 2 - log_ndtr(-above)) / np.sqrt(2 * np.pi)
    pull = np.where(data.censored, hazard, z) / sd
    weight = np.where(data.censored, np.clip(hazard * (hazard - above), 0, 1), 1.0)
    weight = weight / landed.variance
    slopes = slopes * landed.rise
    gradient = np.stack([(one * pull).sum(axis=0) for one in slopes], axis=1)
    information = np.empty((theta.shape[0], 3, 3))
    for a in range(3):
        weighted = slopes[a] * weight
        for b in range(a, 3):
            information[:, a, b] = information[:, b, a] = (weighted * slopes[b]).sum(axis=0)
    at_set = np.isfinite(data.set_relative)
    g_set = np.exp(theta[:, 0])
    part = np.where(at_set, data.set_variance, 1.0)
    miss = np.where(at_set, data.set_relative - g_set, 0.0)
    gradient[:, 0] += g_set * miss / part
    information[:, 0, 0] += np.where(at_set, g_set**2 / part, 0.0)
    return gradient, information


def _noise(data: CurveData, state: _State) -> Array:
    """Variance of a read at the knots, from residuals corrected for leverage."""
    aimed, slopes = curve_of(state.theta, state.floor, data.ampere)
    landed = _landed(data, state, aimed)
    leverage = _leverage(state, slopes, landed)
    squares = (data.relative - landed.mean) ** 2 / (1 - leverage)
    used = landed.used
    hats = hat_weights(aimed[used], NOISE_KNOTS)
    value = squares[used]
    weight = 1 / landed.variance[used] ** 2
    normal = (hats * weight[:, None]).T @ hats
    right = (hats * weight[:, None]).T @ value
    ridge = 1e-6 * np.trace(normal) / NOISE_KNOTS.size
    found = np.linalg.solve(normal + ridge * np.eye(NOISE_KNOTS.size), right + ridge * state.noise)
    return np.asarray(np.maximum(found, 0.25 * data.variance.mean()))


def _leverage(state: _State, slopes: Array, landed: _Landed) -> Array:
    """Share of each residual's variance that the device's own curve has taken, (points, n)."""
    total = np.zeros_like(landed.mean)
    for a in range(3):
        for b in range(3):
            total += slopes[a] * slopes[b] * state.posterior[:, a, b]
    return np.asarray(np.clip(total / landed.variance, 0.0, 0.9))


def _errors(state: _State) -> tuple[Array, Array]:
    """Standard errors of the population's means and spreads, from the marginal likelihood.

    Each device tells N(theta, information^-1) of its curve; marginally that is
    N(mu, omega + information^-1). Written with W = (omega + information^-1)^-1
    = inv(omega) - inv(omega) posterior inv(omega), which exists where a device tells little.
    """
    inverse = np.linalg.inv(state.omega)
    w = inverse - inverse @ state.posterior @ inverse
    errors_mu = np.sqrt(np.diag(np.linalg.inv(w.sum(axis=0))))
    # d omega / d sigma_j^2 is the unit matrix at (j, j): information 1/2 sum W_jk^2.
    squared = 0.5 * np.einsum("njk,njk->jk", w, w)
    errors_variance = np.sqrt(np.diag(np.linalg.inv(squared)))
    return errors_mu, errors_variance / (2 * np.sqrt(np.diag(state.omega)))


def _course(data: CurveData, landed: _Landed) -> tuple[Array, Array, Array]:
    """Amplitudes at which there are data, and means over devices there, seen and fitted."""
    count = landed.used.sum(axis=1)
    enough = count > FEWEST
    seen = np.where(landed.used, data.relative, 0.0).sum(axis=1)[enough] / count[enough]
    meant = np.where(landed.used, landed.mean, 0.0).sum(axis=1)[enough] / count[enough]
    return data.ampere[enough], seen, meant


def _mean_fitness(course: tuple[Array, Array, Array]) -> Fitness:
    _, seen, meant = course
    r2 = 1 - float(np.sum((seen - meant) ** 2) / np.sum((seen - seen.mean()) ** 2))
    return Fitness(
        family="RESET curve, mean at each amplitude", statistic="R2", value=r2, low=0.99, high=1.0
    )


def _correlations(omega: Array) -> Fitness:
    """The presets draw G_set, I50 and slope independently: is the largest correlation small?"""
    sd = np.sqrt(np.diag(omega))
    correlation = np.abs(omega / np.outer(sd, sd) - np.eye(3)).max()
    return Fitness(
        family="RESET curve, independence of G_set, I50 and slope",
        statistic="largest correlation",
        value=float(correlation),
        low=0.0,
        high=0.3,
    )
