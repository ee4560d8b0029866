"""Runs a recipe on a chip: program, calibrate, age, compensate, classify. Knows no back-end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hil.errors import RequestError
from hil.experiment_prepare import DEFAULT_INPUT_LEVELS, PreparedExperiment, plan_of
from hil.experiment_results import (
    ExperimentResult,
    LayerPlace,
    LayerPoint,
    MethodResult,
    Point,
    verdict,
)
from hil.inference import (
    Deployment,
    DeploymentSettings,
    LayerProgress,
    NetworkPlan,
    Plan,
    QuantisedReference,
    deploy,
)
from hil.mapping import Placement
from hil.matrix import ProgrammingReport
from hil.programming import algorithm
from hil.programming.base import Action
from hil.progress import Progress, Task
from hil.recipe import Method
from hil.record import ChipIdentity
from hil.session import Session
from hil.training.evaluate import accuracy

__all__ = ["run_experiment"]

log = logging.getLogger(__name__)
Wear = dict[int, npt.NDArray[np.int64]]


def run_experiment(
    prepared: PreparedExperiment, session: Session, *, progress: Progress
) -> ExperimentResult:
    """Run a prepared recipe on the session's chip; the methods take turns on the same cells.

    Raises:
        RequestError: The network does not fit the chip; no pulse has left.
    """
    recipe, chip = prepared.recipe, session.chip
    began_s, began = chip.now_s(), time.perf_counter()
    scale = chip.cores[0].info.input
    levels = min(scale.max_code, -scale.min_code)
    plan = prepared.plan
    if levels != DEFAULT_INPUT_LEVELS:
        plan = plan_of(recipe, prepared.module, prepared.calibration, levels)
    with progress.task("software reference", 2) as task:
        software = accuracy(prepared.module, prepared.test)
        task.advance()
        quantised = _share_right(
            _classes(QuantisedReference(plan).run(prepared.test.images)), prepared
        )
        task.advance()
    trials = [
        _Trial(prepared, plan, session, progress).run(method)
        for method in recipe.programming.methods
    ]
    points = tuple(point for trial in trials for point in trial.points)
    met, sentence = verdict(
        points,
        software_accuracy=software,
        method=recipe.goal.method,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
    )
    judged = next(t for t in trials if t.cost.method == recipe.goal.method)
    info = chip.cores[0].info
    return ExperimentResult(
        recipe=recipe.name,
        title=recipe.title,
        chip=ChipIdentity.of(chip.info),
        address=chip.address,
        seed=session.seed,
        network=prepared.network_name,
        dataset=recipe.data.dataset,
        samples=len(prepared.test),
        software_accuracy=software,
        quantised_accuracy=quantised,
        methods=tuple(trial.cost for trial in trials),
        points=points,
        layers=tuple(layer for trial in trials for layer in trial.layers),
        rows=info.rows,
        cols=info.cols,
        placement=_places(judged.placements),
        utilisation=plan.cells / sum(c.info.rows * c.info.cols for c in chip.cores),
        confusion=_confusion(judged.last_answers, prepared),
        goal_method=recipe.goal.method,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
        goal_met=met,
        verdict=sentence,
        chip_s=chip.now_s() - began_s,
        wall_s=time.perf_counter() - began,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Finding:
    """What one method gave: cost, points, and its answers at the last age, best compensation."""

    cost: MethodResult
    points: tuple[Point, ...]
    layers: tuple[LayerPoint, ...]
    placements: tuple[Placement, ...]
    last_answers: npt.NDArray[np.int64]


class _Trial:
    """One method on the chip: deploy, then every age with every compensation."""

    def __init__(
        self,
        prepared: PreparedExperiment,
        plan: NetworkPlan,
        session: Session,
        progress: Progress,
    ) -> None:
        self.prepared = prepared
        self.plan = plan
        self.session = session
        self.progress = progress

    def run(self, method: Method) -> _Finding:
        """Deploy by `method`, measure, and say what it cost."""
        recipe, chip = self.prepared.recipe, self.session.chip
        wear = self._wear()
        began_s, began = chip.now_s(), time.perf_counter()
        deployment = self._deploy(method)
        points: list[Point] = []
        layers: list[LayerPoint] = []
        cost: MethodResult | None = None
        best: tuple[float, npt.NDArray[np.int64]] = (-1.0, np.zeros(0, np.int64))
        runs = len(recipe.time.ages_s) * len(recipe.time.compensation)
        if deployment.settings.plan is Plan.RESIDENT:
            cost = self._cost(deployment, method, wear, began_s, began)
        with self.progress.task(f"classifying, {method}", runs) as task:
            for age_s in recipe.time.ages_s:
                deployment.let_age(self._calibrated_at_s() + age_s)
                for compensation in recipe.time.compensation:
                    task.say(f"age {age_s:g} s, compensation {compensation}")
                    deployment.compensate(compensation, self.prepared.calibration.images)
                    tell = _LayerTeller(task)
                    answers = _classes(
                        deployment.run(self.prepared.test.images, on_layer=tell.layer)
                    )
                    tell.finish()
                    right = _share_right(answers, self.prepared)
                    points.append(_point(deployment, method, age_s, compensation, right))
                    layers += _layer_points(deployment, method, age_s, compensation)
                    if cost is None:
                        cost = self._cost(deployment, method, wear, began_s, began)
                    if age_s == recipe.time.ages_s[-1] and right > best[0]:
                        best = (right, answers)
                    log.info(
                        "%s, age %g s, compensation %s: accuracy %.4f",
                        *(method, age_s, compensation, right),
                    )
        if cost is None:
            raise RequestError("a recipe needs at least one age and one compensation")
        return _Finding(
            cost=cost,
            points=tuple(points),
            layers=tuple(layers),
            placements=deployment.report().placements,
            last_answers=best[1],
        )

    def _deploy(self, method: Method) -> Deployment:
        recipe = self.prepared.recipe
        chosen = algorithm(method, **recipe.programming.settings.get(method, {}))
        settings = DeploymentSettings(
            plan=Plan(recipe.mapping.plan),
            method=chosen,
            seed=self.session.seed,
            settle_s=recipe.time.settle_s,
        )
        if settings.plan is Plan.REPROGRAM:  # programs layer by layer, while it runs
            return deploy(self.session.chip, self.plan, settings)
        with self.progress.task(f"programming, {method}", chosen.max_iterations) as task:
            return deploy(self.session.chip, self.plan, settings, on_step=_step_teller(task))

    def _calibrated_at_s(self) -> float:
        settle_s = self.prepared.recipe.time.settle_s
        if settle_s is None:
            return self.session.chip.cores[0].info.device.reference_age_s
        return settle_s

    def _wear(self) -> Wear:
        return {k: self.session.wear(k) for k in range(len(self.session.chip.cores))}

    def _cost(
        self, deployment: Deployment, method: Method, before: Wear, began_s: float, began: float
    ) -> MethodResult:
        chip_s = self.session.chip.now_s() - began_s
        wall_s = time.perf_counter() - began
        report = deployment.report()
        pulses = _pulses_in(report.placements, before, self._wear())
        with self.progress.task(
            f"measuring MVM errors, {method}", len(deployment.matrices)
        ) as task:
            reports = []
            for matrix in deployment.matrices.values():
                reports.append(matrix.report)
                task.advance()
        return MethodResult(
            method=method,
            outcome=_outcomes([r.outcome for r in reports]),
            success_share=report.success_share or 0.0,
            pulses_per_device=float(pulses.mean()),
            pulses_max=int(pulses.max()),
            pulses_total=int(pulses.sum()),
            pulses_histogram=tuple(np.bincount(pulses).tolist()),
            reads=report.reads,
            mvms=report.programming_mvms,
            mvm_error=_mean(reports, lambda r: r.mvm_error),
            mvm_error_affine=_mean(reports, lambda r: r.mvm_error_affine),
            mvm_error_relu=_mean(reports, lambda r: r.mvm_error_relu),
            mvm_error_relu_affine=_mean(reports, lambda r: r.mvm_error_affine_relu),
            chip_s=chip_s,
            wall_s=wall_s,
        )


def _step_teller(task: Task) -> Callable[[Action], None]:
    def tell(action: Action) -> None:
        task.advance()
        error = "" if action.error is None else f", error {action.error:.1%}"
        task.say(f"{action.running} blocks, {action.pulses:,} pulses{error}")

    return tell


class _LayerTeller:
    """Turns the layers of one run into one step of a task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._told = 0.0

    def layer(self, at: LayerProgress) -> None:
        """Tell how far the run is."""
        share = (at.index + at.vectors_done / max(1, at.vectors)) / max(1, at.calls)
        if share > self._told:
            self._task.advance(share - self._told)
            self._told = share

    def finish(self) -> None:
        """Tell the rest of the step."""
        self._task.advance(1.0 - self._told)


def _classes(outputs: torch.Tensor) -> npt.NDArray[np.int64]:
    return outputs.argmax(dim=1).numpy()


def _share_right(answers: npt.NDArray[np.int64], prepared: PreparedExperiment) -> float:
    return float(np.mean(answers == prepared.test.labels.numpy()))


def _point(
    deployment: Deployment, method: str, age_s: float, compensation: str, right: float
) -> Point:
    report = deployment.report()
    saturated = [r.saturated_share for r in report.layers if r.saturated_share is not None]
    return Point(
        method=method,
        age_s=age_s,
        measured_age_s=max(r.age_s for r in report.layers if r.age_s is not None),
        compensation=compensation,
        accuracy=right,
        mvm_error=report.mvm_error or 0.0,
        saturated_share=float(np.mean(saturated)) if saturated else 0.0,
    )


def _layer_points(
    deployment: Deployment, method: str, age_s: float, compensation: str
) -> list[LayerPoint]:
    return [
        LayerPoint(
            method=method,
            age_s=age_s,
            compensation=compensation,
            layer=layer.name,
            mvm_error=layer.mvm_error or 0.0,
            saturated_share=layer.saturated_share or 0.0,
        )
        for layer in deployment.report().layers
    ]


def _pulses_in(
    placements: tuple[Placement, ...], before: Wear, after: Wear
) -> npt.NDArray[np.int64]:
    """Pulses since `before` on every device of every cell that a placement uses, (n,)."""
    used = {k: np.zeros(v.shape[1:], np.bool_) for k, v in after.items()}
    for placement in placements:
        for block in placement.blocks:
            used[block.core][
                block.core_row : block.core_row + block.rows,
                block.core_col : block.core_col + block.cols,
            ] = True
    return np.concatenate([(after[k] - before[k])[:, mask].ravel() for k, mask in used.items()])


def _outcomes(outcomes: list[str]) -> str:
    counts = Counter(outcomes)
    if len(counts) == 1:
        return outcomes[0]
    total = len(outcomes)
    return "; ".join(f"{text} ({n} of {total} layers)" for text, n in counts.most_common())


def _mean(
    reports: list[ProgrammingReport], value: Callable[[ProgrammingReport], float | None]
) -> float | None:
    known = [v for v in map(value, reports) if v is not None]
    return float(np.mean(known)) if known else None


def _places(placements: tuple[Placement, ...]) -> tuple[LayerPlace, ...]:
    first = placements[0].blocks if placements else ()
    return tuple(
        LayerPlace(
            layer=b.layer, core=b.core, row=b.core_row, col=b.core_col, rows=b.rows, cols=b.cols
        )
        for b in first
    )


def _confusion(
    answers: npt.NDArray[np.int64], prepared: PreparedExperiment
) -> tuple[tuple[int, ...], ...]:
    table = np.zeros((prepared.classes, prepared.classes), np.int64)
    np.add.at(table, (prepared.test.labels.numpy(), answers), 1)
    return tuple(tuple(row) for row in table.tolist())
