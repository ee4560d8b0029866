"""The picture of a placement: every block named or numbered inside itself, cells left stated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hil.mapping import CoreSize, PlacedBlock, Placement, place_blocks, place_in_rounds, tile_matrix
from hil.report_placement import draw_placement, placement_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

RESNET = {
    "conv0": (27, 28),
    **{f"conv{k}": (252, 28) for k in (1, 2, 3, 4)},
    "conv5": (252, 56),
    "conv6": (504, 56),
    "conv7": (504, 56),
    "dense": (56, 10),
}
SPOTTER = {
    "conv0": (40, 84),
    "conv1": (756, 112),
    "conv2": (1008, 84),
    "conv3": (756, 84),
    "conv4": (756, 84),
    "dense": (84, 12),
}
HERMES = (CoreSize(rows=256, cols=256),) * 2
AON = (CoreSize(rows=1024, cols=512),)
SMALLEST_POINTS = 5.5


def placed(layers: dict[str, tuple[int, int]], cores: tuple[CoreSize, ...]) -> list[Placement]:
    tiles = [
        tile
        for name, (rows, cols) in layers.items()
        for tile in tile_matrix(name, rows, cols, max_rows=cores[0].rows, max_cols=cores[0].cols)
    ]
    return [place_blocks(tiles, cores)]


def boxes(figure: Figure) -> list[list[Rectangle]]:
    return [list(axis.patches) for axis in figure.axes if axis.axison]


@pytest.mark.parametrize(
    ("layers", "cores"), [(RESNET, HERMES), (SPOTTER, AON)], ids=["hermes", "aon"]
)
def test_every_block_is_there_to_scale_and_says_which_layer_it_is(
    layers: dict[str, tuple[int, int]], cores: tuple[CoreSize, ...]
) -> None:
    (placement,) = placed(layers, cores)
    figure = placement_figure([placement])
    names = list(layers)
    for core, axis in enumerate(figure.axes):
        wanted = [b for b in placement.blocks if b.core == core]
        drawn = [(r.get_xy(), r.get_width(), r.get_height()) for r in boxes(figure)[core]]
        assert drawn == [((b.core_col, b.core_row), b.cols, b.rows) for b in wanted]
        for block, text in zip(wanted, axis.texts, strict=True):
            number = str(names.index(block.layer) + 1)
            assert text.get_text() in (number, f"{number} {block.layer}")
            assert text.get_fontsize() >= SMALLEST_POINTS
            col, row = text.get_position()
            assert block.core_col < col < block.core_col + block.cols
            assert block.core_row < row < block.core_row + block.rows
        used = sum(b.cells for b in wanted)
        assert f"{used:,} cells used, {cores[core].cells - used:,} left" in axis.get_title()
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [re.match(r"\d+ (\w+)", words).group(1) for words in key[:-1]] == names
    assert key[-1] == "free cells"


@pytest.mark.parametrize(
    ("layers", "cores"), [(RESNET, HERMES), (SPOTTER, AON)], ids=["hermes", "aon"]
)
def test_names_do_not_leave_their_blocks(
    layers: dict[str, tuple[int, int]], cores: tuple[CoreSize, ...]
) -> None:
    figure = placement_figure(placed(layers, cores))
    figure.draw_without_rendering()
    for axis, rectangles in zip(figure.axes, boxes(figure), strict=True):
        for rectangle, text in zip(rectangles, axis.texts, strict=True):
            if " " not in text.get_text():
                continue  # a number may be larger than a block of a few cells
            inside, outside = text.get_window_extent(), rectangle.get_window_extent()
            slack = 2.0  # px
            assert outside.x0 - slack <= inside.x0 <= inside.x1 <= outside.x1 + slack
            assert outside.y0 - slack <= inside.y0 <= inside.y1 <= outside.y1 + slack


def test_layers_differ_by_tint_or_hatch() -> None:
    figure = placement_figure(placed(RESNET, HERMES))
    looks = {
        (handle.get_facecolor(), handle.get_hatch()) for handle in figure.legends[0].legend_handles
    }
    assert len(looks) == len(RESNET) + 1  # and the free cells


def test_rounds_are_shown_one_by_one_and_what_is_not_shown_is_counted() -> None:
    tiles = tile_matrix("a", 2016, 224, max_rows=256, max_cols=256)
    rounds = place_in_rounds(tiles, HERMES)
    figure = placement_figure(rounds)
    titles = [axis.get_title().splitlines()[0] for axis in figure.axes if axis.axison]
    assert titles == [f"round {k}, core {core}" for k in (1, 2, 3, 4) for core in (0, 1)]
    many = placement_figure(rounds * 10)
    assert "32 more arrays are not shown" in many.legends[0].get_texts()[-1].get_text()


def test_a_core_without_blocks_is_shown_free_and_the_picture_repeats() -> None:
    block = PlacedBlock(layer="only", row=0, col=0, rows=3, cols=2, core=0, core_row=0, core_col=0)
    placement = Placement(cores=HERMES, blocks=(block,))
    figure = placement_figure([placement])
    assert "0 cells used, 65,536 left" in figure.axes[1].get_title()
    assert draw_placement([placement]) == draw_placement([placement])
    assert np.prod(figure.get_size_inches()) < 100
