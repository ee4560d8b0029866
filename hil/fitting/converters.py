"""Converters of the cols: gain, offset and noise from reference and zero inputs. Knows no core.

The reference conductance is equal for all cols and stated by the chip, so that a gain means "counts
per reference": a chip whose reference is off by a factor has all its conductances off by it, and
nothing seen through its converters tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.fitting.estimates import Array, Estimate, Fitness, root_interval, spread_interval

if TYPE_CHECKING:
    from hil.info import CoreInfo

__all__ = ["ColConverters", "ConverterFit", "LevelData", "eight_bit_codes", "fit_converters"]

IntArray = npt.NDArray[np.integer[Any]]

QUANTISATION = 1.0 / 12.0
"""Variance of rounding, LSB^2, where the phase is spread evenly: levels are chosen so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelData:
    """Outputs at known levels: nominal codes (batch,), codes (batch, cols), saturated likewise."""

    levels: Array
    codes: IntArray
    saturated: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class ColConverters:
    """How a cell read becomes conductance relative to g_max of one device; (cols,) each.

    Attributes:
        gain: Counts over nominal counts.
        offset: Code of no conductance in a cell read, at the trims that were in force.
        noise_codes: Standard deviation of the converter's own noise in a cell read.
        counts: Read codes per g_max of one device at gain 1.
        max_code: Highest read code.
    """

    gain: Array
    offset: Array
    noise_codes: float
    counts: float
    max_code: int

    def relative(self, codes: npt.ArrayLike, cols: IntArray) -> Array:
        """Conductance over g_max from read codes (..., n) of cols (n,)."""
        raw = np.asarray(codes, np.float64) - self.offset[cols]
        return np.asarray(raw / (self.gain[cols] * self.counts))

    def variance(self, cols: IntArray) -> Array:
        """Variance of one read that the converter adds, rounding included, over g_max^2, (n,)."""
        codes = self.noise_codes**2 + QUANTISATION
        return np.asarray(codes / (self.gain[cols] * self.counts) ** 2)

    def highest(self, cols: IntArray) -> Array:
        """Conductance over g_max from which on a read is at its highest code, (n,)."""
        return self.relative(np.full(cols.shape, self.max_code - 0.5), cols)

    def lowest(self, cols: IntArray) -> Array:
        """Conductance over g_max below which a read is at code 0, (n,)."""
        return self.relative(np.full(cols.shape, 0.5), cols)


@dataclass(frozen=True, kw_only=True, eq=False)
class ConverterFit:
    """Spread of the converters, and each col's own gain and offset in output codes.

    Attributes:
        gain, offset: (cols,), at neutral trims.
        noise_codes: Output noise, output codes.
        estimates: gain_spread, offset_sigma and output_noise, in codes of an 8-bit converter.
        fitness: Goodness of fit.
    """

    gain: Array
    offset: Array
    noise_codes: float
    estimates: tuple[Estimate, ...]
    fitness: tuple[Fitness, ...]

    def for_reads(self, info: CoreInfo, offset: Array, ratio: float) -> ColConverters:
        """Return what cell reads go through.

        Args:
            info: The core.
            offset: Offsets in output codes at the trims in force, (cols,).
            ratio: Codes of a read per output code of an offset.
        """
        return ColConverters(
            gain=self.gain,
            offset=offset * ratio,
            noise_codes=self.noise_codes * ratio,
            counts=info.device.device_g_max_siemens / info.read.step,
            max_code=info.read.max_code,
        )


def eight_bit_codes(info: CoreInfo) -> float:
    """Output codes per code of an 8-bit converter."""
    return info.output_codes.max_code / 127.0


def fit_converters(info: CoreInfo, zero: LevelData, driven: LevelData | None) -> ConverterFit:
    """Fit gain, offset and noise of every col.

    Args:
        info: The core.
        zero: Outputs at zero input.
        driven: Outputs of the reference conductance at many levels; None where the core has no
            such mode: gains are then taken as 1, and conductances carry the spread of the gains.
    """
    scale = eight_bit_codes(info)
    if driven is None:
        offset = zero.codes.mean(axis=0)
        variances = zero.codes.var(axis=0, ddof=1) - QUANTISATION
        fit = ConverterFit(
            gain=np.ones(info.cols),
            offset=offset,
            noise_codes=float(np.sqrt(max(0.0, variances.mean()))),
            estimates=(),
            fitness=(),
        )
        return _with_estimates(fit, variances, offset_error=0.0, gain_error=0.0, scale=scale)
    clear = ~driven.saturated.any(axis=1)
    x, y = driven.levels[clear], driven.codes[clear].astype(np.float64)
    centred = x - x.mean()
    gain = centred @ (y - y.mean(axis=0)) / (centred @ centred)
    offset = y.mean(axis=0) - gain * x.mean()
    residual = y - offset - gain * x[:, None]
    variances = (residual**2).sum(axis=0) / (x.size - 2)
    r2 = 1 - residual.var(axis=0) / y.var(axis=0)
    noise = float(np.sqrt(max(0.0, variances.mean() - QUANTISATION)))
    fit = ConverterFit(
        gain=gain,
        offset=offset,
        noise_codes=noise,
        estimates=(),
        fitness=(
            Fitness(
                family="converters",
                statistic="R2, worst col",
                value=float(r2.min()),
                low=0.98,
                high=1.0,
            ),
        ),
    )
    error = float(np.sqrt(variances.mean()))
    return _with_estimates(
        fit,
        variances - QUANTISATION,
        offset_error=error / np.sqrt(x.size),
        gain_error=error / float(np.sqrt(centred @ centred)),
        scale=scale,
    )


def _with_estimates(
    fit: ConverterFit, variances: Array, *, offset_error: float, gain_error: float, scale: float
) -> ConverterFit:
    from scipy.stats import kstest  # noqa: PLC0415 - keeps `import hil` light

    n = fit.gain.size
    spread = float(np.abs(fit.gain - 1).max())
    found = []
    distance = []
    if gain_error:
        # Of a uniform distribution (max / spread)^n is uniform itself: an exact interval.
        found.append(
            Estimate(
                name="gain_spread",
                value=spread,
                low=max(0.0, (spread - 2 * gain_error) * 0.975 ** (-1 / n)),
                high=(spread + 2 * gain_error) * 0.025 ** (-1 / n),
                n=n,
            )
        )
        distance.append(("gains", (fit.gain - 1) / max(spread, 1e-9) / 2 + 0.5, "uniform"))
    raw = float(np.mean(fit.offset**2)) - offset_error**2
    low, high = spread_interval(max(raw, 0.0), n)
    sigma = float(np.sqrt(max(raw, 0.0)))
    found.append(
        Estimate(
            name="offset_sigma",
            value=sigma / scale,
            low=low / scale,
            high=high / scale,
            unit="code",
            n=n,
        )
    )
    distance.append(("offsets", fit.offset / max(sigma, 1e-9), "norm"))
    value, least, most = root_interval(
        np.array(variances.mean()), np.array(variances.std(ddof=1) / np.sqrt(n))
    )
    found.append(
        Estimate(
            name="output_noise",
            value=float(value) / scale,
            low=float(least) / scale,
            high=float(most) / scale,
            unit="code",
            n=n,
        )
    )
    ks = tuple(
        Fitness(
            family=f"spread of {name}",
            statistic="1 - KS distance",
            value=1.0 - float(kstest(values, shape).statistic),
            low=1.0 - 2.0 / np.sqrt(n),
            high=1.0,
        )
        for name, values, shape in distance
    )
    return replace(fit, estimates=tuple(found), fitness=(*fit.fitness, *ks))
