"""How much physics a simulated chip has: the option `fidelity` of its address. Names only."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Fidelity"]


class Fidelity(StrEnum):
    """What stands between a pulse and a conductance, and between a conductance and a code."""

    STATISTICAL = "statistical"
    """Target conductance in, programmed conductance out, by the published statistics; no pulses."""
    PULSE = "pulse"
    """Every pulse acts on the device it reaches; the bit lines are a first-order ladder."""
    CIRCUIT = "circuit"
    """Devices as at pulse; every MVM is solved in the tile circuit, slot by slot."""
