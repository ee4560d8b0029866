"""How the loading of a line falls as inputs end, and which of its states the rapid solver visits.

Per vector the share of its inputs that are still on starts at 1 and falls to 0: a path through the
states of the network, of which time only tells how long each lasts. A quantity that is smooth along
the path is known by its values at a few nodes of it; how long and with which weight each node
counts for a cell follows from the ends of the pulses alone. Knows no conductance and no col.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["LoadingPath"]

SNAP = 0.4
"""A node that falls into a jump of the path, where no time is spent, moves to the nearer side of it
if that is within this share of the distance between nodes."""
TINY = 1e-30


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadingPath:
    """Paths of a batch, with their nodes.

    Attributes:
        level: Share of the inputs that are on in each slot, (batch, slots + 1); what follows the
            window comes last and is 0.
        nodes: Levels of the nodes, rising from 0 to 1, (batch, nodes + 1).
        weights: Weight of each node in each slot; they sum to 1, (nodes + 1, batch, slots).
    """

    level: Float[Tensor, "batch slots_and_end"]
    nodes: Float[Tensor, "batch nodes"]
    weights: Float[Tensor, "nodes batch slots"]

    @staticmethod
    def of(
        ends: Int[Tensor, "batch rows"], *, slots: int, nodes: int, dtype: torch.dtype
    ) -> LoadingPath:
        """Follow a batch.

        Args:
            ends: Slots for which each input is on.
            slots: Length of the window.
            nodes: Nodes beside that of no loading, an even number: pairs span parabolas.
            dtype: Type of levels and weights.
        """
        counted = torch.ones((), dtype=dtype, device=ends.device).expand(ends.shape)
        ending = counted.new_zeros((ends.shape[0], slots + 1)).scatter_add_(1, ends, counted)
        after = ending.flip(1).cumsum(1).flip(1)
        held = torch.cat([after[:, 1:], torch.zeros_like(after[:, :1])], 1)
        level = held / held[:, :1].clamp(min=1.0)
        even = torch.arange(1, nodes + 1, dtype=level.dtype, device=level.device) / nodes
        chosen = _snapped(level, even, SNAP / nodes)
        chosen = torch.cat([torch.zeros_like(chosen[:, :1]), chosen], 1)
        return LoadingPath(level=level, nodes=chosen, weights=_parabolas(level[:, :slots], chosen))

    def share_on(self, ends: Int[Tensor, "batch rows"], node: int) -> Float[Tensor, "batch rows"]:
        """Return how much of each row is on at a node.

        It is 0 or 1, and in between for rows whose end is the jump that the node falls into.
        """
        low = self.level.gather(1, ends)
        high = self.level.gather(1, (ends - 1).clamp(min=0))
        share = (self.nodes[:, node : node + 1] - low) / (high - low).clamp(min=TINY)
        return torch.where(ends > 0, share.clamp(0.0, 1.0), 0.0)

    def time_at(
        self, widths: Float[Tensor, "batch rows"], ends: Int[Tensor, "batch rows"]
    ) -> Float[Tensor, "nodes batch rows"]:
        """Signed slots that each row spends on at each node.

        The gradient with respect to widths is that at fixed loading.
        """
        total = torch.nn.functional.pad(self.weights.cumsum(2), (1, 0))
        count = self.weights.shape[0]
        if not widths.requires_grad:
            return total.gather(2, ends.expand(count, -1, -1)) * widths.sign()
        last = (ends - 1).clamp(min=0)
        whole = total.gather(2, last.expand(count, -1, -1))
        rate = self.weights.gather(2, last.expand(count, -1, -1))
        sign = widths.sign()
        return whole * sign + rate * (widths - sign * last)


def _snapped(
    level: Float[Tensor, "batch levels"], even: Float[Tensor, " nodes"], within: float
) -> Float[Tensor, "batch nodes"]:
    rising = level.flip(1).contiguous()
    wanted = even.expand(level.shape[0], -1).contiguous()
    high = torch.searchsorted(rising, wanted).clamp(max=rising.shape[1] - 1)
    above = rising.gather(1, high)
    below = rising.gather(1, (high - 1).clamp(min=0))
    near = torch.where(above - wanted <= wanted - below, above, below)
    return torch.where((near - wanted).abs() <= within, near, wanted)


def _parabolas(
    level: Float[Tensor, "batch slots"], nodes: Float[Tensor, "batch nodes"]
) -> Float[Tensor, "nodes batch slots"]:
    """Lagrange weights of the parabola through the three nodes around each level."""
    count = nodes.shape[1]
    out = [torch.zeros_like(level) for _ in range(count)]
    for first in range(0, count - 2, 2):
        a, b, c = (nodes[:, first + k, None] for k in range(3))
        inside = (level > a) & (level <= c)
        if first == 0:
            inside = level <= c
        elif first == count - 3:
            inside = level > a
        for at, (own, one, other) in enumerate(((a, b, c), (b, a, c), (c, a, b))):
            value = (level - one) * (level - other) / ((own - one) * (own - other))
            out[first + at] = out[first + at] + torch.where(inside, value, 0.0)
    return torch.stack(out)
