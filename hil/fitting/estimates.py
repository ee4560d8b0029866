"""What a fit says: estimates with intervals, curves with bands, goodness of fit. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Z95",
    "Array",
    "Curve",
    "Estimate",
    "Fitness",
    "about",
    "binomial_interval",
    "hat_weights",
    "root_interval",
    "spread_interval",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

Z95 = 1.959963984540054
"""Standard errors on either side of a normal 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A parameter: value, 95 % interval, unit, number of devices or cols behind it."""

    name: str
    value: float
    low: float
    high: float
    unit: str = "1"
    n: int = 0

    @property
    def standard_error(self) -> float:
        """Of a normal interval, from its upper end: the lower one may be cut."""
        return (self.high - self.value) / Z95

    @property
    def relative_width(self) -> float:
        """Half the interval over the value; infinite where the value is 0."""
        half = (self.high - self.low) / 2
        return abs(half / self.value) if self.value else float("inf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A function of relative conductance at knots: r, values and 95 % interval, (knots,) each.

    Attributes:
        n: Devices behind it.
        coefficients: Of a polynomial in r; None is straight lines between the knots.
    """

    name: str
    r: Array
    values: Array
    low: Array
    high: Array
    unit: str = "1"
    n: int = 0
    coefficients: Array | None = None

    def at(self, r: Array) -> Array:
        """Evaluate; the outermost values hold beyond the knots."""
        if self.coefficients is not None:
            inside = np.clip(r, self.r[0], self.r[-1])
            return np.asarray(np.polynomial.polynomial.polyval(inside, self.coefficients))
        return np.asarray(np.interp(r, self.r, self.values))


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """How well a family of data is described.

    Attributes:
        family, statistic: What was judged, and by what ("R2", "chi2/dof", "1 - KS distance").
        value: The statistic.
        low, high: It is good between these.
    """

    family: str
    statistic: str
    value: float
    low: float
    high: float

    @property
    def good(self) -> bool:
        """Whether the statistic is where it should be."""
        return self.low <= self.value <= self.high


def about(  # noqa: PLR0917 - a table row
    name: str, value: float, error: float, unit: str = "1", n: int = 0, least: float = -np.inf
) -> Estimate:
    """Return an estimate with a normal interval, cut at `least`."""
    value = max(float(value), least)
    low = max(value - Z95 * error, least)
    return Estimate(name=name, value=value, low=low, high=value + Z95 * error, unit=unit, n=n)


def root_interval(variance: Array, error: Array) -> tuple[Array, Array, Array]:
    """Square root of variances with their standard errors: value, low, high; none below 0."""
    low = np.sqrt(np.maximum(variance - Z95 * error, 0.0))
    high = np.sqrt(np.maximum(variance + Z95 * error, 0.0))
    return np.sqrt(np.maximum(variance, 0.0)), low, high


def spread_interval(variance: float, dof: int) -> tuple[float, float]:
    """95 % interval of a standard deviation from a normal sample's variance (chi-square)."""
    from scipy.stats import chi2  # noqa: PLC0415 - keeps `import hil` light

    most, least = float(chi2.ppf(0.975, dof)), float(chi2.ppf(0.025, dof))
    return float(np.sqrt(variance * dof / most)), float(np.sqrt(variance * dof / least))


def binomial_interval(name: str, hits: int, n: int) -> Estimate:
    """Share of `hits` in `n` with its exact 95 % interval (Clopper & Pearson 1934)."""
    from scipy.stats import beta  # noqa: PLC0415 - keeps `import hil` light

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Estimate(name=name, value=hits / n, low=low, high=high, n=n)


def hat_weights(r: Array, knots: Array) -> Array:
    """Weights (n, knots) with which values at knots make straight lines between them."""
    inside = np.clip(r, knots[0], knots[-1])
    high = np.clip(np.searchsorted(knots, inside), 1, knots.size - 1)
    share = (inside - knots[high - 1]) / (knots[high] - knots[high - 1])
    weights = np.zeros((inside.size, knots.size))
    row = np.arange(inside.size)
    weights[row, high - 1] = 1 - share
    weights[row, high] = share
    return weights
