"""One programming method on a chip: deploy, then every age with every compensation.

The methods of a recipe take turns on the same cells, each a trial of its own.
"""

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
from hil.experiment_prepare import PreparedExperiment
from hil.experiment_results import LayerPoint, MethodResult, Point
from hil.inference import (
    Deployment,
    DeploymentReport,
    DeploymentSettings,
    LayerProgress,
    NetworkPlan,
    Plan,
    deploy,
)
from hil.kept import KeptNetwork, keep_deployment
from hil.mapping import Placement
from hil.matrix import ProgrammingReport
from hil.programming import algorithm
from hil.programming.base import Action
from hil.progress import Progress, Task
from hil.recipe import Compensation, Method
from hil.session import Session

__all__ = ["Finding", "Trial", "classes_of"]

log = logging.getLogger(__name__)
Classes = npt.NDArray[np.int16]
Wear = dict[int, npt.NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What one method gave.

    Attributes:
        cost: What programming cost.
        points, layers: What was measured, by age and compensation.
        placements: Where the blocks lie.
        answers: Class given to each test sample, (points, samples).
    """

    cost: MethodResult
    points: tuple[Point, ...]
    layers: tuple[LayerPoint, ...]
    placements: tuple[Placement, ...]
    answers: Classes


class Trial:
    """One method on the chip of a session."""

    def __init__(
        self,
        prepared: PreparedExperiment,
        plan: NetworkPlan,
        session: Session,
        progress: Progress,
    ) -> None:
        self._prepared = prepared
        self._recipe = prepared.recipe
        self._plan = plan
        self._session = session
        self._progress = progress

    def run(self, method: Method) -> Finding:
        """Deploy by `method`, measure, and say what it cost."""
        recipe, chip = self._recipe, self._session.chip
        wear = self._wear()
        began_s, began = chip.now_s(), time.perf_counter()
        deployment = self._deploy(method)
        points: list[Point] = []
        layers: list[LayerPoint] = []
        answers: list[Classes] = []
        cost: MethodResult | None = None
        if deployment.settings.plan is Plan.RESIDENT:
            cost = self._cost(deployment, method, wear, began_s, began)
            self._session.verified()
        runs = len(recipe.time.ages_s) * len(recipe.time.compensation)
        with self._progress.task(f"classifying, {method}", runs) as task:
            for age_s in recipe.time.ages_s:
                deployment.let_age(self._calibrated_at_s() + age_s)
                for compensation in recipe.time.compensation:
                    task.say(f"age {age_s:g} s, compensation {compensation}")
                    answers.append(self._classify(deployment, compensation, task))
                    report = deployment.report()
                    right = self._share_right(answers[-1])
                    points.append(_point(report, method, age_s, right))
                    layers += _layer_points(report, method, age_s)
                    cost = cost or self._cost(deployment, method, wear, began_s, began)
                    log.info(
                        "%s, age %g s, compensation %s: accuracy %.4f",
                        *(method, age_s, compensation, right),
                    )
        if cost is None:
            raise RequestError("a recipe needs at least one age and one compensation")
        self._session.verified()
        if method == recipe.goal.method and deployment.settings.plan is Plan.RESIDENT:
            self._keep(deployment)
        return Finding(
            cost=cost,
            points=tuple(points),
            layers=tuple(layers),
            placements=deployment.report().placements,
            answers=np.stack(answers),
        )

    def _deploy(self, method: Method) -> Deployment:
        recipe, chip = self._recipe, self._session.chip
        chosen = algorithm(method, **recipe.programming.settings.get(method, {}))
        settings = DeploymentSettings(
            plan=Plan(recipe.mapping.plan),
            method=chosen,
            seed=self._session.seed,
            calibrate=recipe.mapping.calibrate,
            settle_s=recipe.time.settle_s,
        )
        if settings.plan is Plan.REPROGRAM:  # programs layer by layer, while it runs
            return deploy(chip, self._plan, settings)
        with self._progress.task(f"programming, {method}", chosen.max_iterations) as task:
            return deploy(chip, self._plan, settings, on_step=_step_teller(task))

    def _classify(self, deployment: Deployment, compensation: Compensation, task: Task) -> Classes:
        deployment.compensate(compensation, self._prepared.calibration.images)
        tell = _LayerTeller(task)
        outputs = deployment.run(
            self._prepared.test.images, batch=self._recipe.data.batch, on_layer=tell.layer
        )
        tell.finish()
        return classes_of(outputs)

    def _keep(self, deployment: Deployment) -> None:
        """Keep the judged network as it stands, before another method overwrites its cells."""
        prepared, wanted = self._prepared, self._recipe.judged_compensation
        if deployment.compensation.value != wanted:
            deployment.compensate(wanted, prepared.calibration.images)
        kept = KeptNetwork(
            network=prepared.network,
            trained=prepared.trained,
            dataset=self._recipe.data.dataset,
            class_names=prepared.class_names,
        )
        keep_deployment(deployment, self._session.folder.path, kept)

    def _share_right(self, answers: Classes) -> float:
        return float(np.mean(answers == self._prepared.test.labels.numpy()))

    def _calibrated_at_s(self) -> float:
        settle_s = self._recipe.time.settle_s
        if settle_s is None:
            return self._session.chip.cores[0].info.device.reference_age_s
        return settle_s

    def _wear(self) -> Wear:
        return {k: self._session.wear(k) for k in range(len(self._session.chip.cores))}

    def _cost(
        self, deployment: Deployment, method: Method, before: Wear, began_s: float, began: float
    ) -> MethodResult:
        chip_s = self._session.chip.now_s() - began_s
        wall_s = time.perf_counter() - began
        report = deployment.report()
        pulses = _pulses_in(report.placements, before, self._wear())
        with self._progress.task(
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


def classes_of(outputs: torch.Tensor) -> Classes:
    """Return the class of the highest output of each sample, (samples,)."""
    return outputs.argmax(dim=1).numpy().astype(np.int16)


def _point(report: DeploymentReport, method: str, age_s: float, right: float) -> Point:
    saturated = [r.saturated_share for r in report.layers if r.saturated_share is not None]
    return Point(
        method=method,
        age_s=age_s,
        measured_age_s=max(r.age_s for r in report.layers if r.age_s is not None),
        compensation=report.compensation,
        accuracy=right,
        mvm_error=report.mvm_error or 0.0,
        saturated_share=float(np.mean(saturated)) if saturated else 0.0,
    )


def _layer_points(report: DeploymentReport, method: str, age_s: float) -> list[LayerPoint]:
    return [
        LayerPoint(
            method=method,
            age_s=age_s,
            compensation=report.compensation,
            layer=layer.name,
            mvm_error=layer.mvm_error or 0.0,
            saturated_share=layer.saturated_share or 0.0,
        )
        for layer in report.layers
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
