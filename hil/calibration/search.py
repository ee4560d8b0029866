"""Searches: drive one knob of every instance to zero error. Knows no core and no quantity.

A search is state in, state out. It names values to try (one per instance), is handed the signed
error each of them gave, and ends with the values it settled on. It assumes that the error of an
instance crosses zero where its knob is right, and learns the direction by itself: a knob that acts
the other way round is found as well. All instances are searched at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.errors import RequestError
from hil.units import CodeScale

__all__ = ["BinarySearch", "Knob", "KnobPlace", "LeastSquares", "LinearSolve", "Search", "Trial"]

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
S = TypeVar("S")

CONTINUOUS_BISECTIONS = 48
"""Halvings of a continuous knob: below float resolution of any correction used here."""
ROUNDING = 1e-9
"""Share of a step by which a quotient of allowed values may be off."""
SLOPE_SIGNIFICANCE = 5.0
"""Standard errors by which a fitted slope must differ from zero to count as a response."""


class KnobPlace(StrEnum):
    """Where a knob acts: in a register of the core, or in the arithmetic after it."""

    REGISTER = "register"
    DIGITAL = "digital"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A parameter that each instance has: limits, resolution, place.

    Attributes:
        name: Parameter name; of a register, the field of `CoreSettings`.
        unit: Unit of its value.
        low, high: Limits, both allowed.
        step: Resolution; None is continuous.
        neutral: Value of an uncalibrated instance.
        place: Register or digital.
    """

    name: str
    unit: str
    low: float
    high: float
    step: float | None = None
    neutral: float = 0.0
    place: KnobPlace = KnobPlace.DIGITAL

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise RequestError(f"knob {self.name} has limits {self.low}...{self.high}")
        if not self.low <= self.neutral <= self.high:
            raise RequestError(
                f"knob {self.name}: neutral {self.neutral} is outside {self.low}...{self.high}"
            )

    @classmethod
    def register(cls, name: str, codes: CodeScale) -> Self:
        """Return the knob of a trim register, in codes."""
        return cls(
            name=name,
            unit="code",
            low=codes.min_code,
            high=codes.max_code,
            step=1.0,
            neutral=min(max(0, codes.min_code), codes.max_code),
            place=KnobPlace.REGISTER,
        )

    def settle(self, values: Array) -> Array:
        """Return the nearest allowed values."""
        inside = np.clip(values, self.low, self.high)
        if self.step is None:
            return inside
        steps = np.rint((inside - self.low) / self.step)
        return np.clip(self.low + self.step * steps, self.low, self.high)

    def full(self, instances: int, value: float) -> Array:
        """Return the same value for every instance."""
        return np.full(instances, value, np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial(Generic[S]):
    """A search's answer: values to try, or those it settled on.

    Attributes:
        state: Its state, to be handed back with the errors.
        values: One per instance, allowed by the knob.
        found: Set when it ended: instances whose zero error lies within the knob's limits.
    """

    state: S
    values: Array
    found: BoolArray | None = None


class Search(ABC, Generic[S]):
    """State in, state out; settings are fields of the (frozen) subclass."""

    name: str

    @abstractmethod
    def start(self, knob: Knob, instances: int) -> Trial[S]:
        """Return the first values to try."""

    @abstractmethod
    def advance(self, state: S, error: Array) -> Trial[S]:
        """Return the next values, given the signed error (instances,) of the last ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BisectionState:
    """Bracket per instance: its ends and their errors, what is being tried, who takes part.

    Attributes:
        low, high, low_error, high_error: The bracket.
        tried: Values whose errors come next.
        active: Instances whose bracket is being halved.
        left: Halvings left in this pass.
        ends_tried: Limits measured so far, of two.
        top, top_error: The upper limit, kept for the second pass.
        band: Lowest value with zero error, set in the second pass; NaN where there is none.
    """

    knob: Knob
    low: Array
    high: Array
    low_error: Array
    high_error: Array
    tried: Array
    active: BoolArray
    left: int = 0
    ends_tried: int = 0
    top: Array
    top_error: Array
    band: Array | None = None


@dataclass(frozen=True, kw_only=True)
class BinarySearch(Search[BisectionState]):
    """Halve a bracket around the sign change, then take its better end.

    Needs a monotone error, of either direction, and 2 + log2(range / step) trials; where a coarse
    converter shows zero over a band of values, as many again to find its other edge, and the middle
    is taken. An instance whose error does not change sign between the limits takes the limit with
    the smaller error and is not found; one that does not respond at all stays neutral.
    """

    name = "binary_search"

    @override
    def start(self, knob: Knob, instances: int) -> Trial[BisectionState]:
        low, high = knob.full(instances, knob.low), knob.full(instances, knob.high)
        unknown = knob.full(instances, np.nan)
        state = BisectionState(
            knob=knob,
            low=low,
            high=high,
            low_error=unknown,
            high_error=unknown,
            tried=low,
            active=np.zeros(instances, np.bool_),
            top=high,
            top_error=unknown,
        )
        return Trial(state=state, values=low)

    @override
    def advance(self, state: BisectionState, error: Array) -> Trial[BisectionState]:
        if state.ends_tried == 0:
            return self._try(replace(state, low_error=error, ends_tried=1), state.high)
        if state.ends_tried == 1:
            state = replace(state, high_error=error, top_error=error, ends_tried=2)
            active = _changes_sign(state.low_error, error)
            return self._halve(replace(state, active=active, left=_halvings(state.knob)))
        same = np.sign(error) == np.sign(state.low_error)
        raised, lowered = state.active & same, state.active & ~same
        return self._halve(
            replace(
                state,
                low=np.where(raised, state.tried, state.low),
                low_error=np.where(raised, error, state.low_error),
                high=np.where(lowered, state.tried, state.high),
                high_error=np.where(lowered, error, state.high_error),
                left=state.left - 1,
            )
        )

    def _halve(self, state: BisectionState) -> Trial[BisectionState]:
        if state.left > 0 and bool(state.active.any()):
            return self._try(state, _below(state.knob, (state.low + state.high) / 2))
        if state.band is not None:
            return self._end(state)
        # Zero at the upper end: the band of zeros begins there. At the lower: at the limit.
        above, below = state.high_error == 0, state.low_error == 0
        band = np.where(below, state.knob.low, np.where(above, state.high, np.nan))
        climb = state.active & above & ~below
        state = replace(
            state,
            band=band,
            active=climb & (state.top_error != 0),
            low=np.where(climb, np.where(state.top_error == 0, state.top, state.high), state.low),
            low_error=np.where(climb, 0.0, state.low_error),
            high=np.where(climb, state.top, state.high),
            high_error=np.where(climb, state.top_error, state.high_error),
            left=_halvings(state.knob),
        )
        return self._halve(state)

    @staticmethod
    def _end(state: BisectionState) -> Trial[BisectionState]:
        assert state.band is not None  # noqa: S101 - set by the second pass
        found = _changes_sign(state.low_error, state.high_error)
        better = np.abs(state.low_error) <= np.abs(state.high_error)
        values = np.where(better, state.low, state.high)
        banded = found & np.isfinite(state.band) & (state.low_error == 0)
        values = _below(state.knob, (np.where(banded, state.band, values) + values) / 2)
        silent = ~found & (state.low_error == state.high_error)
        zero_throughout = (state.band == state.knob.low) & (state.top_error == 0)
        values = np.where(silent | zero_throughout, state.knob.neutral, values)
        return Trial(state=state, values=values, found=found)

    @staticmethod
    def _try(state: BisectionState, values: Array) -> Trial[BisectionState]:
        return Trial(state=replace(state, tried=values), values=values)


def _changes_sign(low_error: Array, high_error: Array) -> BoolArray:
    return np.sign(low_error) * np.sign(high_error) <= 0


def _halvings(knob: Knob) -> int:
    if knob.step is None:
        return CONTINUOUS_BISECTIONS
    return int(np.ceil(np.log2(max((knob.high - knob.low) / knob.step, 1.0))))


def _below(knob: Knob, values: Array) -> Array:
    """Return the allowed value at or below each (a midpoint must not round up to its own end)."""
    if knob.step is None:
        return values
    return knob.low + knob.step * np.floor((values - knob.low) / knob.step + ROUNDING)


@dataclass(frozen=True, kw_only=True, eq=False)
class LineState:
    """Values tried so far and their errors, (points, instances), of the current round."""

    knob: Knob
    values: Array
    errors: Array
    round: int = 0


@dataclass(frozen=True, kw_only=True)
class LinearSolve(Search[LineState]):
    """Draw a line through two trials and take its zero.

    Exact in two trials for a knob that acts linearly; for measured, noisy errors `LeastSquares`
    is the better choice.
    """

    name = "linear_solve"

    @override
    def start(self, knob: Knob, instances: int) -> Trial[LineState]:
        # From neutral on: a correction is small beside its limits, and keeps its digits so.
        upward = knob.high - knob.neutral >= knob.neutral - knob.low
        further = knob.high if upward else knob.low
        plan = knob.settle(np.array([knob.neutral, (knob.neutral + further) / 2]))
        values = np.repeat(plan[:, None], instances, axis=1)
        return Trial(
            state=LineState(knob=knob, values=values, errors=np.empty((0, instances))),
            values=values[0],
        )

    @override
    def advance(self, state: LineState, error: Array) -> Trial[LineState]:
        errors = np.vstack([state.errors, error])
        state = replace(state, errors=errors)
        if len(errors) < 2:
            return Trial(state=state, values=state.values[1])
        run = state.values[1] - state.values[0]
        slope = (errors[1] - errors[0]) / np.where(run == 0, 1.0, run)
        values, found = _root(
            state.knob, centre=state.values[0], error=errors[0], slope=slope, responds=slope != 0
        )
        return Trial(state=state, values=values, found=found)


@dataclass(frozen=True, kw_only=True)
class LeastSquares(Search[LineState]):
    """Sweep the knob, fit a line per instance, zoom in on its zero, fit again.

    Averages noise over the sweep. An instance counts as found if the slope of its line is
    significant and the zero lies within the knob's limits.

    Attributes:
        points: Trials per round, at least 3.
        rounds: Rounds; each later one covers a quarter of the span before it.
    """

    points: int = 9
    rounds: int = 2
    name = "least_squares"

    def __post_init__(self) -> None:
        if self.points < 3 or self.rounds < 1:
            raise RequestError(
                f"least squares needs points >= 3 and rounds >= 1, not {self.points}, {self.rounds}"
            )

    @override
    def start(self, knob: Knob, instances: int) -> Trial[LineState]:
        return self._sweep(knob, centre=knob.full(instances, (knob.low + knob.high) / 2), number=0)

    @override
    def advance(self, state: LineState, error: Array) -> Trial[LineState]:
        state = replace(state, errors=np.vstack([state.errors, error]))
        if len(state.errors) < self.points:
            return Trial(state=state, values=state.values[len(state.errors)])
        centre = state.values.mean(axis=0)
        run = state.values - centre
        spread = np.einsum("pn,pn->n", run, run)
        spread = np.where(spread > 0, spread, 1.0)
        mean = state.errors.mean(axis=0)
        slope = np.einsum("pn,pn->n", run, state.errors) / spread
        rest = state.errors - mean - slope * run
        slope_error = np.sqrt(np.einsum("pn,pn->n", rest, rest) / (self.points - 2) / spread)
        responds = np.abs(slope) > SLOPE_SIGNIFICANCE * slope_error
        values, found = _root(state.knob, centre=centre, error=mean, slope=slope, responds=responds)
        if state.round + 1 < self.rounds:
            return self._sweep(state.knob, centre=values, number=state.round + 1)
        return Trial(state=state, values=values, found=found)

    def _sweep(self, knob: Knob, *, centre: Array, number: int) -> Trial[LineState]:
        half = (knob.high - knob.low) / 2 / 4**number
        half = max(half, self.points / 2 * (knob.step or 0.0))
        # A sweep that would leave the limits is moved, not clipped: it keeps its span.
        centre = np.clip(centre, knob.low + half, max(knob.high - half, knob.low + half))
        values = knob.settle(centre + half * np.linspace(-1.0, 1.0, self.points)[:, None])
        empty = np.empty((0, centre.size))
        return Trial(
            state=LineState(knob=knob, values=values, errors=empty, round=number), values=values[0]
        )


def _root(
    knob: Knob, *, centre: Array, error: Array, slope: Array, responds: BoolArray
) -> tuple[Array, BoolArray]:
    """Return where the line through (centre, error) is zero, and whether that is a place to be."""
    at = centre - error / np.where(responds, slope, 1.0)
    slack = (knob.step or 0.0) / 2
    inside = (knob.low - slack <= at) & (at <= knob.high + slack)
    values = np.where(responds, knob.settle(at), knob.neutral)
    return values, np.where(responds, inside, error == 0)
