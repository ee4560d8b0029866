"""The exact solver: every cell, every moment at which the network changes.

Between two ends of input pulses the network is static and its current constant; each such interval
is collapsed cell by cell (`ladder`) and weighted by its length, so that nothing is approximated.
The yardstick for the others: O(rows x cols x intervals) per vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sim_backend.circuit.network import LineNetwork
from sim_backend.circuit.solver import PreparedTile, TileSolver

__all__ = ["ExactSolver"]

TENSORS = 8
"""Tensors of (vectors, intervals, cols) that are alive at once."""


@dataclass(frozen=True, kw_only=True)
class ExactSolver(TileSolver):
    """Collapse per cell and interval.

    Attributes:
        memory_bytes: About how much memory a call may take beside inputs and outputs. A graph for
            gradients is not bounded by it.
        dtype: Type of the computation.
    """

    memory_bytes: int = 1 << 26
    dtype: torch.dtype = torch.float64

    @override
    def prepare(self, network: LineNetwork) -> PreparedTile:
        """Order the lines from their far ends."""
        return _ExactTile(
            network=network.to(self.dtype), memory_bytes=self.memory_bytes, dtype=self.dtype
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _ExactTile(PreparedTile):
    """Real-valued widths are solved exactly, too, and differentiated through the intervals."""

    network: LineNetwork
    memory_bytes: int
    dtype: torch.dtype

    @override
    def charge(
        self, widths: Float[Tensor, "batch rows"], slots: int
    ) -> Float[Tensor, "batch cols"]:
        """Return the charge at each ADC, C, in the type of the solver."""
        wide = widths.to(self.dtype)
        out = wide.new_zeros((wide.shape[0], self.network.cols))
        per_interval = TENSORS * self.network.cols * out.element_size()
        room = max(1, self.memory_bytes // per_interval)
        at_once = max(1, room // (slots + 1))
        for index, lines, turned in self.network.sides():
            seen = wide.flip(1) if turned else wide
            parts = [_collapse(lines, part, slots, room) for part in torch.split(seen, at_once)]
            if parts:
                out = out.index_copy(1, index, torch.cat(parts))
        return out * self.network.slot_s

    @override
    def only_cols(self, cols: slice) -> PreparedTile:
        """Return the tile of some of the cols."""
        return replace(self, network=self.network.only_cols(cols))


def _collapse(
    lines: LineNetwork, widths: Float[Tensor, "batch rows"], slots: int, room: int
) -> Float[Tensor, "batch cols"]:
    """Charge in A x slots; rows run from the far end to the ADC."""
    length, sign = widths.abs(), widths.sign()
    # sorted ends carry gradients; without any, each moment counts once
    ends = length.flatten().sort()[0] if widths.requires_grad else _distinct(length)
    edges = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), float(slots))])
    begin, span = edges[:-1], edges.diff()
    kept = begin.new_ones(begin.shape, dtype=torch.bool) if widths.requires_grad else span > 0
    begin, span = begin[kept], span[kept]
    total = widths.new_zeros((widths.shape[0], lines.cols))
    at_once = max(1, room // max(1, widths.shape[0]))
    for first, lasts in zip(torch.split(begin, at_once), torch.split(span, at_once), strict=True):
        current = _current(lines, length, sign, first)
        total = total + (current * lasts[:, None]).sum(1)
    return total


def _distinct(length: Tensor) -> Tensor:
    rising = length.flatten().sort()[0]
    return torch.cat([rising[:1], rising[1:][rising.diff() > 0]])


def _current(
    lines: LineNetwork,
    length: Float[Tensor, "batch rows"],
    sign: Float[Tensor, "batch rows"],
    begin: Float[Tensor, " intervals"],
) -> Float[Tensor, "batch intervals cols"]:
    """Current at the ADC during the intervals that begin then, A."""
    shape = (length.shape[0], begin.shape[0], lines.cols)
    beyond, driven = length.new_zeros(shape), length.new_zeros(shape)
    for row in range(lines.rows):
        on = (length[:, row, None] > begin)[..., None]
        positive = (sign[:, row] > 0)[:, None, None]
        loading = torch.where(on, lines.on_siemens[row], lines.idle_siemens[row])
        pulsed = torch.where(positive, lines.positive_ampere[row], lines.negative_ampere[row])
        current = torch.where(on, pulsed, lines.idle_ampere[row])
        factor = 1.0 / (1.0 + lines.ohm_per_cell * beyond)
        beyond = torch.addcmul(loading, beyond, factor)
        driven = torch.addcmul(current, driven, factor)
    return driven / (1.0 + 0.5 * lines.ohm_per_cell * beyond)
