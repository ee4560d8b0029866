"""Pictures of one chip: layers, pulses, placement, confusion, as PNG bytes. Reads no file."""

from __future__ import annotations

import numpy as np

from hil.experiment_results import ExperimentResult
from hil.experiment_words import age_text, method_text
from hil.report_figure import INK, METHOD_COLOURS, PANEL_INCH, png_bytes, single_figure
from hil.report_placement import draw_placement

__all__ = ["plot_confusion", "plot_layers", "plot_placement", "plot_pulses"]

MANY_CLASSES = 20
"""Classes beyond which a confusion matrix shows no counts and no names."""


def plot_pulses(result: ExperimentResult) -> bytes:
    """Draw how many devices took how many pulses, by method."""
    figure, axis = single_figure(PANEL_INCH)
    for method in result.methods:
        counts = np.asarray(method.pulses_histogram, np.float64)
        name = method_text(method.method)
        axis.stairs(
            100 * counts / counts.sum(),
            np.arange(counts.size + 1) - 0.5,
            color=METHOD_COLOURS.get(method.method, INK),
            linewidth=1.8,
            label=f"{name}: mean {method.pulses_per_device:.1f}, most {method.pulses_max}",
        )
    axis.set_yscale("log")
    axis.set_xlabel("pulses on one device")
    axis.set_ylabel("share of devices, %")
    axis.legend(frameon=False, fontsize=8)
    return png_bytes(figure)


def plot_layers(result: ExperimentResult) -> bytes:
    """Draw the MVM error layer by layer, by method: judged compensation, first and last age."""
    names = list(dict.fromkeys(p.layer for p in result.layers))
    figure, axis = single_figure((max(4.2, 1.0 + 0.5 * len(names)), 3.1))
    methods = [method.method for method in result.methods]
    ages = sorted({result.ages_s[0], result.ages_s[-1]})
    width = 0.8 / (len(methods) * len(ages))
    for m, method in enumerate(methods):
        for a, age in enumerate(ages):
            compensation = result.goal_compensation
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
                color=METHOD_COLOURS.get(method, INK),
                alpha=1.0 if a == len(ages) - 1 else 0.45,
                label=f"{method_text(method)}, {age_text(age)}",
            )
    axis.set_xticks(np.arange(len(names)), names, rotation=35, ha="right", fontsize=8)
    axis.set_ylabel("MVM error, %")
    axis.set_ylim(0, max(0.1, axis.get_ylim()[1] * 1.25))
    axis.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper left")
    return png_bytes(figure)


def plot_placement(result: ExperimentResult) -> bytes:
    """Draw where the layers lie on the cores, to scale, round by round if written in turn."""
    return draw_placement(result.plan.placements)


def plot_confusion(result: ExperimentResult) -> bytes:
    """Draw the confusion matrix of the judged method at the last age."""
    table = np.asarray(result.confusion)
    side = 3.3 + 0.12 * max(0, min(table.shape[0], MANY_CLASSES) - 10)
    figure, axis = single_figure((side + 0.4, side + 0.2))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if table.shape[0] <= MANY_CLASSES:
        for (row, col), count in np.ndenumerate(table):
            if count:
                axis.text(
                    col,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if shares[row, col] > 0.5 else INK,
                )
        axis.set_xticks(range(table.shape[1]), result.class_names, rotation=45, ha="right")
        axis.set_yticks(range(table.shape[0]), result.class_names)
    axis.grid(visible=False)
    axis.set_xlabel("answer of the chip")
    axis.set_ylabel("true class")
    return png_bytes(figure)
