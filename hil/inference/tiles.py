"""Cut layers into blocks for the cores of a chip, leave out what is all zero, and place them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hil.mapping import Block, CoreSize, Placement, place_blocks, place_in_rounds, tile_matrix

if TYPE_CHECKING:
    from hil.inference.plan import AnalogLayer, NetworkPlan

__all__ = ["layer_tiles", "place_in_turn", "place_resident"]


def place_resident(plan: NetworkPlan, cores: Sequence[CoreSize]) -> Placement:
    """Place every layer of a network on the cores at once.

    Raises:
        RequestError: There are more weights than cells.
    """
    tiles = [tile for layer in plan.layers.values() for tile in layer_tiles(layer, cores)]
    return place_blocks(tiles, cores)


def place_in_turn(plan: NetworkPlan, cores: Sequence[CoreSize]) -> dict[str, list[Placement]]:
    """Place each layer of a network on empty cores, over as many rounds as it takes."""
    return {
        name: place_in_rounds(layer_tiles(layer, cores), cores)
        for name, layer in plan.layers.items()
    }


def layer_tiles(layer: AnalogLayer, cores: Sequence[CoreSize]) -> list[Block]:
    """Return the blocks of a layer that hold weights, each no larger than its non-zero weights.

    A grouped convolution is a block-diagonal matrix: zeros beside the diagonal add nothing to the
    product but noise, so they take no cells. A layer without any weight keeps one cell.
    """
    tiles = tile_matrix(
        layer.name,
        layer.rows,
        layer.cols,
        max_rows=max(core.rows for core in cores),
        max_cols=max(core.cols for core in cores),
    )
    kept = [block for tile in tiles if (block := _cropped(tile, layer)) is not None]
    return kept or [Block(layer=layer.name, row=0, col=0, rows=1, cols=1)]


def _cropped(tile: Block, layer: AnalogLayer) -> Block | None:
    weights = layer.encoded.fraction[
        tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols
    ]
    rows, cols = (np.flatnonzero(weights.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return None
    return Block(
        layer=tile.layer,
        row=tile.row + int(rows[0]),
        col=tile.col + int(cols[0]),
        rows=int(rows[-1] - rows[0]) + 1,
        cols=int(cols[-1] - cols[0]) + 1,
    )
