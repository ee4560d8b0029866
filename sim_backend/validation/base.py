"""What every family of measurements is given and gives back. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hil.progress import Task
from hil.validation import Effort, Plot, Tolerance, ValidationRow

__all__ = ["Family", "FamilyResult", "Measuring", "Reference"]


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How to measure.

    Attributes:
        seed: First seed of chips and inputs; families count on from it.
        compute: Where chips compute.
        effort: How much to measure.
        task: What to tell of each step.
    """

    seed: int
    compute: str
    effort: Effort
    task: Task

    @property
    def full(self) -> bool:
        """Whether all samples are taken."""
        return self.effort is Effort.FULL

    def rng(self, *mark: int) -> np.random.Generator:
        """Return a generator of its own for each mark."""
        return np.random.default_rng([self.seed, *mark])


@dataclass(frozen=True, kw_only=True)
class FamilyResult:
    """What a family found."""

    rows: Sequence[ValidationRow]
    plots: Sequence[Plot] = ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """A measurement.

    Attributes:
        name: What `--only` calls it.
        measure: Does it.
        steps: How many steps it tells of, at full and at quick effort.
    """

    name: str
    measure: Callable[[Measuring], FamilyResult]
    steps: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the rows of a group share.

    Attributes:
        family, group, source, unit: As in a row.
        judged, tolerance: How a difference is judged.
        note: As in a row.
    """

    family: str
    group: str
    source: str
    unit: str
    judged: Tolerance
    tolerance: float
    note: str = ""

    def row(
        self, at: str, published: float, ours: float, *, standard_error: float | None = None
    ) -> ValidationRow:
        """Make a row of the group."""
        return ValidationRow(
            family=self.family,
            group=self.group,
            at=at,
            source=self.source,
            unit=self.unit,
            published=float(published),
            ours=float(ours),
            judged=self.judged,
            tolerance=self.tolerance,
            standard_error=None if standard_error is None else float(standard_error),
            note=self.note,
        )
