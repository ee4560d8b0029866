"""In which order the cells of a crossbar are joined to blocks, and which ports meet. No numbers.

Nested dissection: blocks are joined two by two (or three, five, seven) until one is left, and stay
near square, so that a block of p x q cells has only the 2 (p + q) ports of the lines that leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "Face", "Join", "Plan", "Side"]

_RADICES = (7, 5, 3, 2)
"""Blocks of a level that make one; sizes are padded to products of these, a few per cent up."""


class Side(IntEnum):
    """A side of a block. Its ports, inputs and outputs alike, come in the order of the sides."""

    LEFT = 0
    RIGHT = 1
    TOP = 2
    BOTTOM = 3


class Face(Enum):
    """Where a block b is joined to a block a: the side of a, and the side of b."""

    BESIDE = (Side.RIGHT, Side.LEFT)
    BELOW = (Side.BOTTOM, Side.TOP)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block by the word lines and the bit lines that cross it."""

    lines: int
    cols: int

    @property
    def ports(self) -> int:
        """Number of ports."""
        return 2 * (self.lines + self.cols)

    def of(self, side: Side) -> slice:
        """Return the ports of one side: lines by row, then by word line of the row; or cols."""
        if side < Side.TOP:
            return slice(side * self.lines, (side + 1) * self.lines)
        first = 2 * self.lines + (side - Side.TOP) * self.cols
        return slice(first, first + self.cols)


@dataclass(frozen=True, kw_only=True)
class Join:
    """Block b joined to block a at a face."""

    a: Block
    b: Block
    face: Face

    @property
    def joined(self) -> Block:
        """The block they make."""
        if self.face is Face.BESIDE:
            return Block(lines=self.a.lines, cols=self.a.cols + self.b.cols)
        return Block(lines=self.a.lines + self.b.lines, cols=self.a.cols)

    def a_pieces(self, side: Side) -> tuple[bool, ...]:
        """Return from which blocks a side of the joined one is made, in order; a is True."""
        across = side < Side.TOP
        if across == (self.face is Face.BESIDE):  # the far sides: one block each
            return (side not in self.face.value[:1],)
        return (True, False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All joins of a net.

    Attributes:
        rows, cols: Cells, padded.
        order: Cells (row x cols + col) in the order in which blocks that are joined are neighbours.
        levels: Joins of each level, one after the other: one fewer than blocks that make one.
        whole: The last block.
    """

    rows: int
    cols: int
    order: npt.NDArray[np.int64]
    levels: tuple[tuple[Join, ...], ...]
    whole: Block

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, lines: int, rows: int, cols: int) -> Plan:
        """Plan a net of `rows` with `lines` word lines each and of `cols` bit lines."""
        rows, cols = _padded(rows), _padded(cols)
        faces = _faces(lines, rows, cols)
        whole = Block(lines=lines, cols=1)
        levels = []
        for face, radix in faces:
            one, joins = whole, []
            for _ in range(radix - 1):
                joins.append(Join(a=whole, b=one, face=face))
                whole = joins[-1].joined
            levels.append(tuple(joins))
        order = _order(rows, cols, faces)
        return cls(rows=rows, cols=cols, order=order, levels=tuple(levels), whole=whole)


def _padded(cells: int) -> int:
    while _factors(cells) is None:
        cells += 1
    return cells


def _factors(number: int) -> tuple[int, ...] | None:
    found = []
    for radix in _RADICES:
        while number % radix == 0:
            found.append(radix)
            number //= radix
    return tuple(found) if number == 1 else None


def _faces(lines: int, rows: int, cols: int) -> list[tuple[Face, int]]:
    """Return face and radix of each level, cells first."""
    down, across = list(_factors(rows) or ()), list(_factors(cols) or ())
    faces, high, wide = [], lines, 1
    while down or across:
        if down and (high <= wide or not across):
            faces.append((Face.BELOW, down.pop(0)))
            high *= faces[-1][1]
        else:
            faces.append((Face.BESIDE, across.pop(0)))
            wide *= faces[-1][1]
    return faces


def _order(rows: int, cols: int, faces: list[tuple[Face, int]]) -> npt.NDArray[np.int64]:
    tall = [radix for face, radix in faces if face is Face.BELOW][::-1]
    wide = [radix for face, radix in faces if face is Face.BESIDE][::-1]
    next_axis = {Face.BELOW: len(tall) - 1, Face.BESIDE: len(tall) + len(wide) - 1}
    axes = []
    for face, _ in faces:
        axes.append(next_axis[face])
        next_axis[face] -= 1
    cells = np.arange(rows * cols).reshape((*tall, *wide))
    return cells.transpose(axes[::-1]).reshape(-1)
