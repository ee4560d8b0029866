"""Which effects a simulated chip has. Knows none of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Effects"]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Which effects a simulated chip has.

    The deviates of an effect that is off are drawn and dropped, or belong to it alone, so that
    switching one off leaves the draws of all others as they were.

    Attributes:
        read_noise: 1/f noise of every read and MVM.
        output_noise: Noise of the converters.
        drift: Drift of the conductance after t0.
        relaxation: Short-term relaxation between a RESET pulse and t0.
        cycle: Noise from one pulse to the next.
        spread: Device-to-device spread of curves, SET states and drift exponents.
        stuck: Devices that no pulse moves from the beginning.
        wear: Devices that no pulse moves any more after so many.
        mismatch: Gain and offset spread of the converters.
        wire: Bit-line resistance.
    """

    read_noise: bool = True
    output_noise: bool = True
    drift: bool = True
    relaxation: bool = True
    cycle: bool = True
    spread: bool = True
    stuck: bool = True
    wear: bool = True
    mismatch: bool = True
    wire: bool = True
