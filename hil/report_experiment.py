"""What the report of an experiment shows: verdict, facts, sentences, pictures, tables."""

from __future__ import annotations

from collections.abc import Iterable

from hil.experiment_results import ExperimentResult, RepeatedResult, spreads
from hil.experiment_words import (
    age_text,
    compensation_text,
    difference_sentence,
    method_text,
    percent_text,
)
from hil.record import RunRecord
from hil.report_curves import plot_accuracy, plot_differences, plot_mvm_error
from hil.report_page import Page, Picture
from hil.report_plots import plot_confusion, plot_layers, plot_placement, plot_pulses
from hil.report_provenance import BACKEND_WORDS, provenance_of
from hil.report_tables import Found, runs_of, tables_of

__all__ = ["experiment_page", "sentences_of"]


def experiment_page(record: RunRecord, found: Found) -> Page:
    """Say what the page of a run shows."""
    runs = runs_of(found)
    first = runs[0]
    chips = first.chip.serial if len(runs) == 1 else f"{len(runs)} chips"
    badges = (BACKEND_WORDS[first.chip.backend], f"{first.chip.model}, {chips}")
    return Page(
        title=first.title,
        badges=badges if first.trained else (*badges, "untrained network"),
        good=found.goal_met,
        verdict=found.verdict,
        facts=tuple(_facts(runs)),
        sentences=sentences_of(found),
        pictures=tuple(_pictures(found)),
        tables=tables_of(found),
        provenance=provenance_of(record, runs),
    )


def sentences_of(found: Found) -> tuple[str, ...]:
    """Say by how much methods differ, and what the chip costs, as judged, now and at last."""
    first = runs_of(found)[0]
    judged = (first.goal_method, first.goal_compensation)
    ages = {first.ages_s[0], first.ages_s[-1]}
    said = [
        difference_sentence(d, first.sample_word)
        for d in (*found.differences, *found.losses)
        if (d.method, d.compensation) == judged and d.age_s in ages
    ]
    if isinstance(found, RepeatedResult):
        said += [f"Chip {f.chip_seed} failed: {f.message}" for f in found.failed]
    return tuple(said)


def _facts(runs: tuple[ExperimentResult, ...]) -> Iterable[tuple[str, str]]:
    first = runs[0]
    last = first.ages_s[-1]
    yield f"{sum(r.software_accuracy for r in runs) / len(runs):.1%}", "software"
    for row in spreads(runs):
        if (row.age_s, row.compensation) == (last, first.goal_compensation):
            yield (
                f"{percent_text(row.accuracy, row.accuracy_half)} %",
                f"{method_text(row.method)} after {age_text(last)}, "
                f"{compensation_text(row.compensation)}",
            )
    pulses = [
        sum(run.methods[k].pulses_per_device for run in runs) / len(runs)
        for k in range(len(first.methods))
    ]
    names = " / ".join(method_text(m.method) for m in first.methods)
    yield " / ".join(f"{p:.1f}" for p in pulses), f"pulses per device, {names}"


def _pictures(found: Found) -> Iterable[Picture]:
    runs = runs_of(found)
    first = runs[0]
    several = len(runs) > 1
    bars = " Bars: 95 % intervals over the chips." if several else ""
    one = f" Chip {first.chip.serial}." if several else ""
    judged = f"{method_text(first.goal_method)}, {compensation_text(first.goal_compensation)}"
    yield Picture(
        name="accuracy",
        png=plot_accuracy(runs),
        caption=f"Accuracy against age, with each drift compensation.{bars}",
    )
    if found.differences:
        over = "chips" if several else first.sample_word
        yield Picture(
            name="differences",
            png=plot_differences(found),
            caption=f"Method against method, paired. Bars: 95 % intervals over the {over}.",
        )
    yield Picture(
        name="mvm-error",
        png=plot_mvm_error(runs),
        caption=f"MVM error on test activations, mean of the layers.{bars}",
    )
    yield Picture(
        name="layers",
        png=plot_layers(first),
        caption=f"MVM error layer by layer, compensation "
        f"{compensation_text(first.goal_compensation)}.{one}",
    )
    yield Picture(
        name="pulses",
        png=plot_pulses(first),
        caption=f"What programming cost: pulses on each device.{one}",
    )
    yield Picture(
        name="placement",
        png=plot_placement(first),
        caption=f"The layers on the cores; {first.utilisation:.2%} of the cells are used.",
    )
    yield Picture(
        name="confusion",
        png=plot_confusion(first),
        caption=f"Answers after {age_text(first.ages_s[-1])}: {judged}.{one}",
    )
