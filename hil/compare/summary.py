"""What a comparison says: errors and ratios over chips, with intervals. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.compare.matrices import MatrixKind
from hil.compare.plan import Setting
from hil.compare.rows import ComparisonRow
from hil.metrics import confidence_interval_95

__all__ = ["ALL", "ComparisonSummary", "ErrorSpread", "RatioSpread", "summarise"]

ALL = "all"
"""Stands for every matrix: a chip's mean over them."""

Key = tuple[str, str]
"""Method and setting."""

_VERIFY = "verify"
_GDP = "gdp"
_RATIOS: tuple[tuple[Key, Key], ...] = (
    ((_GDP, Setting.GDP), (_VERIFY, Setting.PUBLISHED)),
    ((_GDP, Setting.EQUAL_PULSES), (_VERIFY, Setting.PUBLISHED)),
    ((_GDP, Setting.GDP), (_VERIFY, Setting.BEST)),
    ((_GDP, Setting.EQUAL_PULSES), (_VERIFY, Setting.BEST)),
    ((_GDP, Setting.GDP), (_VERIFY, Setting.DELAYED)),
    ((_GDP, Setting.NO_RETENTION), (_VERIFY, Setting.PUBLISHED)),
    ((_GDP, Setting.NO_RETENTION), (_VERIFY, Setting.BEST)),
    ((_VERIFY, Setting.BEST), (_VERIFY, Setting.PUBLISHED)),
    ((_VERIFY, Setting.DELAYED), (_VERIFY, Setting.PUBLISHED)),
)


class Spread(BaseModel):
    """A figure over chips.

    Attributes:
        mean, std, lowest, highest: Over chips.
        half: Half-width of the 95 % interval of the mean (Student t); None for one chip.
        chips: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    std: float
    lowest: float
    highest: float
    half: float | None
    chips: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise one value per chip."""
        sample = np.array(list(values), np.float64)
        mean, half = confidence_interval_95(sample)
        several = sample.size > 1
        return cls(
            mean=mean,
            std=float(sample.std(ddof=1)) if several else 0.0,
            lowest=float(sample.min()),
            highest=float(sample.max()),
            half=half if several else None,
            chips=sample.size,
        )


class ErrorSpread(BaseModel):
    """Errors and effort of one method and setting on one matrix, over chips."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    matrix: str
    age_s: float
    adc_bits: int
    method: str
    setting: str
    mvm_error: Spread
    mvm_error_affine: Spread
    mvm_error_relu_affine: Spread
    linear_error: Spread | None
    pulses_per_device: Spread
    margin_counts: tuple[float, ...]
    success_share: float


class RatioSpread(BaseModel):
    """`mvm_error_affine` of one over that of another, chip by chip.

    Attributes:
        matrix: A distribution, or "all": each chip's mean of its ratios over the matrices.
        pulses: Ratio of pulses per device, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    matrix: str
    age_s: float
    method: str
    setting: str
    to_method: str
    to_setting: str
    ratio: Spread
    pulses: Spread


class ComparisonSummary(BaseModel):
    """A comparison on one chip type.

    Attributes:
        errors: By matrix, age, method and setting, at the resolution of the address as given.
        ratios: Likewise.
        by_adc_bits: Errors on the Gaussian matrix by resolution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    devices_per_polarity: int
    adc_bits: int
    chips: tuple[str, ...]
    errors: tuple[ErrorSpread, ...]
    ratios: tuple[RatioSpread, ...]
    by_adc_bits: tuple[ErrorSpread, ...]


def summarise(rows: Sequence[ComparisonRow]) -> ComparisonSummary:
    """Summarise the rows of one comparison; the first row's resolution is that of the address."""
    first = rows[0]
    main = [row for row in rows if row.adc_bits == first.adc_bits]
    swept = [
        row
        for row in rows
        if row.matrix is MatrixKind.GAUSSIAN and row.setting in (Setting.PUBLISHED, Setting.GDP)
    ]
    several = len({row.adc_bits for row in swept}) > 1
    return ComparisonSummary(
        model=first.model,
        devices_per_polarity=first.devices_per_polarity,
        adc_bits=first.adc_bits,
        chips=tuple(dict.fromkeys(row.chip_serial for row in main)),
        errors=_errors(main),
        ratios=_ratios(main),
        by_adc_bits=_errors(swept) if several else (),
    )


def _errors(rows: Sequence[ComparisonRow]) -> tuple[ErrorSpread, ...]:
    groups: dict[tuple[str, float, int, str, str], dict[int, ComparisonRow]] = {}
    for r in rows:
        place = (r.matrix.value, r.age_s, r.adc_bits, r.method, r.setting)
        groups.setdefault(place, {}).setdefault(r.seed, r)
    return tuple(
        _error_spread(place, list(group.values()))
        for place, group in sorted(groups.items(), key=lambda item: item[0][2])
    )


def _error_spread(
    place: tuple[str, float, int, str, str], group: list[ComparisonRow]
) -> ErrorSpread:
    matrix, age_s, bits, method, setting = place
    linear = [r.linear_error for r in group if r.linear_error is not None]
    margins = {r.margin_counts for r in group if r.margin_counts is not None}
    return ErrorSpread(
        matrix=matrix,
        age_s=age_s,
        adc_bits=bits,
        method=method,
        setting=setting,
        mvm_error=Spread.of(r.mvm_error for r in group),
        mvm_error_affine=Spread.of(r.mvm_error_affine for r in group),
        mvm_error_relu_affine=Spread.of(r.mvm_error_relu_affine for r in group),
        linear_error=Spread.of(linear) if linear else None,
        pulses_per_device=Spread.of(r.pulses_per_device for r in group),
        margin_counts=tuple(sorted(margins)),
        success_share=float(np.mean([r.success_share for r in group])),
    )


def _ratios(rows: Sequence[ComparisonRow]) -> tuple[RatioSpread, ...]:
    by_place = {(r.matrix.value, r.seed, r.age_s, r.method, r.setting): r for r in rows}
    seeds = list(dict.fromkeys(r.seed for r in rows))
    matrices = list(dict.fromkeys(r.matrix.value for r in rows))
    found = []
    for age_s in dict.fromkeys(r.age_s for r in rows):
        for one, other in _RATIOS:
            pairs = {
                (matrix, seed): (
                    by_place.get((matrix, seed, age_s, *one)),
                    by_place.get((matrix, seed, age_s, *other)),
                )
                for matrix in matrices
                for seed in seeds
            }
            error = {
                k: a.mvm_error_affine / b.mvm_error_affine for k, (a, b) in pairs.items() if a and b
            }
            pulses = {
                k: a.pulses_per_device / b.pulses_per_device
                for k, (a, b) in pairs.items()
                if a and b
            }
            if len(error) < len(pairs):
                continue
            for matrix in (*matrices, ALL):
                chosen = matrices if matrix == ALL else [matrix]
                found.append(
                    RatioSpread(
                        matrix=matrix,
                        age_s=age_s,
                        method=one[0],
                        setting=one[1],
                        to_method=other[0],
                        to_setting=other[1],
                        ratio=_over_chips(error, chosen, seeds),
                        pulses=_over_chips(pulses, chosen, seeds),
                    )
                )
    return tuple(found)


def _over_chips(
    values: dict[tuple[str, int], float], matrices: Sequence[str], seeds: Sequence[int]
) -> Spread:
    """Chips are independent, matrices on one chip are not: a chip's mean counts once."""
    return Spread.of(float(np.mean([values[m, seed] for m in matrices])) for seed in seeds)
