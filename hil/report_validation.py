"""A validation as text and pictures: cells of its tables, Markdown, PNG bytes. Writes no file."""

from __future__ import annotations

from hil.report_figure import INK, legend_below, png_bytes, single_figure
from hil.report_markdown import markdown
from hil.report_tables import Table
from hil.validation import (
    Plot,
    Tolerance,
    Validation,
    ValidationGroup,
    ValidationRow,
)

__all__ = [
    "GROUP_HEADS",
    "group_cells",
    "plot_validation",
    "validation_markdown",
    "validation_sentence",
]

GROUP_HEADS = (
    "quantity",
    "worst at",
    "published",
    "ours",
    "difference",
    "tolerance",
    "points",
    "verdict",
    "source",
)
ROW_HEADS = ("quantity", "at", "published", "ours", "difference", "tolerance", "verdict", "source")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
MARKERS = "osD^vP*"
VERDICTS = {True: "pass", False: "FAIL", None: "not judged"}


def group_cells(group: ValidationGroup) -> tuple[str, ...]:
    """Cells of the table that shows one line per quantity, at the point that is farthest off."""
    row = group.worst
    return (
        row.group,
        row.at,
        _value(row.published, row.unit),
        _value(row.ours, row.unit),
        _difference(row),
        _tolerance(row),
        str(len(group.rows)),
        VERDICTS[group.passed],
        row.source,
    )


def validation_sentence(found: Validation) -> str:
    """Say in one sentence how it went."""
    missed = len(found.failed)
    shown = len(found.rows) - found.judged
    aside = f"; {shown} more are shown and not judged" if shown else ""
    kept = f"{found.judged - missed} of {found.judged} comparisons are within their tolerance"
    return f"{kept}{aside}"


def validation_markdown(found: Validation) -> str:
    """Write every row of every family, with the notes below its table."""
    sentences = [
        f"{validation_sentence(found)}. Effort: {found.effort.value}.",
        f"{', '.join(f'{name} {number}' for name, number in found.versions.items())}.",
        *found.notes,
        *(f"Not measured: {name}: {why}." for name, why in found.not_measured.items()),
    ]
    tables = []
    for family in found.families:
        rows = [row for row in found.rows if row.family == family]
        notes = dict.fromkeys(row.note for row in rows if row.note)
        tables.append(
            Table(
                title=family,
                heads=ROW_HEADS,
                rows=tuple(_row_cells(row) for row in rows),
                marked=tuple(k for k, row in enumerate(rows) if row.passed is False),
                note=" ".join(f"{note}." for note in notes),
            )
        )
    return markdown(f"Validation of {found.address}", sentences, tables)


def plot_validation(plot: Plot) -> bytes:
    """Draw a picture: published curves as lines, measured ones as points."""
    figure, axis = single_figure((5.6, 4.4))
    order: dict[str, int] = {}
    for curve in plot.curves:
        k = order.setdefault(curve.name, len(order))
        colour = COLOURS[k % len(COLOURS)]
        if curve.measured:
            mark = MARKERS[k % len(MARKERS)]
            axis.plot(
                curve.x, curve.y, mark, color=colour, ms=4.5, mec=INK, mew=0.5, label=curve.name
            )
        else:
            axis.plot(curve.x, curve.y, "-", color=colour, linewidth=1.3)
    axis.set_title(plot.title, fontsize=10)
    axis.set_xlabel(plot.x_label)
    axis.set_ylabel(plot.y_label)
    axis.set_xscale(plot.x_scale.value)
    axis.set_yscale(plot.y_scale.value)
    legend_below(figure, [axis])
    return png_bytes(figure)


def _row_cells(row: ValidationRow) -> tuple[str, ...]:
    error = "" if row.standard_error is None else f" ± {_number(row.standard_error)}"
    return (
        row.group,
        row.at,
        _value(row.published, row.unit),
        f"{_number(row.ours)}{error}{_unit(row.unit)}",
        _difference(row),
        _tolerance(row),
        VERDICTS[row.passed],
        row.source,
    )


def _difference(row: ValidationRow) -> str:
    if row.judged is Tolerance.RELATIVE:
        return f"{100 * row.difference:+.1f} %"
    return f"{'+' if row.difference >= 0 else ''}{_number(row.difference)}"


def _tolerance(row: ValidationRow) -> str:
    if row.judged is Tolerance.NONE:
        return "-"
    if row.judged is Tolerance.AT_MOST:
        return "at most"
    if row.judged is Tolerance.RELATIVE:
        return f"{100 * row.tolerance:.3g} %"
    return _number(row.tolerance)


def _value(value: float, unit: str) -> str:
    return f"{_number(value)}{_unit(unit)}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"
