"""The floor of RESET: landings near zero, which are cut at zero. Knows reads, no core."""

from __future__ import annotations

import numpy as np

from hil.fitting.estimates import Array

__all__ = ["fit_floor", "latent_sigma", "rectified"]

TAIL_DOUBT = 0.05
"""Relative error of what the curves leave there: they are known far from it."""
FEWEST = 20
"""Fewest devices that tell a floor."""


def rectified(aimed: Array, sigma: Array) -> tuple[Array, Array]:
    """Mean and variance of max(0, N(aimed, sigma^2)), element by element."""
    from scipy.special import ndtr  # noqa: PLC0415 - keeps `import hil` light

    sigma = np.maximum(sigma, 1e-9)
    z = np.clip(aimed / sigma, -30.0, 30.0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    below = ndtr(z)
    mean = aimed * below + sigma * density
    second = (aimed**2 + sigma**2) * below + aimed * sigma * density
    return mean, np.maximum(second - mean**2, 1e-12)


def latent_sigma(aimed: Array, variance: Array) -> Array:
    """Spread of a landing before it is cut at zero, from its variance after; undoes `rectified`."""
    seen = np.sqrt(np.maximum(variance, 1e-12))
    ratio = aimed / seen
    sigma = seen.copy()
    near = ratio < 4.0
    z = np.linspace(0.0, 4.0, 801)
    ratios = z / np.sqrt(rectified(z, np.ones_like(z))[1])
    low = np.maximum(np.interp(ratio[near], ratios, z), 1e-3)
    sigma[near] = aimed[near] / low
    return sigma


def fit_floor(floor_reads: Array, tail: Array, zero_error: float) -> tuple[float, float, float]:
    """Floor, its standard error, and cycle noise there, from two moments of full RESETs.

    Args:
        floor_reads: Reads after one pulse of the highest amplitude, (reads, n); NaN where a col
            cannot show them.
        tail: What that amplitude leaves of each device's SET state above the floor, (n,).
        zero_error: Standard error of where all reads have their zero, over g_max.

    Raises:
        LinAlgError: Too few cols show reads near zero.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415 - keeps `import hil` light

    shown = np.isfinite(floor_reads).all(axis=0)
    reads, above = floor_reads[:, shown], tail[shown]
    if reads.shape[1] < FEWEST:
        raise np.linalg.LinAlgError("too few cols show reads near zero")
    x = reads.mean(axis=0)
    # One pulse's landing is read several times: what differs between reads is the converter's.
    noise = float(reads.var(axis=0, ddof=1).mean()) / reads.shape[0]
    first, second = float(x.mean()), float(np.mean(x**2)) - noise
    spread = np.sqrt(max(second - first**2, 1e-12))

    def moments(theta: Array) -> Array:
        mean, variance = rectified(theta[0] * spread + above, np.exp(theta[1]) * spread)
        return np.array([mean.mean() / spread, np.mean(variance + mean**2) / spread**2])

    wanted = np.array([first / spread, second / spread**2])
    low, high = np.array([0.0, -4.0]), np.array([50.0, 2.0])
    start = np.clip([wanted[0] / 2, 0.3], low + 1e-3, high - 1e-3)

    def miss(theta: Array) -> Array:
        return np.asarray(moments(theta) - wanted)

    found = least_squares(miss, start, bounds=(low, high))
    inverse = np.linalg.pinv(np.asarray(found.jac, np.float64))
    influence = inverse @ np.stack([x / spread, x**2 / spread**2])
    scatter = float(influence[0].std()) * spread / np.sqrt(x.size)
    by_zero = float((inverse @ np.array([1.0, 2 * first / spread]))[0])
    error = np.hypot(scatter, by_zero * zero_error)
    error = float(np.hypot(error, TAIL_DOUBT * above.mean()))
    return float(found.x[0] * spread), error, float(np.exp(found.x[1]) * spread)
