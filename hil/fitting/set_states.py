"""SET states: their spread over devices, from one SET pulse to the next, and stuck devices.

Knows reads, no core. A read at the highest code says "not below": such values are censored, not
data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.errors import DeviceFaultError
from hil.fitting.estimates import (
    Z95,
    Array,
    Estimate,
    Fitness,
    binomial_interval,
    root_interval,
)

__all__ = ["SetData", "SetFit", "fit_set_states", "stuck_devices"]

BoolArray = npt.NDArray[np.bool_]

FEWEST = 30
"""Fewest devices whose SET state is read."""
RESPONSE = 0.25
"""A device whose full SET and full RESET differ by less, over g_max, does not follow its pulses
[asm: ten times the noise of a read at r = 0, an eighth of a typical SET state]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SetData:
    """Reads after full SET pulses, relative to g_max.

    Attributes:
        relative: (cycles, n).
        censored: The read was at the highest code, (cycles, n).
        highest: Conductance from which on a read is, (n,).
        floor: Mean read after RESET pulses of the highest amplitude, (n,).
        variance: Variance that the converter adds to a read, (n,).
    """

    relative: Array
    censored: BoolArray
    highest: Array
    floor: Array
    variance: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class SetFit:
    """set_median, set_sigma_ln, set_cycle_sigma, stuck_set, stuck_reset, and who is stuck, (n,)."""

    estimates: tuple[Estimate, ...]
    fitness: tuple[Fitness, ...]
    stuck: BoolArray


def stuck_devices(data: SetData) -> tuple[BoolArray, BoolArray]:
    """Say which devices rest at SET, and which at RESET, whatever pulse they get; (n,) each."""
    level = np.median(data.relative, axis=0)
    still = level - data.floor < RESPONSE
    return still & (data.floor > RESPONSE), still & (data.floor <= RESPONSE)


def fit_set_states(data: SetData) -> SetFit:
    """Fit a log-normal SET state, censored at the top, and its relative cycle noise."""
    at_set, at_reset = stuck_devices(data)
    stuck = at_set | at_reset
    alive = ~stuck
    n = alive.size
    cycle_variance, cycle_error, intercept = _cycle_noise(data, alive)
    cycles = data.relative.shape[0]
    censored = data.censored[:, alive].any(axis=0)
    mean = data.relative[:, alive].mean(axis=0)
    # The means of devices that touched the top are lower bounds; their limit is a bit below it.
    if (~censored).sum() < FEWEST:
        raise DeviceFaultError(
            f"{censored.sum()} of {n} devices read at the highest code after SET, "
            f"{int(stuck.sum())} do not follow their pulses: SET states cannot be told; measure a "
            "larger block, or a core whose reads reach higher"
        )
    limit = data.highest[alive] - 3 * np.sqrt(intercept + cycle_variance * data.highest[alive] ** 2)
    censored |= mean >= limit
    estimates, distance = _log_normal(
        np.log(np.maximum(mean, 1e-3)),
        np.log(limit),
        censored,
        noise=(cycle_variance + intercept / np.maximum(mean, 0.1) ** 2) / cycles,
    )
    value, low, high = root_interval(np.array(cycle_variance), np.array(cycle_error))
    cycle = Estimate(
        name="set_cycle_sigma",
        value=float(value),
        low=float(low),
        high=float(high),
        n=int((~censored).sum()),
    )
    return SetFit(
        estimates=(
            *estimates,
            cycle,
            binomial_interval("stuck_set", int(at_set.sum()), n),
            binomial_interval("stuck_reset", int(at_reset.sum()), n),
        ),
        fitness=(
            Fitness(
                family="SET states",
                statistic="1 - KS distance",
                value=1 - distance,
                low=0.95,
                high=1.0,
            ),
        ),
        stuck=stuck,
    )


def _cycle_noise(data: SetData, alive: BoolArray) -> tuple[float, float, float]:
    """Regress variance from cycle to cycle on G^2: slope, its error, intercept.

    Cycle noise is relative, read noise above g_max absolute: the slope is the first alone.
    """
    mean = data.relative.mean(axis=0)
    spread = np.sqrt(np.median(data.relative[:, alive].var(axis=0, ddof=1)))
    used = alive & (mean > 1.0) & (mean < data.highest - 5 * spread)
    if used.sum() < 10:
        return 0.0, float("inf"), float(spread**2)
    x = mean[used] ** 2
    y = data.relative[:, used].var(axis=0, ddof=1) - data.variance[used]
    weights = np.ones_like(x)
    design = np.stack([x, np.ones_like(x)], axis=1)
    solved = np.zeros(2)
    for _ in range(3):
        weighted = design * weights[:, None]
        solved = np.linalg.solve(weighted.T @ design, weighted.T @ y)
        fitted = design @ solved + data.variance[used]
        weights = 1 / np.maximum(fitted, 1e-6) ** 2
    normal = np.linalg.inv((design * weights[:, None]).T @ design)
    scores = design * (weights * (y - design @ solved))[:, None]
    covariance = normal @ (scores.T @ scores) @ normal
    return float(solved[0]), float(np.sqrt(covariance[0, 0])), float(max(solved[1], 0.0))


def _log_normal(
    log_mean: Array, log_limit: Array, censored: BoolArray, noise: Array
) -> tuple[tuple[Estimate, ...], float]:
    """Maximum likelihood of a normal in ln G with known noise, censored from above."""
    from scipy.optimize import minimize  # noqa: PLC0415 - keeps `import hil` light
    from scipy.stats import norm  # noqa: PLC0415

    seen = ~censored

    def loss(theta: Array) -> float:
        total = np.sqrt(np.exp(2 * theta[1]) + noise)
        z = (log_mean - theta[0]) / total
        above = (log_limit - theta[0]) / total
        return -float(
            np.sum(norm.logpdf(z[seen]) - np.log(total[seen])) + np.sum(norm.logsf(above[censored]))
        )

    start = np.array([np.median(log_mean), np.log(max(log_mean[seen].std(), 1e-3))])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-7})
    errors = np.sqrt(np.diag(np.linalg.inv(_hessian(loss, found.x))))
    centre, sigma = float(np.exp(found.x[0])), float(np.exp(found.x[1]))
    n = log_mean.size
    total = np.sqrt(sigma**2 + noise)
    # Compared below the lowest limit of any device: there nothing is censored.
    limits = (log_limit - found.x[0]) / total
    z = np.sort((log_mean - found.x[0]) / total)
    z = z[z < limits.min()]
    distance = float(np.abs(norm.cdf(z) - (np.arange(z.size) + 0.5) / n).max())
    half = Z95 * errors
    return (
        Estimate(
            name="set_median",
            value=centre,
            low=centre * float(np.exp(-half[0])),
            high=centre * float(np.exp(half[0])),
            n=n,
        ),
        Estimate(
            name="set_sigma_ln",
            value=sigma,
            low=sigma * float(np.exp(-half[1])),
            high=sigma * float(np.exp(half[1])),
            n=n,
        ),
    ), distance


def _hessian(loss: object, at: Array, step: float = 1e-3) -> Array:
    size = at.size
    result = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            ei, ej = np.eye(size)[i] * step, np.eye(size)[j] * step
            result[i, j] = (
                loss(at + ei + ej) - loss(at + ei - ej) - loss(at - ei + ej) + loss(at - ei - ej)  # type: ignore[operator]
            ) / (4 * step**2)
    return result
