"""The tables of a report as values: heads, rows of text, a note. Knows no page and no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.experiment_results import (
    SOFTWARE,
    Difference,
    ExperimentResult,
    MethodResult,
    RepeatedResult,
    Spread,
    spreads,
)
from hil.experiment_words import (
    age_text,
    compensation_text,
    duration_text,
    method_text,
    paired_text,
    percent_text,
)

__all__ = [
    "Found",
    "Table",
    "accuracy_table",
    "difference_tables",
    "error_table",
    "loss_table",
    "plan_table",
    "programming_table",
    "recall_table",
    "runs_of",
    "tables_of",
]

Found = ExperimentResult | RepeatedResult
"""The results of a run: on one chip, or on several."""
MANY_CLASSES = 100
"""Classes beyond which recall is not listed."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: What it shows, unit included.
        heads: One a column; the first column is text, the others figures.
        rows: Cells as text.
        note: What a reader must know beside it; may be empty.
        marked: Rows that the goal is judged by.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    marked: tuple[int, ...] = ()


def runs_of(found: Found) -> tuple[ExperimentResult, ...]:
    """Return the results chip by chip."""
    return found.runs if isinstance(found, RepeatedResult) else (found,)


def tables_of(found: Found) -> tuple[Table, ...]:
    """Return every table of a run, in the order of a report."""
    first = runs_of(found)[0]
    tables = [accuracy_table(found), *difference_tables(found), loss_table(found)]
    tables += [error_table(found), programming_table(found), plan_table(first)]
    if len(first.class_names) <= MANY_CLASSES:
        tables.append(recall_table(found))
    return tuple(tables)


def accuracy_table(found: Found) -> Table:
    """Accuracy by method and compensation, against age."""
    runs = runs_of(found)
    first = runs[0]
    rows = spreads(runs)
    software = percent_text(sum(r.software_accuracy for r in runs) / len(runs), None)
    quantised = percent_text(sum(r.quantised_accuracy for r in runs) / len(runs), None)
    learnt = "" if first.trained else " The network has not learnt: accuracies mean nothing."
    return Table(
        title="Accuracy, %",
        heads=_age_heads(first),
        rows=tuple(
            (
                _name(method, compensation),
                *(
                    percent_text(p.accuracy, p.accuracy_half)
                    for p in _line(rows, method, compensation)
                ),
            )
            for method, compensation in _ways(first)
        ),
        note=(
            f"{first.samples:,} test {first.sample_word} of {first.dataset}, {_chips(runs)}. "
            f"Software {software}; with the converters' quantisation alone {quantised}.{learnt}"
        ),
        marked=_judged(first),
    )


def error_table(found: Found) -> Table:
    """MVM error on the activations of the test samples, against age."""
    runs = runs_of(found)
    rows = spreads(runs)
    return Table(
        title="MVM error on test activations, %",
        heads=_age_heads(runs[0]),
        rows=tuple(
            (
                _name(method, compensation),
                *(
                    percent_text(p.mvm_error, p.mvm_error_half)
                    for p in _line(rows, method, compensation)
                ),
            )
            for method, compensation in _ways(runs[0])
        ),
        note=f"Mean of the layers, {_chips(runs)}.",
        marked=_judged(runs[0]),
    )


def difference_tables(found: Found) -> tuple[Table, ...]:
    """Judged method minus each other one, against age: points of accuracy."""
    first = runs_of(found)[0]
    others = dict.fromkeys(d.to_method for d in found.differences)
    return tuple(
        _difference_table(
            found,
            [d for d in found.differences if d.to_method == other],
            f"{method_text(first.goal_method).capitalize()} minus {method_text(other)}, "
            "points of accuracy",
        )
        for other in others
    )


def loss_table(found: Found) -> Table:
    """Every method minus software, against age: points of accuracy."""
    return _difference_table(
        found, found.losses, f"Chip minus {method_text(SOFTWARE)}, points of accuracy"
    )


def programming_table(found: Found) -> Table:
    """What programming cost, by method."""
    runs = runs_of(found)
    return Table(
        title="Programming",
        heads=(
            *("programmed by", "ended because", "cells accepted", "pulses per device", "most"),
            *("reads", "MVMs", "MVM error", "after affine fit", "chip time", "wall time"),
        ),
        rows=tuple(
            _programming_row([run.methods[k] for run in runs]) for k in range(len(runs[0].methods))
        ),
        note=(
            "MVM errors here: random inputs independent of those used to program, mean of the "
            f"layers; {_chips(runs)}."
        ),
    )


def plan_table(result: ExperimentResult) -> Table:
    """What the chip imposes on the network, layer by layer."""
    plan = result.plan
    return Table(
        title="Layers on the chip",
        heads=("layer", "kind", "rows x cols", "blocks", "cores", "cells", "MVMs", "chip time"),
        rows=tuple(
            (
                *(layer.name, layer.kind, f"{layer.rows} x {layer.cols}", str(layer.blocks)),
                ", ".join(map(str, layer.cores)),
                *(f"{layer.cells:,}", f"{layer.mvms:,}", duration_text(layer.chip_s)),
            )
            for layer in plan.layers
        ),
        note=(
            f"Per sample {plan.mvms:,} MVMs of {duration_text(plan.mvm_s)}: "
            f"{duration_text(plan.chip_s)} of chip time; {plan.cells:,} of {plan.cells_chip:,} "
            f"cells ({plan.utilisation:.2%}), plan {plan.plan}."
        ),
    )


def recall_table(found: Found) -> Table:
    """Share of each class that is answered right: judged method and compensation, last age."""
    runs = runs_of(found)
    first = runs[0]
    counts = [sum(sum(run.confusion[k]) for run in runs) for k in range(len(first.class_names))]
    right = [sum(run.confusion[k][k] for run in runs) for k in range(len(first.class_names))]
    return Table(
        title="Recall by class, %",
        heads=("class", "recall", "answers"),
        rows=tuple(
            (name, percent_text(hits / n, None) if n else "-", f"{n:,}")
            for name, hits, n in zip(first.class_names, right, counts, strict=True)
        ),
        note=(
            f"{_name(first.goal_method, first.goal_compensation).capitalize()}, after "
            f"{age_text(first.ages_s[-1])}, {_chips(runs)}."
        ),
    )


def _difference_table(found: Found, rows: Sequence[Difference], title: str) -> Table:
    runs = runs_of(found)
    first = runs[0]
    ways = list(dict.fromkeys((d.method, d.compensation) for d in rows))
    several = len(runs) > 1
    return Table(
        title=title,
        heads=_age_heads(first),
        rows=tuple(
            (
                _name(*way),
                *(
                    paired_text(d.paired) + ("*" if d.paired.excludes_zero else "")
                    for d in sorted(rows, key=lambda d: d.age_s)
                    if (d.method, d.compensation) == way
                ),
            )
            for way in ways
        ),
        note=(
            f"Paired, 95 % interval over {_chips(runs) if several else first.sample_word}; "
            "* excludes zero."
        ),
        marked=tuple(
            k for k, way in enumerate(ways) if way == (first.goal_method, first.goal_compensation)
        ),
    )


def _programming_row(of_all: Sequence[MethodResult]) -> tuple[str, ...]:
    n = len(of_all)
    return (
        method_text(of_all[0].method),
        of_all[0].outcome,
        f"{sum(m.success_share for m in of_all) / n:.1%}",
        f"{sum(m.pulses_per_device for m in of_all) / n:.2f}",
        str(max(m.pulses_max for m in of_all)),
        f"{sum(m.reads for m in of_all) // n:,}",
        f"{sum(m.mvms for m in of_all) // n:,}",
        _mean_percent([m.mvm_error for m in of_all]),
        _mean_percent([m.mvm_error_affine for m in of_all]),
        duration_text(sum(m.chip_s for m in of_all) / n),
        duration_text(sum(m.wall_s for m in of_all) / n),
    )


def _age_heads(result: ExperimentResult) -> tuple[str, ...]:
    return ("method, compensation", *(age_text(age) for age in result.ages_s))


def _ways(result: ExperimentResult) -> list[tuple[str, str]]:
    """Every method with every compensation."""
    return [(m.method, c) for m in result.methods for c in result.compensations]


def _judged(result: ExperimentResult) -> tuple[int, ...]:
    return (_ways(result).index((result.goal_method, result.goal_compensation)),)


def _line(rows: Sequence[Spread], method: str, compensation: str) -> list[Spread]:
    mine = [r for r in rows if (r.method, r.compensation) == (method, compensation)]
    return sorted(mine, key=lambda r: r.age_s)


def _name(method: str, compensation: str) -> str:
    return f"{method_text(method)}, {compensation_text(compensation)}"


def _chips(runs: Sequence[ExperimentResult]) -> str:
    return f"{len(runs)} chip{'s' if len(runs) > 1 else ''}"


def _mean_percent(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.1%}" if known else "not measured"
