"""Values of a preset file: numbers and curves, each with interval, unit and source. Data only."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "BandPoint",
    "CurveEntry",
    "Form",
    "LogClipForm",
    "PiecewiseLinearForm",
    "PolynomialForm",
    "PowerClipForm",
    "Quantity",
    "Section",
    "SplitForm",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Relative = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Source = Annotated[str, Field(min_length=1, max_length=400)]
Unit = Annotated[str, Field(min_length=1, max_length=40)]


class Section(BaseModel):
    """Part of a preset file: frozen, without unknown keys, without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(Section):
    """A number, its 95 % interval where there is one, its unit, and where it comes from.

    Attributes:
        value: The value.
        low, high: Ends of its 95 % interval; None: not measured, or assumed.
        unit: SI unit, or the one in the name; "1" is dimensionless.
        source: For example "fitted on CHIP-7 at 2026-03-01, n=4096", or a publication.
    """

    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    unit: Unit = "1"
    source: Source

    @model_validator(mode="after")
    def _check(self) -> Self:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low <= self.value <= high:
            raise ValueError(f"value {self.value} is outside its own interval {low}...{high}")
        return self


class BandPoint(Section):
    """A curve at one relative conductance: value and 95 % interval."""

    r: Relative
    value: Finite
    low: Finite
    high: Finite


class LogClipForm(Section):
    """clip(slope ln r + offset, low, high)."""

    kind: Literal["log_clip"] = "log_clip"
    slope: Finite
    offset: Finite
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class PowerClipForm(Section):
    """min(factor r^exponent, high)."""

    kind: Literal["power_clip"] = "power_clip"
    factor: Finite
    exponent: Annotated[float, Field(ge=-10, le=10)]
    high: Finite


class PolynomialForm(Section):
    """c[0] + c[1] r + c[2] r^2 + ..."""

    kind: Literal["polynomial"] = "polynomial"
    c: tuple[Finite, ...] = Field(min_length=1, max_length=16)


class SplitForm(Section):
    """`low` below r = at, `high` from there on."""

    kind: Literal["split"] = "split"
    at: Relative
    low: LogClipForm
    high: PolynomialForm


class PiecewiseLinearForm(Section):
    """Straight lines between knots (r, value); beyond the outer ones their values hold."""

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    r: tuple[Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)], ...] = Field(
        min_length=1, max_length=256
    )
    values: tuple[Finite, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.r) != len(self.values):
            raise ValueError(f"{len(self.r)} knots in r but {len(self.values)} values")
        if any(b <= a for a, b in pairwise(self.r)):
            raise ValueError("knots in r must rise")
        return self


Form = Annotated[
    LogClipForm | PowerClipForm | PolynomialForm | SplitForm | PiecewiseLinearForm,
    Field(discriminator="kind"),
]


class CurveEntry(Section):
    """A value as a function of relative conductance r.

    Attributes:
        form: The function.
        fitted_range: Lowest and highest r of the data behind it; beyond it the form extrapolates.
        band: The curve with its 95 % interval at some r; empty where not measured.
        unit, source: As of a `Quantity`.
    """

    form: Form
    fitted_range: tuple[Relative, Relative] = (0.0, 1.0)
    band: tuple[BandPoint, ...] = Field(default=(), max_length=256)
    unit: Unit = "1"
    source: Source

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.fitted_range
        if low >= high:
            raise ValueError(f"fitted_range {low}...{high} is empty")
        return self
