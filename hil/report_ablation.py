"""What the report of an ablation shows: what each part costs, as bars and tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import numpy as np

from hil.ablation import REFERENCE, AblationResult, AblationRow
from hil.experiment_words import (
    age_text,
    compensation_text,
    method_text,
    paired_text,
    percent_text,
)
from hil.record import RunRecord
from hil.report_figure import INK, METHOD_COLOURS, legend_below, make_figure, png_bytes
from hil.report_page import Page, Picture
from hil.report_provenance import BACKEND_WORDS
from hil.report_tables import Table

__all__ = ["ablation_page", "ablation_tables", "plot_ablation"]

BAR_INCH = 0.34
"""Height of the bars of one variant."""


def ablation_page(record: RunRecord, found: AblationResult) -> Page:
    """Say what the page of an ablation shows."""
    badges = [BACKEND_WORDS[found.backend], f"{found.model}, {_chips(found)}"]
    if not found.trained:
        badges.append("untrained network")
    over = "chips" if len(found.chips) > 1 else found.sample_word
    picture = Picture(
        name="ablation",
        png=plot_ablation(found),
        caption=f"Change of accuracy when a part is taken away. Bars: 95 % intervals over the "
        f"{over}, paired.",
    )
    return Page(
        title=f"What each part costs: {found.title}",
        badges=tuple(badges),
        good=None if found.complete else False,
        verdict=found.verdict,
        facts=tuple(_facts(found)),
        sentences=tuple(_failures(found)),
        pictures=(picture,),
        tables=ablation_tables(found),
        provenance=(
            ("repeat with", shlex.join(record.command)),
            ("address", record.address or ""),
            ("chips", ", ".join(found.chips)),
            ("network", found.network if found.trained else f"{found.network}, untrained"),
            ("seed", str(record.seed)),
            ("started, ended", f"{record.started_at}, {record.ended_at or 'not ended'}"),
            ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
        ),
    )


def ablation_tables(found: AblationResult) -> tuple[Table, ...]:
    """Return per method: change of accuracy by variant and age, and accuracy itself."""
    tables = []
    for method in found.methods:
        tables += [_change_table(found, method), _accuracy_table(found, method)]
    return tuple(tables)


def plot_ablation(found: AblationResult) -> bytes:
    """Draw the change of accuracy by variant: a bar per method; first and last age."""
    ages = sorted({found.ages_s[0], found.ages_s[-1]})
    variants = [v for v in found.variants if v.name != REFERENCE and v.chips]
    height = 1.3 + BAR_INCH * max(2, len(variants)) * max(1, len(found.methods)) / 1.5
    figure, axes = make_figure((2.2 + 3.0 * len(ages), height), len(ages))
    places = np.arange(len(variants))
    thick = 0.8 / len(found.methods)
    for axis, age_s in zip(axes, ages, strict=True):
        for k, method in enumerate(found.methods):
            changes = [_paired(found.row(v.name, method, age_s)) for v in variants]
            middles = np.array([m for m, _, _ in changes])
            ends = np.array([[m - low, high - m] for m, low, high in changes]).reshape(-1, 2)
            axis.barh(
                places + thick * (k - (len(found.methods) - 1) / 2),
                middles,
                xerr=np.maximum(ends.T, 0.0),
                height=0.9 * thick,
                color=METHOD_COLOURS.get(method, INK),
                error_kw={"elinewidth": 1.1, "capsize": 2.5, "ecolor": INK},
                label=method_text(method),
            )
        axis.axvline(0.0, color=INK, linewidth=1.0)
        low, high = axis.get_xlim()
        axis.set_xlim(max(low, -100.0), min(high, 100.0))  # no change is larger
        axis.set_yticks(places, [v.words for v in variants] if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.set_title(f"after {age_text(age_s)}", fontsize=9)
        axis.set_xlabel("change of accuracy, points")
    legend_below(figure, axes)
    return png_bytes(figure)


def _paired(row: AblationRow | None) -> tuple[float, float, float]:
    """Change and its interval, in points; nothing where there is no row."""
    if row is None or row.change is None:
        return 0.0, 0.0, 0.0
    return 100 * row.change.mean, 100 * row.change.low, 100 * row.change.high


def _change_table(found: AblationResult, method: str) -> Table:
    rows = []
    for variant in found.variants:
        if variant.name == REFERENCE:
            continue
        cells = [found.row(variant.name, method, age_s) for age_s in found.ages_s]
        rows.append((variant.words, *(_change_text(row) for row in cells)))
    over = _chips(found) if len(found.chips) > 1 else found.sample_word
    return Table(
        title=f"Change of accuracy, {method_text(method)}, points",
        heads=("variant", *(age_text(age_s) for age_s in found.ages_s)),
        rows=tuple(rows),
        note=(
            f"Against the recipe as it is, with compensation {_judged(found)}; paired, 95 % "
            f"interval over {over}; * excludes zero. Above zero: what the part costs."
        ),
    )


def _change_text(row: AblationRow | None) -> str:
    if row is None or row.change is None:
        return "failed"
    return paired_text(row.change) + ("*" if row.change.excludes_zero else "")


def _accuracy_table(found: AblationResult, method: str) -> Table:
    rows = []
    for variant in found.variants:
        cells = [found.row(variant.name, method, age_s) for age_s in found.ages_s]
        error = variant.programmed_error.get(method)
        rows.append(
            (
                variant.words,
                "-" if error is None else percent_text(error, None),
                *(
                    "failed" if row is None else percent_text(row.accuracy, row.accuracy_half)
                    for row in cells
                ),
            )
        )
    return Table(
        title=f"Accuracy, {method_text(method)}, %",
        heads=("variant", "MVM error, programmed", *(age_text(age) for age in found.ages_s)),
        rows=tuple(rows),
        note=(
            f"{found.samples:,} test {found.sample_word} of {found.dataset}, {_chips(found)}; "
            f"compensation {_judged(found)}. Software "
            f"{percent_text(found.software_accuracy, None)}. MVM error: where programming ended, "
            "on random inputs, mean of the layers."
        ),
        marked=(0,),
    )


def _facts(found: AblationResult) -> Iterable[tuple[str, str]]:
    yield f"{found.software_accuracy:.1%}", "software"
    for method in found.methods:
        row = found.row(REFERENCE, method, found.ages_s[-1])
        if row is not None:
            yield (
                f"{percent_text(row.accuracy, row.accuracy_half)} %",
                f"{method_text(method)} after {age_text(found.ages_s[-1])}, as it is",
            )


def _failures(found: AblationResult) -> Iterable[str]:
    for variant in found.variants:
        for failed in variant.failed:
            chip = "the chip" if failed.chip_seed is None else f"chip {failed.chip_seed}"
            yield f"{variant.words}: {chip} failed: {failed.message}"


def _judged(found: AblationResult) -> str:
    return compensation_text(found.goal_compensation)


def _chips(found: AblationResult) -> str:
    return f"{len(found.chips)} chip{'s' if len(found.chips) > 1 else ''}"
