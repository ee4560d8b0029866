"""Short SET pulses, each of which adds an increment. Pure; no state, no randomness.

Nandakumar et al., J. Appl. Phys. 124, 152135 (2018): 10,000 devices, pulses of 90 µA and 50 ns.
Conductances are in µS, whatever g_max a chip maps weights to. Read noise and drift of a device set
in this way are those of the chip's own law, as for any other state: the paper's own (0.03 G +
0.13 µS, nu 0.04) belong to its array and are not used.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "CHARACTERISED_MICROSIEMENS",
    "SET_DECAY",
    "SET_FLOOR_MICROSIEMENS",
    "pulses_to_reach",
    "set_increment",
]

SET_DECAY = math.exp(-1.0 / 2.6)
"""Factor on P before each SET pulse [pub]; P is 1 after RESET."""
SET_FLOOR_MICROSIEMENS = 0.1
"""Incremental SET never leaves a device below this, µS [pub]."""
CHARACTERISED_MICROSIEMENS = (SET_FLOOR_MICROSIEMENS, 20.0)
"""Conductances in the paper's figure, µS [pub]. Outside, the increment at the nearer end holds
[asm]: a device set higher by a long pulse, or one that was reset below the floor."""


def set_increment(
    g_microsiemens: Float[Tensor, "*s"], p: Float[Tensor, "*s"]
) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """Mean and standard deviation of the next increment, µS.

    Args:
        g_microsiemens: Conductance before the pulse, µS.
        p: State after RESET, times `SET_DECAY` for each pulse up to and with this one.
    """
    low, high = CHARACTERISED_MICROSIEMENS
    g = g_microsiemens.clamp(low, high)
    return -0.084 * g + 0.880 + 1.40 * p, 0.091 * g + 0.260 + 2.15 * p


def pulses_to_reach(g_microsiemens: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Mean number of pulses from RESET to a conductance, 0.027 G^3 - 0.15 G^2 + 0.81 G, G in µS.

    Between two states it is the difference. Outside the characterised range it is not a number.
    """
    g = g_microsiemens
    count = 0.027 * g**3 - 0.15 * g**2 + 0.81 * g
    low, high = CHARACTERISED_MICROSIEMENS
    return torch.where((g >= low) & (g <= high), count, torch.nan)
