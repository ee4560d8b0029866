"""What a device's reads at several ages have in common: mean and covariance. Pure numpy.

g(t) = (u + d p(t)) exp(-nu L(t)) (1 + e(t)): u is where the pulse has landed, d the relaxation of
which p(t) = ln(1 + t / t_r) / ln(1 + t0 / t_r) has happened by age t, nu the drift exponent,
L(t) = ln(max(t, t0) / t0), and e(t) 1/f noise of density Q^2 / f from 1 / (T + t_r) to 1 / (2 t_r),
T = max(t, t0). Its autocovariance is that of this band; a share of it may come without memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Point", "TimeAxis", "covariance", "derivatives"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TimeAxis:
    """Ages and what the laws make of them.

    Attributes:
        age_s: Age at each read, s, rising, (K,).
        t0_s, t_read_s: Reference age and read time of the laws, s.
        relaxed: p(t), (K,).
        log_drift: L(t), (K,).
        memory: Autocovariance of 1/f noise in units of Q^2, (K, K).
        fresh: Its variance alone, (K,).
    """

    age_s: Array
    t0_s: float
    t_read_s: float
    relaxed: Array
    log_drift: Array
    memory: Array
    fresh: Array

    @classmethod
    def of(cls, age_s: Array, *, t0_s: float, t_read_s: float) -> TimeAxis:
        """Evaluate the laws at `age_s`."""
        relaxed = np.log1p(age_s / t_read_s) / np.log1p(t0_s / t_read_s)
        total = np.maximum(age_s, t0_s) + t_read_s
        return cls(
            age_s=age_s,
            t0_s=t0_s,
            t_read_s=t_read_s,
            relaxed=np.minimum(relaxed, 1.0),
            log_drift=np.log(np.maximum(age_s, t0_s) / t0_s),
            memory=_band(age_s, total, t_read_s),
            fresh=np.log(total / (2 * t_read_s)),
        )


def _band(age_s: Array, total_s: Array, t_read_s: float) -> Array:
    """Integral of cos(2 pi f tau) / f over the band: Ci(2 pi f_high tau) - Ci(2 pi f_low tau)."""
    from scipy.special import sici  # noqa: PLC0415 - keeps `import hil` light

    lag = np.abs(age_s[:, None] - age_s[None, :])
    slowest = np.minimum(total_s[:, None], total_s[None, :])
    apart = np.where(lag > 0, lag, 1.0)
    fast = sici(np.pi * apart / t_read_s)[1]
    slow = sici(2 * np.pi * apart / slowest)[1]
    return np.where(lag > 0, fast - slow, np.log(slowest / (2 * t_read_s)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """Laws at one conductance: mean and spread of nu, Q, spread of relaxation, share of memory."""

    mu: Array
    sd: Array
    q: Array
    relaxation: Array
    memory: float


def covariance(axis: TimeAxis, r: Array, at: Point, noise: Array) -> tuple[Array, Array]:
    """Mean over u, (B, K), and covariance over g_max^2, (B, K, K), of devices that landed at r.

    Args:
        axis: Ages.
        r: Where the devices landed, over g_max, (B,).
        at: Laws at r, (B,) each.
        noise: Variance that the converter adds to a read, (B,).
    """
    slope = axis.log_drift[None]
    variance = at.sd[:, None] ** 2
    mean = np.exp(-at.mu[:, None] * slope + variance * slope**2 / 2)
    together = slope[:, :, None] * slope[:, None, :] * variance[..., None]
    outer = mean[:, :, None] * mean[:, None, :]
    square = (r**2)[:, None, None]
    moved = (at.relaxation**2)[:, None, None] * (axis.relaxed[:, None] * axis.relaxed[None])
    band = at.memory * axis.memory + (1 - at.memory) * np.diag(axis.fresh)
    q2 = (at.q**2)[:, None, None]
    # Relative noise acts on the whole conductance, spread of nu and relaxation included.
    spread = outer * (np.exp(together) * (square + moved) * (1 + q2 * band) - square)
    diagonal = np.eye(axis.age_s.size) * noise[:, None, None]
    return mean, spread + diagonal


def derivatives(
    axis: TimeAxis, r: Array, at: Point, noise: Array
) -> tuple[list[Array], list[Array]]:
    """Change of mean and covariance with mu, sd, q, relaxation and memory, in this order."""
    means, covariances = [], []
    step = 1e-5
    for name in ("mu", "sd", "q", "relaxation", "memory"):
        value = getattr(at, name)
        up = covariance(axis, r, replace(at, **{name: value + step}), noise)
        down = covariance(axis, r, replace(at, **{name: value - step}), noise)
        means.append((up[0] - down[0]) / (2 * step))
        covariances.append((up[1] - down[1]) / (2 * step))
    return means, covariances
