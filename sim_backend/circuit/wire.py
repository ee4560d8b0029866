"""The bit-line circuit behind one seam: conductances in, share of each cell's current at the ADC.

`LadderWire` is a first-order ladder. An exact circuit solver takes its place behind `Wire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["IdealWire", "LadderWire", "Wire"]


@runtime_checkable
class Wire(Protocol):
    """A model of the bit lines. The core multiplies the net conductance by what it returns."""

    def transfer(self, loading_siemens: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols"]:
        """Return the share of each cell's current that reaches the ADC, in (0, 1]."""
        ...


@dataclass(frozen=True)
class IdealWire:
    """No resistance."""

    def transfer(self, loading_siemens: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols"]:
        """Return ones."""
        return torch.ones_like(loading_siemens)


@dataclass(frozen=True, kw_only=True)
class LadderWire:
    """Resistive bit line, first order in resistance times conductance.

    All devices of a cell stay connected (idle ones at the read potential), so the line is one
    linear network. A current injected p cells away from the ADC raises the line by
    r_w min(p, q) at a cell q away, and the conductance there takes its share; to first order the
    share that arrives is 1 / (1 + r_w sum_q G_q min(p, q)). Even cols are read at the bottom (last
    row), odd ones at the top. Geometry and drive of the time-stepped tile of aihwkit; left out: the
    dependence on which inputs are on, second order, source-line resistance.

    Attributes:
        ohm_per_cell: Wire resistance per cell, ohm.
    """

    ohm_per_cell: float

    def transfer(self, loading_siemens: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols"]:
        """Return the share of each cell's current that reaches the ADC; O(rows x cols)."""
        share = torch.empty_like(loading_siemens)
        share[:, 0::2] = self._from_bottom(loading_siemens[:, 0::2])
        share[:, 1::2] = self._from_bottom(loading_siemens[:, 1::2].flip(0)).flip(0)
        return share

    def _from_bottom(self, g: Float[Tensor, "rows c"]) -> Float[Tensor, "rows c"]:
        rows = g.shape[0]
        p = torch.arange(rows, 0, -1, dtype=g.dtype, device=g.device)[:, None] - 0.5
        beyond = torch.cumsum(g, 0)  # conductance at this cell and farther from the ADC
        moment = (g * p).flip(0).cumsum(0).flip(0) - g * p  # sum of G_q q over nearer cells
        return 1.0 / (1.0 + self.ohm_per_cell * (p * beyond + moment))
