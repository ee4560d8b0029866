"""Runs a recipe on a chip: the reference in software, each method in turn, the verdict.

Knows no back-end. Leaves every answer in the run folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hil.experiment_answers import Answers, save_answers
from hil.experiment_difference import differences_of, losses_of
from hil.experiment_prepare import DEFAULT_INPUT_LEVELS, PreparedExperiment, plan_of
from hil.experiment_results import ExperimentResult, LayerPlace
from hil.experiment_trial import Finding, Trial, classes_of
from hil.experiment_words import verdict
from hil.inference import NetworkPlan, QuantisedReference
from hil.inference.plan_report import plan_report
from hil.mapping import Placement
from hil.programming import algorithm
from hil.progress import Progress
from hil.record import ChipIdentity
from hil.session import Session

__all__ = ["run_experiment"]

UNTRAINED = "The network has not learnt: accuracies mean nothing."

Classes = npt.NDArray[np.int16]


def run_experiment(
    prepared: PreparedExperiment, session: Session, *, progress: Progress
) -> ExperimentResult:
    """Run a prepared recipe on the session's chip; the methods take turns on the same cells.

    Writes `answers.npz` into the run folder.

    Raises:
        RequestError: The network does not fit the chip; no pulse has left.
    """
    recipe, chip = prepared.recipe, session.chip
    began_s, began = chip.now_s(), time.perf_counter()
    plan = _plan_for(prepared, session)
    methods = recipe.programming.methods
    chosen = [algorithm(name, **recipe.programming.settings.get(name, {})) for name in methods]
    report = plan_report(plan, chip.info, recipe.mapping.plan, methods=chosen)
    with progress.task("software reference", 2) as task:
        software = _in_batches(prepared, prepared.module)
        task.advance()
        quantised = _in_batches(prepared, QuantisedReference(plan).run)
        task.advance()
    findings = [Trial(prepared, plan, session, progress).run(method) for method in methods]
    answers = _answers(prepared, findings, software, quantised)
    save_answers(session.folder.path, answers)
    points = tuple(point for finding in findings for point in finding.points)
    software_accuracy = float(np.mean(answers.software_right))
    met, sentence = verdict(
        points,
        software_accuracy=software_accuracy,
        method=recipe.goal.method,
        compensation=recipe.judged_compensation,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
    )
    last = (recipe.goal.method, recipe.time.ages_s[-1], recipe.judged_compensation)
    confusion = answers.confusion(last, len(prepared.class_names))
    judged = findings[methods.index(recipe.goal.method)]
    info = chip.cores[0].info
    return ExperimentResult(
        recipe=recipe.name,
        title=recipe.title,
        chip=ChipIdentity.of(chip.info),
        address=chip.address,
        seed=session.seed,
        network=prepared.network.name,
        dataset=recipe.data.dataset,
        samples=len(prepared.test),
        trained=prepared.trained,
        sample_word=prepared.sample_word,
        class_names=prepared.class_names,
        software_accuracy=software_accuracy,
        quantised_accuracy=float(np.mean(answers.quantised == answers.labels)),
        methods=tuple(finding.cost for finding in findings),
        points=points,
        layers=tuple(layer for finding in findings for layer in finding.layers),
        rows=info.rows,
        cols=info.cols,
        placement=_places(judged.placements),
        utilisation=plan.cells / sum(c.info.rows * c.info.cols for c in chip.cores),
        plan=report,
        differences=differences_of([answers], recipe.goal.method),
        losses=losses_of([answers]),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        recall=_recall(confusion),
        goal_method=recipe.goal.method,
        goal_compensation=recipe.judged_compensation,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
        goal_met=met,
        verdict=sentence if prepared.trained else f"{sentence} {UNTRAINED}",
        chip_s=chip.now_s() - began_s,
        wall_s=time.perf_counter() - began,
    )


def _plan_for(prepared: PreparedExperiment, session: Session) -> NetworkPlan:
    """Plan the network for the input codes of this chip."""
    scale = session.chip.cores[0].info.input
    levels = min(scale.max_code, -scale.min_code)
    if levels == DEFAULT_INPUT_LEVELS:
        return prepared.plan
    return plan_of(prepared.recipe, prepared.module, prepared.calibration, levels)


def _in_batches(prepared: PreparedExperiment, network: Callable[[Tensor], Tensor]) -> Classes:
    """Classify the test samples on the host, a batch at a time, (samples,)."""
    with torch.no_grad():
        parts = torch.split(prepared.test.images, prepared.recipe.data.batch)
        return np.concatenate([classes_of(network(part)) for part in parts])


def _answers(
    prepared: PreparedExperiment, findings: list[Finding], software: Classes, quantised: Classes
) -> Answers:
    points = [point for finding in findings for point in finding.points]
    return Answers(
        keys=tuple((p.method, p.age_s, p.compensation) for p in points),
        chip=np.concatenate([finding.answers for finding in findings]),
        software=software,
        quantised=quantised,
        labels=prepared.test.labels.numpy().astype(np.int16),
    )


def _recall(confusion: npt.NDArray[np.int64]) -> tuple[float | None, ...]:
    return tuple(
        float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(confusion)
    )


def _places(placements: tuple[Placement, ...]) -> tuple[LayerPlace, ...]:
    first = placements[0].blocks if placements else ()
    return tuple(
        LayerPlace(
            layer=b.layer, core=b.core, row=b.core_row, col=b.core_col, rows=b.rows, cols=b.cols
        )
        for b in first
    )
