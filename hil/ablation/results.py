"""What an ablation found: accuracy with and without each part, paired by chip and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.ablation.variants import COMPENSATION, REFERENCE, Variant
from hil.experiment_answers import PointKey
from hil.experiment_jobs import ChipRun
from hil.experiment_results import ExperimentResult, FailedChip, spreads
from hil.experiment_words import age_text, compensation_text, method_text, paired_text
from hil.info import BackendKind
from hil.paired import PairedDifference, paired_difference

__all__ = ["ABLATION_VERSION", "AblationResult", "AblationRow", "AblationVariant", "summarise"]

ABLATION_VERSION = 1
"""Version of `AblationResult`."""

Runs = Mapping[int, ChipRun]
"""What the chips of one variant gave, by place in the list of chip seeds."""


class Document(BaseModel):
    """A frozen document without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AblationVariant(Document):
    """One variant.

    Attributes:
        name, part, words: Which.
        address: Chip; its option `seed` takes each chip seed in turn.
        folder: Run folder, below that of the ablation; None if it needed no run of its own.
        programmed_error: MVM error where programming ended, by method, mean over chips.
        chips: Chips that came to an end.
        failed: The others.
    """

    name: str
    part: str
    words: str
    address: str
    folder: str | None
    programmed_error: dict[str, float | None]
    chips: int
    failed: tuple[FailedChip, ...]


class AblationRow(Document):
    """A variant at one point.

    Attributes:
        variant, method, age_s, compensation: The point.
        accuracy, mvm_error: Mean over chips.
        accuracy_half: Half its 95 % interval; None for one chip.
        change: Accuracy minus that of the reference: at the same point, or, where compensation is
            what changes, with the compensation that is judged. None for the reference itself.
    """

    variant: str
    method: str
    age_s: float
    compensation: str
    accuracy: float
    accuracy_half: float | None
    mvm_error: float
    change: PairedDifference | None


class AblationResult(Document):
    """What each part of a recipe costs.

    Attributes:
        recipe, title, network, trained, dataset, samples, sample_word: What ran.
        model, backend, chips: On what: serial numbers of the reference's chips.
        methods, ages_s: As in the recipe.
        goal_method, goal_compensation: What the recipe judges.
        software_accuracy: Of the float network.
        variants, rows: The reference first.
        complete: No chip of any variant failed.
        verdict: The finding in a sentence.
    """

    schema_version: Literal[1] = 1
    recipe: str
    title: str
    network: str
    trained: bool
    dataset: str
    samples: int
    sample_word: str
    model: str
    backend: BackendKind
    chips: tuple[str, ...]
    methods: tuple[str, ...]
    ages_s: tuple[float, ...]
    goal_method: str
    goal_compensation: str
    software_accuracy: float
    variants: tuple[AblationVariant, ...]
    rows: tuple[AblationRow, ...]
    complete: bool
    verdict: str

    def row(self, variant: str, method: str, age_s: float) -> AblationRow | None:
        """Return a variant at a point, with the compensation that it is about or that is judged."""
        mine = [r for r in self.rows if (r.variant, r.method, r.age_s) == (variant, method, age_s)]
        judged = [r for r in mine if r.compensation == self.goal_compensation]
        return next(iter(judged or mine), None)


def summarise(
    variants: Sequence[Variant],
    runs: Sequence[Runs],
    failed: Sequence[tuple[FailedChip, ...]],
    *,
    compensations: bool,
) -> AblationResult:
    """Put together what the chips of every variant gave.

    Args:
        variants: The reference first, then the others.
        runs: What their chips gave; the reference's are not empty.
        failed: Chips of each variant that came to no end.
        compensations: Also say what each compensation is worth.
    """
    reference = runs[0]
    first = next(iter(reference.values())).result
    documents = [
        _document(variant, list(found.values()), missing)
        for variant, found, missing in zip(variants, runs, failed, strict=True)
    ]
    rows = [
        row
        for variant, found in zip(variants, runs, strict=True)
        for row in _rows(variant.name, found, reference)
    ]
    if compensations:
        more, their_rows = _compensations(documents[0], reference, first)
        documents[1:1] = more
        rows += their_rows
    return AblationResult(
        recipe=first.recipe,
        title=first.title,
        network=first.network,
        trained=first.trained,
        dataset=first.dataset,
        samples=first.samples,
        sample_word=first.sample_word,
        model=first.chip.model,
        backend=first.chip.backend,
        chips=tuple(run.result.chip.serial for run in reference.values()),
        methods=tuple(m.method for m in first.methods),
        ages_s=first.ages_s,
        goal_method=first.goal_method,
        goal_compensation=first.goal_compensation,
        software_accuracy=first.software_accuracy,
        variants=tuple(documents),
        rows=tuple(rows),
        complete=not any(failed),
        verdict=_verdict(documents, rows, first),
    )


def _document(
    variant: Variant, found: Sequence[ChipRun], failed: tuple[FailedChip, ...]
) -> AblationVariant:
    errors: dict[str, list[float]] = {}
    for run in found:
        for cost in run.result.methods:
            known = errors.setdefault(cost.method, [])
            known += [] if cost.mvm_error is None else [cost.mvm_error]
    return AblationVariant(
        name=variant.name,
        part=variant.part,
        words=variant.words,
        address=variant.address,
        folder=variant.name,
        programmed_error={m: float(np.mean(e)) if e else None for m, e in errors.items()},
        chips=len(found),
        failed=failed,
    )


def _rows(name: str, found: Runs, reference: Runs) -> list[AblationRow]:
    if not found:
        return []
    results = tuple(run.result for run in found.values())
    return [
        AblationRow(
            variant=name,
            method=spread.method,
            age_s=spread.age_s,
            compensation=spread.compensation,
            accuracy=spread.accuracy,
            accuracy_half=spread.accuracy_half,
            mvm_error=spread.mvm_error,
            change=None if name == REFERENCE else _change(found, reference, key, key),
        )
        for spread in spreads(results)
        for key in [(spread.method, spread.age_s, spread.compensation)]
    ]


def _compensations(
    document: AblationVariant, reference: Runs, first: ExperimentResult
) -> tuple[list[AblationVariant], list[AblationRow]]:
    """Every compensation of the reference against the one that is judged."""
    variants, rows = [], []
    for compensation in first.compensations:
        if compensation == first.goal_compensation:
            continue
        name = f"compensation-{compensation.replace('_', '-')}"
        words = (
            "without drift compensation"
            if compensation == "none"
            else f"compensation {compensation_text(compensation)}"
        )
        changes = {"name": name, "part": COMPENSATION, "words": words, "folder": None}
        variants.append(document.model_copy(update=changes))
        for row in _rows(REFERENCE, reference, reference):
            if row.compensation == compensation:
                key = (row.method, row.age_s, compensation)
                judged = (row.method, row.age_s, first.goal_compensation)
                change = _change(reference, reference, key, judged)
                rows.append(row.model_copy(update={"variant": name, "change": change}))
    return variants, rows


def _change(found: Runs, reference: Runs, key: PointKey, to: PointKey) -> PairedDifference | None:
    both = [k for k in found if k in reference]
    if not both:
        return None
    return paired_difference(
        np.stack([found[k].answers.right(key) for k in both]),
        np.stack([reference[k].answers.right(to) for k in both]),
    )


def _verdict(
    variants: Sequence[AblationVariant], rows: Sequence[AblationRow], first: ExperimentResult
) -> str:
    """Name the part that changes the judged method most, at the last age."""
    words = {variant.name: variant.words for variant in variants}
    judged = (first.goal_method, first.ages_s[-1])
    changes = [
        (row.change, words[row.variant])
        for row in rows
        if (row.method, row.age_s) == judged
        and row.change is not None
        and (row.compensation == first.goal_compensation or row.variant.startswith(COMPENSATION))
    ]
    if not changes:
        return "Nothing was taken away."
    most, what = max(changes, key=lambda change: abs(change[0].mean))
    return (
        f"After {age_text(first.ages_s[-1])}, programmed by {method_text(first.goal_method)}, the "
        f"largest change of accuracy is {paired_text(most)} points: {what}."
    )
