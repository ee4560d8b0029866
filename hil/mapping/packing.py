"""Rectangles into arrays without overlap (MaxRects). Geometry only; knows no layers.

Free space is kept as the list of all maximal free rectangles (Jylanki 2010, "A thousand ways to
pack the bin"). Rectangles are never turned: a row of weights must stay an input line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["FIT_RULES", "FreeSpace", "Rect"]


@dataclass(frozen=True, order=True)
class Rect:
    """A rectangle of an array: core index, first row, first col, rows, cols."""

    core: int
    row: int
    col: int
    rows: int
    cols: int

    @property
    def cells(self) -> int:
        """Cells inside."""
        return self.rows * self.cols

    def overlaps(self, other: Rect) -> bool:
        """Whether a cell lies in both."""
        return (
            self.core == other.core
            and self.row < other.row + other.rows
            and other.row < self.row + self.rows
            and self.col < other.col + other.cols
            and other.col < self.col + self.cols
        )

    def contains(self, other: Rect) -> bool:
        """Whether every cell of `other` lies in this one."""
        return (
            self.core == other.core
            and self.row <= other.row
            and self.col <= other.col
            and other.row + other.rows <= self.row + self.rows
            and other.col + other.cols <= self.col + self.cols
        )


Score = tuple[int, ...]
FitRule = Callable[[Rect, int, int], Score]


def _short_side(free: Rect, rows: int, cols: int) -> Score:
    spare = sorted((free.rows - rows, free.cols - cols))
    return (*spare, free.core, free.row, free.col)


def _area(free: Rect, rows: int, cols: int) -> Score:
    return (free.cells - rows * cols, *_short_side(free, rows, cols))


def _corner(free: Rect, rows: int, cols: int) -> Score:
    return (free.core, free.col + cols, free.row + rows)


FIT_RULES: tuple[FitRule, ...] = (_short_side, _area, _corner)
"""Ways to choose among free rectangles; the lowest score wins, ties are broken by place."""


class FreeSpace:
    """The maximal free rectangles of a set of arrays."""

    def __init__(self, sizes: Iterable[tuple[int, int]]) -> None:
        self._free = [Rect(k, 0, 0, rows, cols) for k, (rows, cols) in enumerate(sizes)]

    def take(self, rows: int, cols: int, rule: FitRule) -> Rect | None:
        """Occupy a place for (rows, cols); None if no free rectangle holds it."""
        fits = [f for f in self._free if f.rows >= rows and f.cols >= cols]
        if not fits:
            return None
        best = min(fits, key=lambda f: rule(f, rows, cols))
        return self._occupy(Rect(best.core, best.row, best.col, rows, cols))

    def take_part(self, rows: int, cols: int) -> Rect | None:
        """Occupy a place for as much of (rows, cols) as any place holds; None if all is full."""
        if not self._free:
            return None

        def held(free: Rect) -> tuple[int, int]:
            return min(rows, free.rows), min(cols, free.cols)

        best = max(
            self._free, key=lambda f: (held(f)[0] * held(f)[1], -f.core, -f.row, -f.col, -f.cells)
        )
        return self._occupy(Rect(best.core, best.row, best.col, *held(best)))

    def _occupy(self, taken: Rect) -> Rect:
        whole = [f for f in self._free if not f.overlaps(taken)]
        parts = [p for f in self._free if f.overlaps(taken) for p in _around(f, taken)]
        parts = sorted(set(parts))
        kept = [
            p
            for p in parts
            if not any(w.contains(p) for w in whole)
            and not any(q is not p and q.contains(p) for q in parts)
        ]
        self._free = sorted(whole + kept)
        return taken


def _around(free: Rect, taken: Rect) -> list[Rect]:
    """Return the maximal rectangles of `free` that leave out `taken`."""
    f_row, f_col = free.row + free.rows, free.col + free.cols
    t_row, t_col = taken.row + taken.rows, taken.col + taken.cols
    parts = []
    if taken.row > free.row:
        parts.append(Rect(free.core, free.row, free.col, taken.row - free.row, free.cols))
    if t_row < f_row:
        parts.append(Rect(free.core, t_row, free.col, f_row - t_row, free.cols))
    if taken.col > free.col:
        parts.append(Rect(free.core, free.row, free.col, free.rows, taken.col - free.col))
    if t_col < f_col:
        parts.append(Rect(free.core, free.row, t_col, free.rows, f_col - t_col))
    return parts
