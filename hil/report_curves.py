"""Pictures over time: accuracy, MVM error, method against method, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil.experiment_results import ExperimentResult, RepeatedResult, Spread, spreads
from hil.experiment_words import age_text, method_text
from hil.report_figure import (
    COMPENSATION_STYLES,
    INK,
    METHOD_COLOURS,
    METHOD_MARKERS,
    PANEL_INCH,
    grid_figure,
    legend_below,
    png_bytes,
    single_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_accuracy", "plot_differences", "plot_mvm_error"]

MANY_LINES = 4
"""Lines beyond which each compensation gets a panel of its own."""
MANY_TICKS = 5
PANEL_COLS = 2
LOG_PART = 0.6
"""Decades of the axis between 0 s and the first later age."""
DODGE = 0.05
"""Distance between lines side by side, decades."""

_Dash = str | tuple[int, tuple[int, ...]]

_DASHES: tuple[_Dash, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line: values and half-widths by age, in percent."""

    label: str
    colour: str
    marker: str
    dash: _Dash
    values: list[float]
    below: list[float] | None
    above: list[float] | None


def plot_accuracy(runs: tuple[ExperimentResult, ...]) -> bytes:
    """Draw accuracy against age: a line per method, software dashed; panels by compensation."""
    rows = spreads(runs)
    figure, axes = _panels(runs[0], rows, "accuracy")
    software = 100 * float(np.mean([run.software_accuracy for run in runs]))
    lows = [100 * (r.accuracy - (r.accuracy_half or 0.0)) for r in rows]
    highs = [100 * (r.accuracy + (r.accuracy_half or 0.0)) for r in rows]
    low, high = min(*lows, software), max(*highs, software)
    room = 0.06 * (high - low) + 0.1
    for axis in axes:
        axis.axhline(software, color=INK, linestyle="--", linewidth=1.2, label="software")
        axis.set_ylim(max(-0.1, low - room), min(100.1, high + room))
        axis.set_ylabel("test accuracy, %")
    legend_below(figure, axes)
    return png_bytes(figure)


def plot_mvm_error(runs: tuple[ExperimentResult, ...]) -> bytes:
    """Draw the mean MVM error of the layers against age, arranged as the accuracy."""
    rows = spreads(runs)
    figure, axes = _panels(runs[0], rows, "mvm_error")
    for axis in axes:
        axis.set_ylim(0, max(0.1, 108 * max(r.mvm_error for r in rows)))  # 0.1: no error at all
        axis.set_ylabel("MVM error, %")
    legend_below(figure, axes)
    return png_bytes(figure)


def plot_differences(found: ExperimentResult | RepeatedResult) -> bytes:
    """Draw by how many points the judged method beats another one: a line per compensation."""
    rows = found.differences
    ages = sorted({d.age_s for d in rows})
    figure, axis = single_figure(PANEL_INCH)
    others = list(dict.fromkeys(d.to_method for d in rows))
    lines = []
    for k, other in enumerate(others):
        for compensation in dict.fromkeys(d.compensation for d in rows):
            mine = [d for d in rows if (d.to_method, d.compensation) == (other, compensation)]
            paired = [d.paired for d in sorted(mine, key=lambda d: d.age_s)]
            colour, marker, name = COMPENSATION_STYLES.get(compensation, (INK, "o", compensation))
            lines.append(
                _Line(
                    label=name if len(others) == 1 else f"{name}, over {method_text(other)}",
                    colour=colour,
                    marker=marker,
                    dash=_DASHES[k],
                    values=[100 * p.mean for p in paired],
                    below=[max(0.0, 100 * (p.mean - p.low)) for p in paired],
                    above=[max(0.0, 100 * (p.high - p.mean)) for p in paired],
                )
            )
    axis.axhline(0.0, color=INK, linewidth=1.2)
    _draw(axis, ages, lines)
    other = method_text(others[0]) if len(others) == 1 else "the other"
    axis.set_ylabel(f"{method_text(rows[0].method)}\nminus {other}, points")
    legend_below(figure, [axis])
    return png_bytes(figure)


def _panels(
    result: ExperimentResult, rows: Sequence[Spread], quantity: str
) -> tuple[Figure, list[Axes]]:
    """One panel with every line, or one per compensation with a line per method."""
    ways = [(m.method, c) for c in result.compensations for m in result.methods]
    if len(ways) <= MANY_LINES:
        figure, axis = single_figure(PANEL_INCH)
        several = len(result.compensations) > 1
        dashes = dict(zip(result.compensations, _DASHES, strict=False))
        _draw(
            axis,
            result.ages_s,
            [_line(rows, *way, quantity, dash=dashes[way[1]], named=several) for way in ways],
        )
        return figure, [axis]
    count = len(result.compensations)
    height = -(-count // PANEL_COLS)
    figure, axes = grid_figure(
        (5.8, 0.5 + 2.1 * height), height, min(count, PANEL_COLS), panels=count
    )
    for axis, compensation in zip(axes, result.compensations, strict=True):
        _draw(
            axis,
            result.ages_s,
            [_line(rows, m.method, compensation, quantity) for m in result.methods],
        )
        name = COMPENSATION_STYLES.get(compensation, (INK, "o", compensation))[2]
        axis.set_title(f"compensation: {name}", fontsize=9)
    return figure, axes


def _line(
    rows: Sequence[Spread],
    method: str,
    compensation: str,
    quantity: str,
    *,
    dash: _Dash = "-",
    named: bool = False,
) -> _Line:
    mine = sorted(
        (r for r in rows if (r.method, r.compensation) == (method, compensation)),
        key=lambda r: r.age_s,
    )
    halves = [getattr(r, f"{quantity}_half") for r in mine]
    known = None if None in halves else [100 * half for half in halves]
    name = COMPENSATION_STYLES.get(compensation, (INK, "o", compensation))[2]
    return _Line(
        label=method_text(method) + (f", {name}" if named else ""),
        colour=METHOD_COLOURS.get(method, INK),
        marker=METHOD_MARKERS.get(method, "o"),
        dash=dash,
        values=[100 * getattr(r, quantity) for r in mine],
        below=known,
        above=known,
    )


def _draw(axis: Axes, ages_s: Sequence[float], lines: Sequence[_Line]) -> None:
    """Draw lines over log time, 0 s at the left end."""
    places = _places(ages_s)
    for k, line in enumerate(lines):
        bars = None if line.below is None else np.array([line.below, line.above])
        axis.errorbar(
            places + DODGE * (k - (len(lines) - 1) / 2),
            line.values,
            yerr=bars,
            color=line.colour,
            marker=line.marker,
            linestyle=line.dash,
            markersize=4.5,
            linewidth=1.5,
            capsize=2.5,
            label=line.label,
        )
    shown = _ticks(len(ages_s))
    axis.set_xticks(places[shown], [age_text(ages_s[k]) for k in shown])
    axis.set_xlim(places[0] - 0.3, places[-1] + 0.3)
    axis.set_xlabel("time since calibration")


def _places(ages_s: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Log10 of the ages; 0 s stands `LOG_PART` decades before the first later one."""
    later = [age for age in ages_s if age > 0]
    first = np.log10(later[0]) if later else 0.0
    return np.array([np.log10(age) if age > 0 else first - LOG_PART for age in ages_s])


def _ticks(ages: int) -> list[int]:
    """Choose ages to label: all, or some evenly spread, first and last included."""
    return sorted(set(np.linspace(0, ages - 1, min(ages, MANY_TICKS)).round().astype(int).tolist()))
