"""Input codes to passes of pulses through the array, and passes to one number. Knows no circuit.

One-pass: a window of as many slots as the highest code. Split: the three lowest bits in a window of
8 slots, then the upper bits in one of 16, whose counts count eight times. Bit-serial: one slot per
magnitude bit. Each pass is converted by itself, so what a converter loses it loses every time.
Modes of the time-stepped tile of aihwkit [code aihwkit 4545f11].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Float
from torch import Tensor

__all__ = ["InputMode", "Pass", "passes", "windows"]

LOWER_BITS = 3
"""Bits of the first pass in split mode [code aihwkit split_mode_bit_shift]."""


class InputMode(StrEnum):
    """How an input code becomes pulses."""

    ONE_PASS = "one_pass"
    SPLIT = "split"
    BIT_SERIAL = "bit_serial"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """One pass of a batch through the array.

    Attributes:
        widths: Signed pulse widths, slots, (batch, rows).
        slots: Length of the window.
        factor: What a count of this pass counts for.
    """

    widths: Float[Tensor, "batch rows"]
    slots: int
    factor: int


def windows(mode: InputMode, max_code: int) -> tuple[tuple[int, int], ...]:
    """Window of each pass, slots, with what its counts count for, for codes up to `max_code`."""
    bits = max_code.bit_length()
    if mode is InputMode.SPLIT and bits > LOWER_BITS:
        upper = max(bits - LOWER_BITS, 1)
        return ((1 << LOWER_BITS, 1), (1 << upper, 1 << LOWER_BITS))
    if mode is InputMode.BIT_SERIAL:
        return tuple((1, 1 << bit) for bit in range(bits))
    return ((max_code, 1),)


def passes(codes: Float[Tensor, "batch rows"], mode: InputMode, max_code: int) -> Iterator[Pass]:
    """Give the passes of whole codes from -max_code to max_code, lowest bits first."""
    planned = windows(mode, max_code)
    magnitude, sign = codes.abs(), codes.sign()
    for index, (slots, factor) in enumerate(planned):
        part = (magnitude / factor).floor()
        if index + 1 < len(planned):
            following = planned[index + 1][1] // factor
            part = part.remainder(following)
        yield Pass(widths=sign * part, slots=slots, factor=factor)
