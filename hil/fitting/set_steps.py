"""Incremental SET pulses: mean and spread of the step against conductance and pulse number.

The form is that of Nandakumar et al., J. Appl. Phys. 124, 152135 (2018): mean = a G + b + c P,
std = d G + e + f P in µS, with P = 1 after RESET, times exp(-1/2.6) before each pulse. Knows no
core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hil.fitting.estimates import Array, Estimate, Fitness, about

__all__ = ["PUBLISHED_STEP", "StepData", "StepFit", "fit_set_steps"]

DECAY = float(np.exp(-1.0 / 2.6))
"""Factor on P before each pulse (Nandakumar JAP 2018)."""
PUBLISHED_STEP = (-0.084, 0.880, 1.40, 0.091, 0.260, 2.15)
"""a, b, c, d, e, f in µS (Nandakumar JAP 2018)."""
NAMES = ("mean_by_g", "mean", "mean_by_p", "std_by_g", "std", "std_by_p")
UNITS = ("1", "µS", "µS", "1", "µS", "µS")
MADE_UP, CORRECTIONS = 3, 2
FEWEST = 30
"""Rounds with fewer devices below their SET state are left out."""
FLOOR_MICROSIEMENS = 0.1
"""Incremental SET leaves no device below this, µS (Nandakumar JAP 2018)."""
LOWEST = 0.02
"""Reads below this over g_max are censored: no step leads lower than the SET floor, 0.1 µS."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepData:
    """Reads before the first SET pulse and after each, relative to g_max.

    Attributes:
        relative: (pulses + 1, n).
        converter: Variance that the converter adds to a read, (n,).
        noise_r, noise_relative: Read noise over conductance, at knots of conductance over g_max.
        highest: Devices are left out from 0.6 of this on: SET state or ceiling are near, (n,).
        floor: Conductance at full RESET over g_max.
        g_max_microsiemens: Conductance of one device at r = 1.
    """

    relative: Array
    converter: Array
    noise_r: Array
    noise_relative: Array
    highest: Array
    floor: float
    g_max_microsiemens: float

    def noise(self, relative: Array) -> Array:
        """Variance of a read at conductances over g_max, without the converter."""
        level = np.maximum(relative, 0.0)
        share = np.interp(level, self.noise_r, self.noise_relative) / np.maximum(level, 1.0)
        return np.asarray((level * share) ** 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepFit:
    """Incremental SET.

    Attributes:
        estimates: Six coefficients as `PUBLISHED_STEP`.
        fitness: Goodness of fit.
        seen, fitted: Mean step by pulse, µS: for pictures.
    """

    estimates: tuple[Estimate, ...]
    fitness: tuple[Fitness, ...]
    seen: Array
    fitted: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """Conductance told before each pulse, read after it, P, converter variance; µS, (m,) each."""

    before: Array
    doubt: Array
    after: Array
    p: Array
    converter: Array


def fit_set_steps(data: StepData, rng: np.random.Generator) -> StepFit:
    """Maximum likelihood of normal steps, those that end at the bottom censored.

    A read before a pulse is noisy itself: it is shrunk towards the mean of its round by its
    reliability (regression calibration; Carroll et al. 2006, chapter 4). What that leaves is
    measured on made-up devices and taken off.

    Args:
        data: Reads.
        rng: Draws the made-up devices.
    """
    steps = _paired(data)
    plain, errors = _fitted(data, steps, np.array(PUBLISHED_STEP))
    theta = plain
    n = MADE_UP * data.relative.shape[1]
    seed = int(rng.integers(2**32))
    for _ in range(CORRECTIONS):
        made = _made_up(data, theta, n, np.random.default_rng(seed))
        again, _ = _fitted(made, _paired(made), theta)
        theta = theta + plain - again
    errors = errors * np.sqrt(1 + 1 / MADE_UP)
    mean, std = _parts(data, steps, plain)
    rounds = np.unique(steps.p)[::-1]
    lowest = LOWEST * data.g_max_microsiemens
    cut = _cut_mean(mean, std, lowest)

    def by_pulse(values: Array) -> Array:
        return np.array([values[steps.p == p].mean() for p in rounds])

    seen = by_pulse(np.maximum(steps.after, lowest) - steps.before)
    fitted = by_pulse(cut - steps.before)
    r2 = 1 - np.sum((seen - fitted) ** 2) / max(np.sum((seen - seen.mean()) ** 2), 1e-12)
    return StepFit(
        estimates=tuple(
            about(f"set_step_{name}", value, error, unit, steps.p.size)
            for name, value, error, unit in zip(NAMES, theta, errors, UNITS, strict=True)
        ),
        fitness=(
            Fitness(
                family="incremental SET, mean step by pulse",
                statistic="R2",
                value=float(r2),
                low=0.95,
                high=1.0,
            ),
        ),
        seen=seen,
        fitted=fitted,
    )


def _paired(data: StepData) -> _Steps:
    """Reads before and after each pulse, of devices well below their SET state."""
    unit = data.g_max_microsiemens
    rows = []
    for k in range(data.relative.shape[0] - 1):
        used = data.relative[k] < data.highest * 0.6
        if used.sum() < FEWEST:
            break
        y, converter = data.relative[k, used], data.converter[used]
        if k == 0:
            told, doubt = np.full_like(y, data.floor), np.zeros_like(y)
        else:
            v = converter + data.noise(y)
            trust = np.clip(1 - v / y.var(), 0.05, 1.0)
            told, doubt = np.maximum(y.mean() + trust * (y - y.mean()), 0.0), v * trust
        p = np.full_like(y, DECAY ** (k + 1))
        after = data.relative[k + 1, used]
        rows.append((unit * told, unit**2 * doubt, unit * after, p, unit**2 * converter))
    before, doubt, after, p, converter = (np.concatenate(part) for part in zip(*rows, strict=True))
    return _Steps(before=before, doubt=doubt, after=after, p=p, converter=converter)


def _parts(data: StepData, steps: _Steps, theta: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the read after each pulse, µS."""
    unit = data.g_max_microsiemens
    mean = steps.before * (1 + theta[0]) + theta[1] + theta[2] * steps.p
    std = np.maximum(theta[3] * steps.before + theta[4] + theta[5] * steps.p, 1e-3)
    noise = steps.converter + unit**2 * data.noise(mean / unit)
    return mean, np.sqrt(std**2 + noise + (1 + theta[0]) ** 2 * steps.doubt)


def _fitted(data: StepData, steps: _Steps, start: Array) -> tuple[Array, Array]:
    """Most likely coefficients and their standard errors."""
    from scipy.optimize import minimize  # noqa: PLC0415 - keeps `import hil` light
    from scipy.stats import norm  # noqa: PLC0415

    lowest = LOWEST * data.g_max_microsiemens
    low = steps.after < lowest

    def loss(theta: Array) -> float:
        mean, std = _parts(data, steps, theta)
        z = (steps.after - mean) / std
        inside = -(z[~low] ** 2) / 2 - np.log(std[~low])
        return -float(np.sum(inside) + np.sum(norm.logcdf((lowest - mean[low]) / std[low])))

    found = minimize(loss, start, method="BFGS", options={"gtol": 1.0})
    return found.x, np.sqrt(np.maximum(np.diag(np.asarray(found.hess_inv)), 0.0))


def _made_up(data: StepData, theta: Array, n: int, rng: np.random.Generator) -> StepData:
    """Reads of n made-up devices that step by `theta`."""
    unit = data.g_max_microsiemens
    source = rng.integers(0, data.converter.size, n)
    converter, top = data.converter[source], data.highest[source] * unit
    g, p = np.full(n, data.floor * unit), 1.0
    rows = []
    for k in range(data.relative.shape[0]):
        if k:
            p *= DECAY
            std = np.maximum(theta[3] * g + theta[4] + theta[5] * p, 0.0)
            step = theta[0] * g + theta[1] + theta[2] * p + std * rng.standard_normal(n)
            g = np.maximum(np.minimum(g + step, np.maximum(top, g)), FLOOR_MICROSIEMENS)
        r = g / unit
        noise = np.sqrt(data.noise(r) + converter)
        rows.append(r + noise * rng.standard_normal(n))
    return replace(data, relative=np.stack(rows), converter=converter, highest=top / unit)


def _cut_mean(mean: Array, std: Array, lowest: float) -> Array:
    """Mean of a normal whose values below `lowest` count as that."""
    from scipy.special import ndtr  # noqa: PLC0415 - keeps `import hil` light

    z = (mean - lowest) / std
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(lowest + std * (z * ndtr(z) + density))
