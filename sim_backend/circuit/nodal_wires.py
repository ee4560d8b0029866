"""Resistances and read ends of a crossbar: what a static net is made of besides its devices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Bool
from torch import Tensor

from hil.errors import RequestError

__all__ = ["NetWires", "ReadEnds"]


class ReadEnds(Enum):
    """Where the bit lines end in their converters; the other end is open."""

    BOTTOM = "every col at the last row"
    ALTERNATE = "even cols at the last row, odd cols at the first"


@dataclass(frozen=True, kw_only=True)
class NetWires:
    """Wires of a crossbar. Word lines are driven at col 0 and open at the last col.

    Zero is an ideal wire in each of the four. Neighbouring cells are one segment apart; what lies
    between an end of a line and its first cell is `source_ohm` or `read_ohm`, whole.

    Attributes:
        word_ohm: Word-line resistance from cell to cell, ohm.
        bit_ohm: Bit-line resistance from cell to cell, ohm.
        source_ohm: From the ideal driver to the cell in col 0: driver and lead, ohm.
        read_ohm: From the cell nearest to the converter to the ideal read node, ohm.
        ends: Which end of a bit line is read.
    """

    word_ohm: float = 0.0
    bit_ohm: float = 0.0
    source_ohm: float = 0.0
    read_ohm: float = 0.0
    ends: ReadEnds = ReadEnds.ALTERNATE

    def __post_init__(self) -> None:
        for name in ("word_ohm", "bit_ohm", "source_ohm", "read_ohm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise RequestError(f"{name} {value} is no resistance; give 0 (ideal) or more ohm")

    @classmethod
    def uniform(cls, ohm: float, ends: ReadEnds = ReadEnds.BOTTOM) -> NetWires:
        """Return wires of equal segments, leads included: the crossbar of badcrossbar."""
        return cls(word_ohm=ohm, bit_ohm=ohm, source_ohm=ohm, read_ohm=ohm, ends=ends)

    def read_at_first_row(self, cols: int) -> Bool[Tensor, " cols"]:
        """Return which cols have their converter above row 0."""
        odd = torch.arange(cols) % 2 == 1
        return odd if self.ends is ReadEnds.ALTERNATE else torch.zeros_like(odd)
