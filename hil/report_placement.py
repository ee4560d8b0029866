"""Where layers lie in the arrays, as PNG bytes. Draws from placements; reads no file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.mapping import CoreSize, PlacedBlock, Placement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_placement", "placement_figure"]

# Tints of Okabe & Ito (2008), told apart by colour-blind readers; dark ink stays legible on all.
_TINTS = ("#8fc1e3", "#f6d186", "#8fd6bd", "#e9bdd6", "#f2a97e", "#d9d27a", "#c9c9c9", "#b9a7d9")
_HATCHES = ("", "////", "....")
"""Tells layers of the same tint apart."""
_INK, _FREE, _EDGE = "#222222", "#f4f4f4", "#555555"
_DOTS_PER_INCH = 130
_POINTS_PER_INCH = 72
_LETTER = 0.62
"""Width of a letter over its height, about."""
_LARGEST_POINTS, _SMALLEST_POINTS = 8.5, 5.5
_PANEL_INCH, _TALL_INCH, _SMALL_INCH = 3.3, 4.6, 1.5
"""Height of an array: square ones, taller ones, and where many rounds are shown."""
_PANELS_PER_ROW = 6
_MOST_PANELS = 48


@dataclass(frozen=True, kw_only=True)
class _Panel:
    round: int
    core: int
    size: CoreSize
    blocks: tuple[PlacedBlock, ...]


def draw_placement(placements: Sequence[Placement]) -> bytes:
    """Draw `placement_figure` as PNG bytes."""
    buffer = io.BytesIO()
    figure = placement_figure(placements)
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def placement_figure(placements: Sequence[Placement]) -> Figure:
    """Draw the blocks of every layer on their cores, to scale; free cells stay blank.

    One placement shows every core, several show the cores that each round uses. A block that is
    too small for its layer's name carries the layer's number; the key below lists both.
    """
    panels = _panels(placements)
    shown, left = panels[:_MOST_PANELS], len(panels) - _MOST_PANELS
    names = list(dict.fromkeys(b.layer for p in placements for b in p.blocks))
    height = _height(placements)
    columns = min(len(shown), _PANELS_PER_ROW)
    figure, axes = _figure(shown, columns, height, names)
    for axis, panel in zip(axes, shown, strict=False):
        _draw(axis, panel, names, height, rounds=len(placements))
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    for axis in axes[: len(shown) : columns]:
        axis.set_ylabel("row", fontsize=8)
    _key(figure, names, placements, more=max(0, left))
    return figure


def _panels(placements: Sequence[Placement]) -> list[_Panel]:
    return [
        _Panel(round=number, core=core, size=size, blocks=blocks)
        for number, placement in enumerate(placements)
        for core, size in enumerate(placement.cores)
        if (blocks := tuple(b for b in placement.blocks if b.core == core)) or len(placements) == 1
    ]


def _height(placements: Sequence[Placement]) -> float:
    if len(placements) > 1:
        return _SMALL_INCH
    tallest = max(size.rows / size.cols for size in placements[0].cores)
    return _TALL_INCH if tallest > 1.2 else _PANEL_INCH


def _figure(
    panels: Sequence[_Panel], columns: int, height: float, names: Sequence[str]
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    widest = max(p.size.cols / p.size.rows for p in panels)
    lines = math.ceil(len(panels) / columns)
    key_inch = 0.16 * math.ceil(len(names) / _key_columns(columns, height, widest)) + 0.2
    around = 0.75 if height == _SMALL_INCH else 0.95  # titles, ticks and axis labels
    size = (columns * (height * widest + 0.55) + 0.3, lines * (height + around) + key_inch)
    figure = Figure(figsize=(max(size[0], 3.6), size[1]), layout="constrained")
    axes: list[Any] = list(np.atleast_1d(np.asarray(figure.subplots(lines, columns))).ravel())
    return figure, axes


def _draw(axis: Axes, panel: _Panel, names: Sequence[str], height: float, *, rounds: int) -> None:
    from matplotlib.patches import Rectangle

    points_per_cell = _POINTS_PER_INCH * height / panel.size.rows
    axis.set_facecolor(_FREE)
    for block in panel.blocks:
        index = names.index(block.layer)
        axis.add_patch(
            Rectangle(
                (block.core_col, block.core_row),
                block.cols,
                block.rows,
                **_style(index),
            )
        )
        _label(axis, block, f"{index + 1}", points_per_cell)
    used = sum(b.cells for b in panel.blocks)
    place = f"core {panel.core}" if rounds == 1 else f"round {panel.round + 1}, core {panel.core}"
    left = f"{used:,} cells used, {panel.size.cells - used:,} left"
    axis.set_title(f"{place}\n{left}", fontsize=8.5 if rounds == 1 else 6.5)
    axis.set_xlim(0, panel.size.cols)
    axis.set_ylim(panel.size.rows, 0)
    axis.set_aspect("equal")
    axis.tick_params(labelsize=7 if rounds == 1 else 5, color=_EDGE)
    if rounds == 1:
        axis.set_xlabel("column", fontsize=8)


def _style(index: int) -> dict[str, Any]:
    return {
        "facecolor": _TINTS[index % len(_TINTS)],
        "hatch": _HATCHES[index // len(_TINTS) % len(_HATCHES)],
        "edgecolor": _EDGE,
        "linewidth": 0.7,
    }


def _label(axis: Axes, block: PlacedBlock, number: str, points_per_cell: float) -> None:
    """Write the layer's name along the longer side, or its number where the name is too long."""
    from matplotlib.patheffects import withStroke

    upright = block.rows > 1.3 * block.cols
    sides = (block.rows, block.cols) if upright else (block.cols, block.rows)
    along, across = (0.9 * side * points_per_cell for side in sides)

    def fitting(text: str) -> float:
        return min(_LARGEST_POINTS, across, along / (_LETTER * len(text)))

    name = f"{number} {block.layer}"
    size, text, angle = fitting(name), name, 90 if upright else 0
    if size < _SMALLEST_POINTS:
        size, text, angle = max(_SMALLEST_POINTS, fitting(number)), number, 0
    axis.text(
        block.core_col + block.cols / 2,
        block.core_row + block.rows / 2,
        text,
        rotation=angle,
        ha="center",
        va="center",
        fontsize=size,
        color=_INK,
        path_effects=[withStroke(linewidth=1.5, foreground="white", alpha=0.8)],
    )


def _key(
    figure: Figure, names: Sequence[str], placements: Sequence[Placement], *, more: int
) -> None:
    from matplotlib.patches import Patch

    handles = []
    for index, name in enumerate(names):
        sizes = [f"{b.rows} × {b.cols}" for p in placements for b in p.of(name)]
        words = f"{index + 1} {name}: {sizes[0]}"
        if len(sizes) > 1:
            same = len(set(sizes)) == 1
            words = f"{index + 1} {name}: {len(sizes)} blocks" + same * f" of {sizes[0]}"
        handles.append(Patch(**_style(index), label=words))
    free = "free cells" + (f"; {more} more arrays are not shown" if more else "")
    handles.append(Patch(facecolor=_FREE, edgecolor=_EDGE, linewidth=0.7, label=free))
    width = figure.get_figwidth()
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, int(width / 1.75)),
        frameon=False,
        fontsize=7,
        handlelength=1.2,
        columnspacing=1.0,
    )


def _key_columns(columns: int, height: float, widest: float) -> int:
    return max(1, int((columns * (height * widest + 0.55) + 0.3) / 1.75))
