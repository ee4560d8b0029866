"""What every picture shares: size, colours, spines, PNG bytes. Knows nothing of what is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COMPENSATION_STYLES",
    "INK",
    "METHOD_COLOURS",
    "METHOD_MARKERS",
    "PANEL_INCH",
    "grid_figure",
    "legend_below",
    "make_figure",
    "png_bytes",
    "single_figure",
]

# Okabe & Ito (2008): told apart by colour-blind readers and in grey.
COMPENSATION_STYLES = {
    "none": ("#999999", "o", "none"),
    "global": ("#56b4e9", "s", "global"),
    "per_column": ("#e69f00", "D", "per column"),
    "affine": ("#0072b2", "^", "affine per column"),
    "batch_norm": ("#d55e00", "v", "batch-norm re-estimation"),
}
"""Colour, marker and name of each drift compensation."""
METHOD_COLOURS = {"verify": "#e69f00", "gdp": "#0072b2", "open_loop": "#999999"}
METHOD_MARKERS = {"verify": "s", "gdp": "o", "open_loop": "D"}
INK, GRID = "#222222", "#dddddd"
DOTS_PER_INCH = 130
PANEL_INCH = (4.2, 3.1)


def single_figure(size_inch: tuple[float, float] = PANEL_INCH) -> tuple[Figure, Axes]:
    """Make a figure of one panel."""
    figure, axes = make_figure(size_inch, 1)
    return figure, axes[0]


def make_figure(size_inch: tuple[float, float], panels: int) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side."""
    return grid_figure(size_inch, 1, panels)


def grid_figure(
    size_inch: tuple[float, float], rows: int, cols: int, *, panels: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Make a figure of rows x cols panels, of which the first so many are there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inch, layout="constrained")
    axes: list[Any] = list(np.ravel(np.asarray(figure.subplots(rows, cols))))
    count = len(axes) if panels is None else panels
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.grid(visible=True, color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, color=GRID)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes[:count]


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend of all panels below them."""
    named = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
