"""Conductance against temperature. Pure; no state, no randomness.

No public statistical model has a temperature term. What is published is that one model holds for
180-400 K and ten decades of time (IRPS 2016), and that one scale per array makes up for temperature
and drift together (Boybat et al., IEDM 2021). The size of the effect is assumed here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hil.errors import RequestError

__all__ = ["KELVIN_REFERENCE", "TEMPERATURE_RANGE_KELVIN", "conductance_factor"]

KELVIN_REFERENCE = 300.0
"""Temperature at which all coefficients hold, K [asm]."""
TEMPERATURE_RANGE_KELVIN = (180.0, 400.0)
"""Where one model was found to hold, K [pub IRPS 2016]. Outside is an error."""
BOLTZMANN_EV = 8.617333e-5
"""Boltzmann constant, eV/K."""


def conductance_factor(
    set_share: Float[Tensor, "*s"], kelvin: float, *, activation_ev: float
) -> Float[Tensor, "*s"]:
    """Conductance over that at 300 K: exp(-Ea/k (1/T - 1/300 K)) [asm].

    Amorphous-dominated states are said to have 0.1-0.3 eV, SET nearly none [rec, weak]: Ea falls
    linearly from `activation_ev` to 0 at the device's own SET state, and is 0 above. Drift
    exponents and relative read noise are those of 300 K.

    Args:
        set_share: Programmed conductance over that of the device's SET state.
        kelvin: Temperature, K.
        activation_ev: Activation energy of the amorphous phase, eV.

    Raises:
        RequestError: The temperature is outside 180...400 K.
    """
    low, high = TEMPERATURE_RANGE_KELVIN
    if not low <= kelvin <= high:
        raise RequestError(
            f"temperature_kelvin {kelvin} is outside {low:g}...{high:g}, where one model is known "
            "to hold; choose a temperature within"
        )
    energy = activation_ev * (1 - set_share).clamp(0.0, 1.0)
    return torch.exp(-energy / BOLTZMANN_EV * (1 / kelvin - 1 / KELVIN_REFERENCE))
