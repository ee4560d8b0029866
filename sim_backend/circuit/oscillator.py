"""The oscillator ADC: charge to whole counts, the unfinished oscillation is lost. Knows no circuit.

A current-controlled oscillator runs at a frequency proportional to its current; a counter sees its
whole periods during the window: trunc(Q / q), per col and per conversion.
"""

from __future__ import annotations

from enum import StrEnum

from jaxtyping import Float
from torch import Tensor

__all__ = ["PUBLISHED_COUNT_COULOMB", "Floor", "counts"]

PUBLISHED_COUNT_COULOMB = 1.0 / 62.4e12
"""Charge of one oscillation: 62.4 MHz/µA, 16.03 fC [code aihwkit: 6.24 GHz at 100 µA]."""


class Floor(StrEnum):
    """What gradients see of the floor: its own zero slope, or the line it is a staircase of."""

    HARD = "hard"
    STRAIGHT_THROUGH = "straight_through"


def counts(oscillations: Float[Tensor, "*s"], floor: Floor = Floor.HARD) -> Float[Tensor, "*s"]:
    """Return whole oscillations, toward zero for either sign of the charge."""
    whole = oscillations.trunc()
    if floor is Floor.STRAIGHT_THROUGH:
        return oscillations + (whole - oscillations).detach()
    return whole
