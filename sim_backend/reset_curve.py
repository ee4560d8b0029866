"""Conductance after a melt-quench pulse against its amplitude. Pure; no state, no randomness.

No parametrised curve with device spread is public: a sigmoid between a SET plateau and a RESET
floor stands for the flat, steep and flat parts that are described [asm].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sim_backend.params import DeviceParams

__all__ = ["melt_quench", "nominal_reset_curve"]


def melt_quench(
    amplitude: Float[Tensor, " n"],
    *,
    g_set: Float[Tensor, " n"],
    i50: Float[Tensor, " n"],
    slope: Float[Tensor, " n"],
    floor: float,
) -> Float[Tensor, " n"]:
    """G(I) = floor + (G_set - floor) sigmoid((I50 - I) / s) [asm: no public curve]."""
    return floor + (g_set - floor) * torch.sigmoid((i50 - amplitude) / slope)


def nominal_reset_curve(
    params: DeviceParams, amplitude_ampere: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return the conductance of a median device after a RESET pulse, relative to g_max."""
    median = torch.full_like(amplitude_ampere, params.set_median)
    return melt_quench(
        amplitude_ampere,
        g_set=median,
        i50=torch.full_like(median, params.i50_ampere),
        slope=torch.full_like(median, params.slope_ampere),
        floor=params.reset_floor,
    )
