"""What an experiment found: the results documents, and the verdict as a sentence. Runs nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from hil.metrics import confidence_interval_95
from hil.record import ChipIdentity

__all__ = [
    "METHOD_NAMES",
    "ExperimentResult",
    "LayerPlace",
    "LayerPoint",
    "MethodResult",
    "Point",
    "RepeatedResult",
    "Spread",
    "age_text",
    "spreads",
    "verdict",
]

METHOD_NAMES = {
    "gdp": "gradient descent",
    "verify": "program-and-verify",
    "open_loop": "one open-loop pulse",
}
"""Programming methods in words."""

_AGE_UNITS = ((86_400.0, "day", "days"), (3_600.0, "h", "h"), (60.0, "min", "min"))


class Document(BaseModel):
    """A frozen document without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(Document):
    """Accuracy of one method at one age with one compensation.

    Attributes:
        age_s: Age asked for: chip time since calibration, s.
        measured_age_s: Time since the last pulse of the oldest layer, when it was measured, s.
        accuracy: Share of the test images classified correctly.
        mvm_error: Mean over layers of the MVM error on the activations of the test images.
        saturated_share: Mean over layers of the share of output codes that were clipped.
    """

    method: str
    age_s: float
    measured_age_s: float
    compensation: str
    accuracy: float
    mvm_error: float
    saturated_share: float


class LayerPoint(Document):
    """MVM error of one layer at one age with one compensation."""

    method: str
    age_s: float
    compensation: str
    layer: str
    mvm_error: float
    saturated_share: float


class LayerPlace(Document):
    """Where a block of a layer lies: core index and cells."""

    layer: str
    core: int
    row: int
    col: int
    rows: int
    cols: int


class MethodResult(Document):
    """What programming by one method cost, and how good it was when it ended.

    Attributes:
        outcome: Why it ended, in words.
        success_share: Share of cells that the method itself accepted.
        pulses_per_device: Mean over the devices of the cells in use.
        pulses_max: Most pulses on one device.
        pulses_total: Pulses sent.
        pulses_histogram: Devices that got 0, 1, 2, ... pulses.
        reads, mvms: Devices read and vectors multiplied while programming.
        mvm_error, mvm_error_affine: On test inputs independent of those used to program, before
            and after the per-column affine correction: mean over the layers that stand in the
            array when programming has ended (one, for a plan that reprograms).
        mvm_error_relu, mvm_error_relu_affine: The same on non-negative inputs.
        chip_s, wall_s: Time of programming and calibration, on the chip and on this machine.
    """

    method: str
    outcome: str
    success_share: float
    pulses_per_device: float
    pulses_max: int
    pulses_total: int
    pulses_histogram: tuple[int, ...]
    reads: int
    mvms: int
    mvm_error: float | None
    mvm_error_affine: float | None
    mvm_error_relu: float | None
    mvm_error_relu_affine: float | None
    chip_s: float
    wall_s: float


class ExperimentResult(Document):
    """What a recipe found on one chip.

    Attributes:
        chip, address, seed: The chip, the address it was opened by, the seed of the host.
        network, dataset, samples: What ran on what, on how many test images.
        software_accuracy: Of the float network on the same images.
        quantised_accuracy: Of the same plan with exact integer products: converters, no physics.
        rows, cols: Size of a core.
        placement: Where the blocks lie (of one round, for a plan that reprograms).
        utilisation: Share of the cells of all cores that is used.
        confusion: Confusion matrix (true, predicted) of the judged method at the last age with its
            best compensation.
        goal_method, max_accuracy_loss: The goal of the recipe.
        goal_met: Whether it was met.
        verdict: The finding in a sentence.
        chip_s, wall_s: Time of the whole run, on the chip and on this machine.
    """

    schema_version: Literal[1] = 1
    recipe: str
    title: str
    chip: ChipIdentity
    address: str
    seed: int
    network: str
    dataset: str
    samples: int
    software_accuracy: float
    quantised_accuracy: float
    methods: tuple[MethodResult, ...]
    points: tuple[Point, ...]
    layers: tuple[LayerPoint, ...]
    rows: int
    cols: int
    placement: tuple[LayerPlace, ...]
    utilisation: float
    confusion: tuple[tuple[int, ...], ...]
    goal_method: str
    max_accuracy_loss: float
    goal_met: bool
    verdict: str
    chip_s: float
    wall_s: float

    def point(self, method: str, age_s: float, compensation: str) -> Point:
        """Return the point of a method, age and compensation."""
        return next(
            p
            for p in self.points
            if (p.method, p.age_s, p.compensation) == (method, age_s, compensation)
        )

    def best(self, method: str, age_s: float) -> Point:
        """Return the best point over the compensations tried."""
        candidates = [p for p in self.points if (p.method, p.age_s) == (method, age_s)]
        return max(candidates, key=lambda p: p.accuracy)

    @property
    def ages_s(self) -> tuple[float, ...]:
        """Ages measured, rising."""
        return tuple(sorted({p.age_s for p in self.points}))

    @property
    def compensations(self) -> tuple[str, ...]:
        """Compensations tried, in the order of the recipe."""
        return tuple(dict.fromkeys(p.compensation for p in self.points))


class Spread(Document):
    """Mean and 95 % interval over chips of one point; half-width None for a single chip."""

    method: str
    age_s: float
    compensation: str
    chips: int
    accuracy: float
    accuracy_half: float | None
    mvm_error: float
    mvm_error_half: float | None


class RepeatedResult(Document):
    """A recipe on several chips: every run, and the spread over them."""

    schema_version: Literal[1] = 1
    recipe: str
    runs: tuple[ExperimentResult, ...]
    spreads: tuple[Spread, ...]
    software_accuracy: float
    goal_met: bool
    verdict: str


def spreads(runs: tuple[ExperimentResult, ...]) -> tuple[Spread, ...]:
    """Summarise each method, age and compensation over the runs."""
    rows = []
    for first in runs[0].points:
        key = (first.method, first.age_s, first.compensation)
        points = [run.point(*key) for run in runs]
        accuracy, accuracy_half = confidence_interval_95([p.accuracy for p in points])
        error, error_half = confidence_interval_95([p.mvm_error for p in points])
        several = len(runs) > 1
        rows.append(
            Spread(
                method=first.method,
                age_s=first.age_s,
                compensation=first.compensation,
                chips=len(runs),
                accuracy=accuracy,
                accuracy_half=accuracy_half if several else None,
                mvm_error=error,
                mvm_error_half=error_half if several else None,
            )
        )
    return tuple(rows)


def verdict(
    points: tuple[Point, ...] | tuple[Spread, ...],
    *,
    software_accuracy: float,
    method: str,
    max_accuracy_loss: float,
) -> tuple[bool, str]:
    """Judge a method against the goal at every age, with the best compensation; say it.

    Returns:
        Whether the goal was met, and the sentence to show.
    """
    worst: tuple[float, float, Point | Spread] | None = None
    for age in sorted({p.age_s for p in points}):
        best = max(
            (p for p in points if p.method == method and p.age_s == age), key=lambda p: p.accuracy
        )
        loss = software_accuracy - best.accuracy
        if worst is None or loss >= worst[0]:
            worst = (loss, age, best)
    if worst is None:
        return False, "Nothing was measured."
    loss, age, point = worst
    met = loss <= max_accuracy_loss + 1e-12
    compensation = (
        "without compensation"
        if point.compensation == "none"
        else f"with {point.compensation.replace('_', '-')} compensation"
    )
    half = point.accuracy_half if isinstance(point, Spread) else None
    spread = f" ± {half:.1%}" if half is not None else ""
    return met, (
        f"{'Goal met' if met else 'Goal not met'}: programmed by "
        f"{METHOD_NAMES.get(method, method)}, the network classifies {point.accuracy:.1%}{spread} "
        f"correctly at its weakest age ({age_text(age)}, {compensation}); software reaches "
        f"{software_accuracy:.1%}, and a loss of {max_accuracy_loss * 100:.3g} points is allowed."
    )


def age_text(age_s: float) -> str:
    """Write an age in the largest unit that gives at least one: 0 s, 200 s, 1 h, 3.5 days."""
    for size, one, many in _AGE_UNITS:
        if age_s >= size and not (one == "min" and age_s % size):
            number = age_s / size
            return f"{number:.3g} {one if number == 1 else many}"
    return f"{age_s:.4g} s"
