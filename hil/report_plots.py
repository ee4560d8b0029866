"""Pictures of an experiment's results, as PNG bytes. Draws from documents; reads no file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.experiment_results import METHOD_NAMES, ExperimentResult, Spread, age_text, spreads
from hil.mapping import CoreSize, PlacedBlock, Placement
from hil.report_placement import draw_placement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_accuracy",
    "plot_confusion",
    "plot_layers",
    "plot_mvm_error",
    "plot_placement",
    "plot_pulses",
]

# Okabe & Ito (2008): told apart by colour-blind readers and in grey.
_COMPENSATION_STYLES = {
    "none": ("#999999", "o", "none"),
    "global": ("#56b4e9", "s", "global"),
    "per_column": ("#e69f00", "D", "per column"),
    "affine": ("#0072b2", "^", "affine per column"),
    "batch_norm": ("#d55e00", "v", "batch-norm re-estimation"),
}
_METHOD_COLOURS = {"verify": "#e69f00", "gdp": "#0072b2", "open_loop": "#999999"}
_INK, _GRID = "#222222", "#dddddd"
_DOTS_PER_INCH = 130
_PANEL_INCH = (4.2, 3.1)
_NARROW_INCH = 2.7
"""Width of a panel that stands beside others: the page shows pictures in two columns."""


def plot_accuracy(runs: tuple[ExperimentResult, ...]) -> bytes:
    """Draw accuracy against age: a panel per method, a line per compensation, software dashed."""
    rows = spreads(runs)
    figure, axes = _method_panels(runs[0])
    software = 100 * float(np.mean([run.software_accuracy for run in runs]))
    lowest = min(100 * r.accuracy for r in rows)
    for axis, method in zip(axes, _methods(runs[0]), strict=True):
        axis.axhline(software, color=_INK, linestyle="--", linewidth=1.2, label="software")
        _lines(axis, rows, method, "accuracy")
        axis.set_ylim(max(0.0, lowest - 0.08 * (100 - lowest) - 1), 100.6)
    axes[0].set_ylabel("test accuracy, %")
    _legend(figure, axes[0])
    return _png(figure)


def plot_mvm_error(runs: tuple[ExperimentResult, ...]) -> bytes:
    """Draw the mean MVM error of the layers against age, arranged as the accuracy."""
    rows = spreads(runs)
    figure, axes = _method_panels(runs[0])
    for axis, method in zip(axes, _methods(runs[0]), strict=True):
        _lines(axis, rows, method, "mvm_error")
        axis.set_ylim(0, max(0.1, 108 * max(r.mvm_error for r in rows)))  # 0.1: no error at all
    axes[0].set_ylabel("MVM error on test activations, %")
    _legend(figure, axes[0])
    return _png(figure)


def plot_pulses(result: ExperimentResult) -> bytes:
    """Draw how many devices took how many pulses, by method."""
    figure, axis = _single(_PANEL_INCH)
    for method in result.methods:
        counts = np.asarray(method.pulses_histogram, np.float64)
        name = METHOD_NAMES.get(method.method, method.method)
        axis.stairs(
            100 * counts / counts.sum(),
            np.arange(counts.size + 1) - 0.5,
            color=_METHOD_COLOURS.get(method.method, _INK),
            linewidth=1.8,
            label=f"{name}: mean {method.pulses_per_device:.1f}, most {method.pulses_max}",
        )
    axis.set_yscale("log")
    axis.set_xlabel("pulses on one device")
    axis.set_ylabel("share of devices, %")
    axis.legend(frameon=False, fontsize=8)
    return _png(figure)


def plot_layers(result: ExperimentResult) -> bytes:
    """Draw the MVM error layer by layer, by method, best compensation, first and last age."""
    names = list(dict.fromkeys(p.layer for p in result.layers))
    figure, axis = _single((max(4.2, 1.0 + 0.5 * len(names)), 3.1))
    methods = _methods(result)
    ages = sorted({result.ages_s[0], result.ages_s[-1]})
    width = 0.8 / (len(methods) * len(ages))
    for m, method in enumerate(methods):
        for a, age in enumerate(ages):
            compensation = result.best(method, age).compensation
            values = [
                100 * p.mvm_error
                for name in names
                for p in result.layers
                if (p.method, p.age_s, p.compensation, p.layer) == (method, age, compensation, name)
            ]
            left = np.arange(len(names)) - 0.4 + width * (m * len(ages) + a + 0.5)
            axis.bar(
                left,
                values,
                width=0.92 * width,
                color=_METHOD_COLOURS.get(method, _INK),
                alpha=1.0 if a == len(ages) - 1 else 0.45,
                label=f"{METHOD_NAMES.get(method, method)}, {age_text(age)}",
            )
    axis.set_xticks(np.arange(len(names)), names, rotation=35, ha="right", fontsize=8)
    axis.set_ylabel("MVM error, %")
    axis.set_ylim(0, max(0.1, axis.get_ylim()[1] * 1.25))
    axis.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper left")
    return _png(figure)


def plot_placement(result: ExperimentResult) -> bytes:
    """Draw where the layers lie on the cores, to scale."""
    size = CoreSize(rows=result.rows, cols=result.cols)
    cores = 1 + max((place.core for place in result.placement), default=0)
    blocks = tuple(
        PlacedBlock(
            layer=place.layer,
            row=0,
            col=0,
            rows=place.rows,
            cols=place.cols,
            core=place.core,
            core_row=place.row,
            core_col=place.col,
        )
        for place in result.placement
    )
    return draw_placement([Placement(cores=(size,) * cores, blocks=blocks)])


def plot_confusion(result: ExperimentResult) -> bytes:
    """Draw the confusion matrix of the judged method at the last age."""
    figure, axis = _single((3.5, 3.3))
    table = np.asarray(result.confusion)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if table.shape[0] <= 20:
        for (row, col), count in np.ndenumerate(table):
            if count:
                axis.text(
                    col,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if shares[row, col] > 0.5 else _INK,
                )
        axis.set_xticks(range(table.shape[1]))
        axis.set_yticks(range(table.shape[0]))
    axis.grid(visible=False)
    axis.set_xlabel("answer of the chip")
    axis.set_ylabel("true class")
    return _png(figure)


def _methods(result: ExperimentResult) -> list[str]:
    return [method.method for method in result.methods]


def _method_panels(result: ExperimentResult) -> tuple[Figure, list[Axes]]:
    methods = _methods(result)
    width = _PANEL_INCH[0] if len(methods) == 1 else _NARROW_INCH
    height = _PANEL_INCH[1] + 0.45
    figure, axes = _figure((0.4 + width * len(methods), height), len(methods))
    for axis, method in zip(axes, methods, strict=True):
        axis.set_title(METHOD_NAMES.get(method, method), fontsize=10)
        axis.set_xticks(range(len(result.ages_s)), [age_text(a) for a in result.ages_s])
        axis.set_xlim(-0.3, len(result.ages_s) - 0.7)
        axis.set_xlabel("time since calibration")
        if axis is not axes[0]:
            axis.tick_params(labelleft=False)
    return figure, axes


def _lines(axis: Axes, rows: tuple[Spread, ...], method: str, quantity: str) -> None:
    mine = [r for r in rows if r.method == method]
    compensations = list(dict.fromkeys(r.compensation for r in mine))
    for k, compensation in enumerate(compensations):
        colour, marker, name = _COMPENSATION_STYLES.get(compensation, (_INK, "o", compensation))
        line = sorted((r for r in mine if r.compensation == compensation), key=lambda r: r.age_s)
        shift = 0.04 * (k - (len(compensations) - 1) / 2)
        halves = [getattr(r, f"{quantity}_half") for r in line]
        axis.errorbar(
            np.arange(len(line)) + shift,
            [100 * getattr(r, quantity) for r in line],
            yerr=None if None in halves else [100 * h for h in halves],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            capsize=2.5,
            label=name,
        )


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )


def _single(size_inch: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, axes = _figure(size_inch, 1)
    return figure, axes[0]


def _figure(size_inch: tuple[float, float], panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inch, layout="constrained")
    axes: list[Any] = list(np.atleast_1d(np.asarray(figure.subplots(1, panels))))
    for axis in axes:
        axis.grid(visible=True, color=_GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, color=_GRID)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
