"""How much of a chip is simulated. A word of addresses; knows no physics."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Fidelity"]


class Fidelity(StrEnum):
    """What stands behind a simulated core: statistics of targets, pulses, or pulses and circuit."""

    STATISTICAL = "statistical"
    PULSE = "pulse"
    CIRCUIT = "circuit"
