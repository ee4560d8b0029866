"""Where each block of each layer lies on the cores. Knows sizes and names; touches no core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hil.core import Window
from hil.errors import RequestError
from hil.mapping.packing import FIT_RULES, FreeSpace, Rect
from hil.mapping.tiling import Block

__all__ = ["CoreSize", "PlacedBlock", "Placement", "place_blocks", "place_in_rounds"]


class CoreSize(BaseModel):
    """Rows and cols of one array."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=1)
    cols: int = Field(ge=1)

    @property
    def cells(self) -> int:
        """Cells of the array."""
        return self.rows * self.cols


class PlacedBlock(BaseModel):
    """A block of a layer's matrix and its place.

    Attributes:
        layer: Name of the layer.
        row, col: First row and col in the layer's matrix.
        rows, cols: Size.
        core: Core index.
        core_row, core_col: First row and col in the array.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    row: int = Field(ge=0)
    col: int = Field(ge=0)
    rows: int = Field(ge=1)
    cols: int = Field(ge=1)
    core: int = Field(ge=0)
    core_row: int = Field(ge=0)
    core_col: int = Field(ge=0)

    @property
    def cells(self) -> int:
        """Cells it takes."""
        return self.rows * self.cols

    @property
    def window(self) -> Window:
        """Its place as a window of the core's array."""
        return Window(row=self.core_row, col=self.core_col, rows=self.rows, cols=self.cols)


class Placement(BaseModel):
    """Blocks on cores, none overlapping and none outside its array.

    Attributes:
        schema_version: Version of this document.
        cores: Sizes of the arrays, in order.
        blocks: The placed blocks, in the order of the layers, rows and cols.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=1, ge=1, le=1)
    cores: tuple[CoreSize, ...] = Field(min_length=1)
    blocks: tuple[PlacedBlock, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for block in self.blocks:
            if block.core >= len(self.cores):
                raise ValueError(f"block of {block.layer!r} lies on core {block.core}, not there")
            size = self.cores[block.core]
            if block.core_row + block.rows > size.rows or block.core_col + block.cols > size.cols:
                raise ValueError(f"block of {block.layer!r} leaves the array of core {block.core}")
        for a, b in combinations(self.blocks, 2):
            if a.core == b.core and _rect(a).overlaps(_rect(b)):
                raise ValueError(f"blocks of {a.layer!r} and {b.layer!r} overlap on core {a.core}")
        return self

    @property
    def cells(self) -> int:
        """Cells of all arrays."""
        return sum(core.cells for core in self.cores)

    @property
    def cells_used(self) -> int:
        """Cells taken by blocks."""
        return sum(block.cells for block in self.blocks)

    @property
    def utilisation(self) -> float:
        """Share of all cells that is used."""
        return self.cells_used / self.cells

    def of(self, layer: str) -> tuple[PlacedBlock, ...]:
        """Return the blocks of one layer."""
        return tuple(block for block in self.blocks if block.layer == layer)

    def cycles(self, layer: str) -> int:
        """Count the array cycles of one input vector if one cycle reads all that it can.

        Blocks that lie on the same rows of a core and take the same inputs need one together.
        """
        return len({(b.core, b.core_row, b.row, b.rows) for b in self.of(layer)})


def place_blocks(blocks: Sequence[Block], cores: Sequence[CoreSize]) -> Placement:
    """Place blocks on cores without overlap; the same blocks always get the same places.

    Whole blocks are tried first, in several orders. If none works, blocks are cut further where
    free space asks for it, so that a network fits whenever it has no more cells than the cores.

    Raises:
        RequestError: There are more weights than free cells.
    """
    _check_layers(blocks, cores)
    for order in _orders(blocks):
        for rule in FIT_RULES:
            space = FreeSpace((c.rows, c.cols) for c in cores)
            placed: list[PlacedBlock] = []
            for block in order:
                rect = space.take(block.rows, block.cols, rule)
                if rect is None:
                    break
                placed.append(_placed(block, rect))
            else:
                return _document(placed, blocks, cores)
    return _document(_place_cut(blocks, cores), blocks, cores)


def place_in_rounds(blocks: Sequence[Block], cores: Sequence[CoreSize]) -> list[Placement]:
    """Place blocks over as many rounds of the same cores as needed, whole blocks only.

    Raises:
        RequestError: A block is larger than every core (tile it first).
    """
    rounds: list[Placement] = []
    waiting = sorted(blocks, key=lambda b: (-b.cells, -b.rows, b.layer, b.row, b.col))
    while waiting:
        space = FreeSpace((c.rows, c.cols) for c in cores)
        placed: list[PlacedBlock] = []
        left: list[Block] = []
        for block in waiting:
            rect = space.take(block.rows, block.cols, FIT_RULES[0])
            if rect is None:
                left.append(block)
            else:
                placed.append(_placed(block, rect))
        if not placed:
            first = waiting[0]
            raise RequestError(
                f"block {first.rows} x {first.cols} of layer {first.layer!r} is larger than every "
                f"core ({_sizes(cores)}); tile it first"
            )
        rounds.append(_document(placed, blocks, cores))
        waiting = left
    return rounds


def _check_layers(blocks: Sequence[Block], cores: Sequence[CoreSize]) -> None:
    free = sum(core.cells for core in cores)
    need = sum(block.cells for block in blocks)
    if need <= free:
        return
    sizes: dict[str, tuple[int, int, int]] = {}
    for block in blocks:
        rows, cols, cells = sizes.get(block.layer, (0, 0, 0))
        sizes[block.layer] = (
            max(rows, block.row + block.rows),
            max(cols, block.col + block.cols),
            cells + block.cells,
        )
    left = free
    for layer, (rows, cols, cells) in sizes.items():
        if cells > left:
            raise RequestError(
                f"layer {layer!r} ({rows} x {cols}, {cells} cells) does not fit: {left} of {free} "
                f"cells are left for it ({_sizes(cores)}) and {need} are needed in all: "
                f'{need - free} are missing; plan = "reprogram" runs it, layers written in turn, '
                "and so does a chip with more cores",
                layer=layer,
                rows=rows,
                cols=cols,
                free=left,
                cells=free,
                needed=need,
                missing=need - free,
            )
        left -= cells


def _orders(blocks: Sequence[Block]) -> list[list[Block]]:
    place = [(b.layer, b.row, b.col) for b in blocks]
    index = range(len(blocks))
    keys = (
        lambda k: (-blocks[k].rows, -blocks[k].cols, *place[k]),
        lambda k: (-blocks[k].cells, *place[k]),
        lambda k: (-blocks[k].cols, -blocks[k].rows, *place[k]),
        lambda k: (-max(blocks[k].rows, blocks[k].cols), *place[k]),
    )
    return [[blocks[k] for k in sorted(index, key=key)] for key in keys]


def _place_cut(blocks: Sequence[Block], cores: Sequence[CoreSize]) -> list[PlacedBlock]:
    space = FreeSpace((c.rows, c.cols) for c in cores)
    waiting = list(reversed(_orders(blocks)[0]))
    placed: list[PlacedBlock] = []
    while waiting:
        block = waiting.pop()
        rect = space.take(block.rows, block.cols, FIT_RULES[0]) or space.take_part(
            block.rows, block.cols
        )
        if rect is None:  # pragma: no cover - _check_layers has counted the cells
            raise RequestError(f"no cell is free for layer {block.layer!r}")
        part = Block(
            layer=block.layer, row=block.row, col=block.col, rows=rect.rows, cols=rect.cols
        )
        placed.append(_placed(part, rect))
        if rect.cols < block.cols:
            waiting.append(
                Block(
                    layer=block.layer,
                    row=block.row,
                    col=block.col + rect.cols,
                    rows=block.rows,
                    cols=block.cols - rect.cols,
                )
            )
        if rect.rows < block.rows:
            waiting.append(
                Block(
                    layer=block.layer,
                    row=block.row + rect.rows,
                    col=block.col,
                    rows=block.rows - rect.rows,
                    cols=rect.cols,
                )
            )
    return placed


def _placed(block: Block, rect: Rect) -> PlacedBlock:
    return PlacedBlock(
        layer=block.layer,
        row=block.row,
        col=block.col,
        rows=block.rows,
        cols=block.cols,
        core=rect.core,
        core_row=rect.row,
        core_col=rect.col,
    )


def _rect(block: PlacedBlock) -> Rect:
    return Rect(block.core, block.core_row, block.core_col, block.rows, block.cols)


def _document(
    placed: Sequence[PlacedBlock], blocks: Sequence[Block], cores: Sequence[CoreSize]
) -> Placement:
    order = {name: k for k, name in enumerate(dict.fromkeys(b.layer for b in blocks))}
    in_order = sorted(placed, key=lambda b: (order[b.layer], b.row, b.col))
    return Placement(cores=tuple(cores), blocks=tuple(in_order))


def _sizes(cores: Sequence[CoreSize]) -> str:
    kinds = dict.fromkeys((c.rows, c.cols) for c in cores)
    count = {kind: sum((c.rows, c.cols) == kind for c in cores) for kind in kinds}
    return ", ".join(f"{n} core{'s' * (n > 1)} of {r} x {c}" for (r, c), n in count.items())
