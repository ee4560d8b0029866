"""What an experiment found: the results documents, and their spread over chips. Runs nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from hil.inference.plan_report import PlanReport
from hil.metrics import confidence_interval_95
from hil.paired import PairedDifference
from hil.record import ChipIdentity

__all__ = [
    "RESULTS_VERSION",
    "SOFTWARE",
    "Difference",
    "ExperimentResult",
    "FailedChip",
    "LayerPlace",
    "LayerPoint",
    "MethodResult",
    "Point",
    "RepeatedResult",
    "Spread",
    "spreads",
]

RESULTS_VERSION = 2
"""Version of `ExperimentResult` and `RepeatedResult`."""
SOFTWARE = "software"
"""Stands for the float network where a method is compared with it."""


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


class Difference(Document):
    """Accuracy of one method minus that of another, or of software, at a point.

    Attributes:
        method: The method.
        to_method: What it is compared with: another method, or `SOFTWARE`.
        age_s, compensation: The point; both methods are taken with the same compensation.
        paired: The difference, paired by chip and by sample.
    """

    method: str
    to_method: str
    age_s: float
    compensation: str
    paired: PairedDifference


class ExperimentResult(Document):
    """What a recipe found on one chip.

    Attributes:
        chip, address, seed: The chip, the address it was opened by, the seed of the host.
        network, dataset, samples: What ran on what, on how many test samples.
        trained: Whether the network has learnt; without, accuracies mean nothing.
        sample_word: What the samples are: "images" or "recordings".
        class_names: Classes in the order of their numbers.
        software_accuracy: Of the float network on the same images.
        quantised_accuracy: Of the same plan with exact integer products: converters, no physics.
        rows, cols: Size of a core.
        placement: Where the blocks lie (of one round, for a plan that reprograms).
        utilisation: Share of the cells of all cores that is used.
        plan: What the chip imposes on the network: splits, places, MVMs and chip time per sample.
        differences: Judged method against every other one, at every point.
        losses: Every method against software, at every point.
        confusion: Confusion matrix (true, predicted) of the judged method and compensation at the
            last age.
        recall: Share of the samples of each class that it got right; None without samples.
        goal_method, goal_compensation, max_accuracy_loss: The goal of the recipe.
        goal_met: Whether it was met.
        verdict: The finding in a sentence.
        chip_s, wall_s: Time of the whole run, on the chip and on this machine.
    """

    schema_version: Literal[2] = 2
    recipe: str
    title: str
    chip: ChipIdentity
    address: str
    seed: int
    network: str
    dataset: str
    samples: int
    trained: bool
    sample_word: str
    class_names: tuple[str, ...]
    software_accuracy: float
    quantised_accuracy: float
    methods: tuple[MethodResult, ...]
    points: tuple[Point, ...]
    layers: tuple[LayerPoint, ...]
    rows: int
    cols: int
    placement: tuple[LayerPlace, ...]
    utilisation: float
    plan: PlanReport
    differences: tuple[Difference, ...]
    losses: tuple[Difference, ...]
    confusion: tuple[tuple[int, ...], ...]
    recall: tuple[float | None, ...]
    goal_method: str
    goal_compensation: str
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


class FailedChip(Document):
    """A chip of a repeated recipe whose run did not end.

    Attributes:
        chip_seed: Its seed in the recipe; None if that names none.
        address: The chip.
        folder: Its run folder, below that of the whole run.
        kind, message: The error.
    """

    chip_seed: int | None
    address: str
    folder: str
    kind: str
    message: str


class RepeatedResult(Document):
    """A recipe on several chips: every run, and the spread over them.

    Attributes:
        runs: Of the chips that came to an end, in the order of their seeds.
        failed: The others; with any, the goal is not met.
        differences, losses: As of one run, over all chips.
    """

    schema_version: Literal[2] = 2
    recipe: str
    runs: tuple[ExperimentResult, ...]
    failed: tuple[FailedChip, ...] = ()
    spreads: tuple[Spread, ...]
    differences: tuple[Difference, ...]
    losses: tuple[Difference, ...]
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
