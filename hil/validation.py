"""What a validation says: rows of published or exact value, ours, difference, tolerance. Documents.

A back-end fills them in (`hil.validators` finds it), the command line shows them. Knows no physics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hil.address import Address
from hil.progress import Progress, Silent

__all__ = [
    "Curve",
    "Effort",
    "Plot",
    "Scale",
    "Tolerance",
    "Validation",
    "ValidationGroup",
    "ValidationRequest",
    "ValidationRow",
    "grouped",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[tuple[Finite, ...], Field(max_length=4096)]


class Effort(StrEnum):
    """How much is measured: tolerances are the same, samples are not."""

    FULL = "full"
    QUICK = "quick"


class Tolerance(StrEnum):
    """How a difference is judged."""

    RELATIVE = "relative"
    """|ours - published| / |published| is at most the tolerance."""
    ABSOLUTE = "absolute"
    """|ours - published| is at most the tolerance, in the unit of the row."""
    AT_MOST = "at most"
    """Ours is at most the published value; the tolerance is not used."""
    NONE = "not judged"
    """Shown beside the published value; `note` says why it is not judged."""


class ValidationRow(BaseModel):
    """One comparison.

    Attributes:
        family: Which measurement it belongs to.
        group: What was measured on what; rows of one group are points of one curve or table.
        at: Which point: "r = 0.5", "1 h".
        source: Where the published value stands.
        unit: Unit of both values; "1" is a plain number.
        published, ours: The values.
        judged: How the difference is judged.
        tolerance: Largest difference, as `judged` says.
        standard_error: Of ours, from the sample; None if it was not taken from one.
        note: What a reader has to know, for example why it is not judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    group: str
    at: str
    source: str
    unit: str
    published: Finite
    ours: Finite
    judged: Tolerance
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    standard_error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    note: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.judged is Tolerance.NONE and not self.note:
            raise ValueError(f"row {self.group!r}, {self.at}: say in `note` why it is not judged")
        if self.judged is Tolerance.RELATIVE and self.published == 0:
            raise ValueError(f"row {self.group!r}, {self.at}: nothing is relative to 0")
        return self

    @property
    def difference(self) -> float:
        """Ours minus published, as `judged` says: a share of the published value, or in `unit`."""
        apart = self.ours - self.published
        return apart / abs(self.published) if self.judged is Tolerance.RELATIVE else apart

    @property
    def passed(self) -> bool | None:
        """Whether it is within the tolerance; None if it is not judged."""
        if self.judged is Tolerance.NONE:
            return None
        if self.judged is Tolerance.AT_MOST:
            return self.ours <= self.published
        return abs(self.difference) <= self.tolerance

    @property
    def strain(self) -> float:
        """How much of the tolerance is used: above 1 it is missed."""
        if self.judged is Tolerance.AT_MOST:
            return self.ours / self.published if self.published > 0 else float(not self.passed)
        apart = abs(self.difference)
        return apart / self.tolerance if self.tolerance > 0 else (float("inf") if apart else 0.0)


class Curve(BaseModel):
    """One line or one set of points of a plot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    x: Numbers
    y: Numbers
    measured: bool
    """Drawn as points; a published curve is drawn as a line."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"curve {self.name!r} has {len(self.x)} x and {len(self.y)} y")
        return self


class Scale(StrEnum):
    """Scale of an axis."""

    LINEAR = "linear"
    LOG = "log"


class Plot(BaseModel):
    """One picture, as numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: str
    x_label: str
    y_label: str
    x_scale: Scale = Scale.LINEAR
    y_scale: Scale = Scale.LINEAR
    curves: tuple[Curve, ...]


class Validation(BaseModel):
    """All comparisons of one run.

    Attributes:
        address: What was asked for.
        effort: How much was measured.
        versions: Software by name.
        families: Families that were measured, in order.
        not_measured: Families that were not, with the reason.
        wall_s: Time each family took, s.
        notes: Sentences about the whole.
        rows: Every comparison.
        plots: Every picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    address: str
    effort: Effort
    versions: dict[str, str]
    families: tuple[str, ...]
    not_measured: dict[str, str] = Field(default_factory=dict)
    wall_s: dict[str, float]
    notes: tuple[str, ...] = ()
    rows: tuple[ValidationRow, ...]
    plots: tuple[Plot, ...] = ()

    @property
    def failed(self) -> tuple[ValidationRow, ...]:
        """Rows that miss their tolerance."""
        return tuple(row for row in self.rows if row.passed is False)

    @property
    def judged(self) -> int:
        """Number of rows that are judged."""
        return sum(row.passed is not None for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether something was judged and no row misses its tolerance."""
        return self.judged > 0 and not self.failed


@dataclass(frozen=True, kw_only=True)
class ValidationGroup:
    """Rows of one group and one way of judging, for a table that a person can take in.

    Attributes:
        rows: All of them.
        worst: The one that uses most of its tolerance.
    """

    rows: tuple[ValidationRow, ...]
    worst: ValidationRow

    @property
    def passed(self) -> bool | None:
        """Whether all are within their tolerance; None if they are not judged."""
        return None if self.worst.passed is None else all(row.passed for row in self.rows)


def grouped(rows: Sequence[ValidationRow]) -> tuple[ValidationGroup, ...]:
    """Gather rows of one family, group and way of judging, in order of appearance."""
    found: dict[tuple[str, str, Tolerance], list[ValidationRow]] = {}
    for row in rows:
        found.setdefault((row.family, row.group, row.judged), []).append(row)
    return tuple(
        ValidationGroup(rows=tuple(members), worst=max(members, key=_apart))
        for members in found.values()
    )


def _apart(row: ValidationRow) -> float:
    return abs(row.difference) if row.judged is Tolerance.NONE else row.strain


@dataclass(frozen=True, kw_only=True)
class ValidationRequest:
    """What a back-end is asked to measure.

    Attributes:
        address: The address given.
        only: Families to measure; None is all.
        effort: How much to measure.
        progress: What to tell how far it is.
    """

    address: Address
    only: tuple[str, ...] | None = None
    effort: Effort = Effort.FULL
    progress: Progress = field(default_factory=Silent)
