"""Statistics of programmed cells by conductance: error, drift, read noise. Makes no chip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_backend.laws import StatisticalLaw
from sim_backend.validation.chips import HeldCells

__all__ = ["LATE", "RELATIVE", "DeviceStatistics", "Look", "Sample", "gather", "look_at"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

RELATIVE = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Conductances, over g_max, at which curves are compared."""
HALF_BIN = 0.05
"""Half width of a bin of landed conductances, relative to its middle."""
LATE = 1e4
"""Ages over t0 between which drift exponents are taken."""
LEAST_VARIANCE = 1e-9
"""Where the converter's step is all there is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A statistic at every conductance, (points,): value, standard error, devices."""

    value: Array
    error: Array
    count: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceStatistics:
    """What was measured of one kind of device: at t0 unless a name says otherwise.

    Attributes:
        sigma: Programming error over g_max.
        mu, sd: Mean and spread of the drift exponent.
        noise, noise_late: Read noise over conductance at t0, and LATE times as late.
    """

    sigma: Sample | None
    mu: Sample
    sd: Sample
    noise: Sample
    noise_late: Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What cells did, (cells,) each and over g_max: true conductance and one read, twice.

    Attributes:
        held: The cells.
        g, seen: At t0.
        late, seen_late: LATE times as late.
    """

    held: HeldCells
    g: Array
    seen: Array
    late: Array
    seen_late: Array


def look_at(held: HeldCells, law: StatisticalLaw) -> Look:
    """Let cells that were just programmed age, and look at them at t0 and much later."""
    began = held.cores[0].now_s()
    held.wait_until(began + law.t0_s)
    g, seen = held.conductance(), held.read()
    held.wait_until(began + LATE * law.t0_s)
    return Look(held=held, g=g, seen=seen, late=held.conductance(), seen_late=held.read())


def gather(looks: list[Look], *, by_target: bool) -> DeviceStatistics:
    """Gather what devices do by conductance.

    Args:
        looks: Cells of several chips.
        by_target: Gather error and drift by target; else drift by landed conductance, no error.
    """
    wanted, usable = (
        np.concatenate(parts)
        for parts in zip(*((each.held.wanted, each.held.usable) for each in looks), strict=True)
    )
    g, seen, late, seen_late = (
        np.concatenate(parts)
        for parts in zip(*((e.g, e.seen, e.late, e.seen_late) for e in looks), strict=True)
    )
    live = usable & (g > 0)
    nu = np.zeros_like(g)
    nu[live] = -np.log(late[live] / g[live]) / math.log(LATE)
    # The laws are published up to g_max, so a bin ends there.
    landed = [live & (np.abs(g / r - 1) < HALF_BIN) & (g <= 1) for r in RELATIVE]
    aimed = [usable & (wanted == r) for r in RELATIVE]
    if by_target:
        exponents = [nu[part & live] for part in aimed]
    else:
        exponents = [_at(r, g[part], nu[part]) for r, part in zip(RELATIVE, landed, strict=True)]
    step = looks[0].held.read_step
    return DeviceStatistics(
        sigma=_spread([(g - wanted)[part] for part in aimed]) if by_target else None,
        mu=_mean(exponents),
        sd=_spread(exponents),
        noise=_noise(g, seen, landed, step),
        noise_late=_noise(late, seen_late, landed, step),
    )


def _at(middle: float, g: Array, values: Array) -> Array:
    """Values moved along their own straight line in g to the middle of their bin."""
    slope = np.polyfit(g - middle, values, 1)[0]
    return np.asarray(values - slope * (g - middle))


def _mean(parts: list[Array]) -> Sample:
    return Sample(
        value=np.array([part.mean() for part in parts]),
        error=np.array([part.std(ddof=1) / math.sqrt(part.size) for part in parts]),
        count=np.array([part.size for part in parts]),
    )


def _spread(parts: list[Array]) -> Sample:
    """Standard deviations, with the standard error that the sample's own kurtosis gives."""
    value, error = [], []
    for part in parts:
        z = part - part.mean()
        variance = float(np.mean(z**2))
        value.append(math.sqrt(variance))
        fourth = float(np.mean(z**4))
        error.append(math.sqrt(max(fourth - variance**2, 0.0) / part.size) / (2 * value[-1]))
    return Sample(
        value=np.array(value), error=np.array(error), count=np.array([p.size for p in parts])
    )


def _noise(g: Array, seen: Array, bins: list[Mask], step: float) -> Sample:
    """Spread of one read about the true conductance, over it; the converter's step is taken off."""
    found = _spread([(seen - g)[part] / g[part] for part in bins])
    rounding = np.array([np.mean((step / g[part]) ** 2) / 12 for part in bins])
    value = np.sqrt(np.maximum(found.value**2 - rounding, LEAST_VARIANCE))
    return Sample(value=value, error=found.error * found.value / value, count=found.count)
