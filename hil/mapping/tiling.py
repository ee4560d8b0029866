"""Cut a matrix of any size into blocks that fit one core. Sizes only; knows no places."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import RequestError

__all__ = ["Block", "balanced_lengths", "tile_matrix"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A rectangle of a layer's matrix: rows row .. row+rows-1, cols col .. col+cols-1."""

    layer: str
    row: int
    col: int
    rows: int
    cols: int

    @property
    def cells(self) -> int:
        """Cells it takes."""
        return self.rows * self.cols


def balanced_lengths(total: int, largest: int) -> list[int]:
    """Split `total` into the fewest parts of at most `largest`, equal to within one, larger first.

    Equal parts keep the error of every partial sum alike: 504 rows become 252 + 252.
    """
    if total < 1 or largest < 1:
        raise RequestError(f"cannot split {total} lines into parts of at most {largest}")
    parts = -(-total // largest)
    base, extra = divmod(total, parts)
    return [base + 1] * extra + [base] * (parts - extra)


def tile_matrix(layer: str, rows: int, cols: int, *, max_rows: int, max_cols: int) -> list[Block]:
    """Cut a (rows, cols) matrix into balanced blocks of at most (max_rows, max_cols)."""
    blocks: list[Block] = []
    row = 0
    for height in balanced_lengths(rows, max_rows):
        col = 0
        for width in balanced_lengths(cols, max_cols):
            blocks.append(Block(layer=layer, row=row, col=col, rows=height, cols=width))
            col += width
        row += height
    return blocks
