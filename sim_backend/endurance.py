"""How many pulses a device survives, and how it fails. Knows no conductance.

Cycling moves atoms. A cell ends stuck at SET by segregation of its elements, or stuck at RESET by a
void (Kim et al., MRS Bulletin 44, 710, 2019; VLSI-TSA 2012) [pub]. Reported endurance reaches from
1e6 to 1e12 cycles by cell type and pulse [rec]; no statistics of the chips simulated here are
public. A log-normal number of pulses per device is assumed (see decision 0024).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from sim_backend.params import DeviceParams
    from sim_backend.streams import Streams

__all__ = ["Endurance", "failing_share"]


class Endurance:
    """Pulses that each device of one core survives, from a stream of its own.

    Args:
        params: Median and spread, and the share that ends at SET.
        shape: (devices per cell, rows, cols).
        streams: Named random streams.
        device: Where tensors live.
    """

    def __init__(
        self,
        params: DeviceParams,
        shape: tuple[int, int, int],
        streams: Streams,
        device: torch.device,
    ) -> None:
        made = streams.on_cpu("wear_fabrication")
        z = torch.randn(shape, generator=made)
        pulses = params.endurance_median_pulses * torch.exp(params.endurance_sigma_ln * z)
        self.pulses: Float[Tensor, "devices rows cols"] = pulses.floor().to(device)
        chance = torch.rand(shape, generator=made)
        self.ends_set: Bool[Tensor, "devices rows cols"] = (chance < params.endurance_set_share).to(
            device
        )

    def has_ended(
        self, pulses: Int[Tensor, "devices rows cols"]
    ) -> Bool[Tensor, "devices rows cols"]:
        """Return which devices have had more pulses than they survive."""
        return pulses > self.pulses


def failing_share(params: DeviceParams, pulses: int) -> float:
    """Share of devices that have failed after so many pulses each."""
    if pulses <= 0:
        return 0.0
    z = math.log(pulses / params.endurance_median_pulses) / params.endurance_sigma_ln
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
