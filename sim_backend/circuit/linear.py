"""The linear solver: one effective matrix, exact where the conductances on the line are fixed.

With idle devices clamped at the read potential a pulse changes the potential that a device sees and
no conductance. The network is then linear with fixed topology, its current at any time is I(t) =
sum_j c_j i_j(t) with the shares c_j of one ladder, and its integral is linear in the pulse widths:

    Q_col = sum_j c_j (w_j (i+ - i-)/2 + |w_j| ((i+ + i-)/2 - i0) + slots i0) slot_s

with i+, i- and i0 the currents of cell j for a positive, a negative and no input. With potentials
symmetric about the idle one the middle term vanishes. Nothing is left to step through in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from hil.errors import RequestError
from sim_backend.circuit.ladder import shares
from sim_backend.circuit.network import LineNetwork
from sim_backend.circuit.solver import PreparedTile, TileSolver

__all__ = ["EffectiveTile", "LinearSolver", "line_shares"]

NO_PART = 1e-12
"""An even part this much smaller than the odd one is rounding of the potentials' difference."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectiveTile(PreparedTile):
    """Effective matrices: what one slot of each input adds to each ADC's charge.

    They may come from any linear network, from one with word-line resistance too.

    Attributes:
        odd_coulomb: Charge per slot of signed width, C.
        even_coulomb: Charge per slot of unsigned width, C; None is none.
        idle_coulomb: Charge per slot of the window with all inputs idle, C, (cols,).
    """

    odd_coulomb: Float[Tensor, "rows cols"]
    even_coulomb: Float[Tensor, "rows cols"] | None
    idle_coulomb: Float[Tensor, " cols"]

    @staticmethod
    def of(
        positive_ampere: Float[Tensor, "rows cols"],
        negative_ampere: Float[Tensor, "rows cols"],
        idle_ampere: Float[Tensor, "rows cols"],
        slot_s: float,
    ) -> EffectiveTile:
        """Make one from the current at the ADC of each cell: input positive, negative, idle."""
        odd = (positive_ampere - negative_ampere) * (0.5 * slot_s)
        even = ((positive_ampere + negative_ampere) * 0.5 - idle_ampere) * slot_s
        there = bool(even.detach().abs().max() > NO_PART * odd.detach().abs().max())
        return EffectiveTile(
            odd_coulomb=odd,
            even_coulomb=even if there else None,
            idle_coulomb=idle_ampere.sum(0) * slot_s,
        )

    def to(self, dtype: torch.dtype) -> EffectiveTile:
        """Return it in another floating-point type."""
        return EffectiveTile(
            odd_coulomb=self.odd_coulomb.to(dtype),
            even_coulomb=None if self.even_coulomb is None else self.even_coulomb.to(dtype),
            idle_coulomb=self.idle_coulomb.to(dtype),
        )

    @override
    def charge(
        self, widths: Float[Tensor, "batch rows"], slots: int
    ) -> Float[Tensor, "batch cols"]:
        """Return the charge at each ADC, C: one product, two where potentials are not symmetric."""
        given = widths.to(self.odd_coulomb.dtype)
        out = torch.addmm(self.idle_coulomb * slots, given, self.odd_coulomb)
        if self.even_coulomb is not None:
            out = out + given.abs() @ self.even_coulomb
        return out

    @override
    def only_cols(self, cols: slice) -> EffectiveTile:
        """Return the matrices of some of the cols."""
        return EffectiveTile(
            odd_coulomb=self.odd_coulomb[:, cols].contiguous(),
            even_coulomb=None if self.even_coulomb is None else self.even_coulomb[:, cols],
            idle_coulomb=self.idle_coulomb[cols],
        )


@dataclass(frozen=True, kw_only=True)
class LinearSolver(TileSolver):
    """One effective matrix per state of the conductances.

    Attributes:
        dtype: Type of the matrices; the shares are always computed in float64.
    """

    dtype: torch.dtype = torch.float32

    @override
    def prepare(self, network: LineNetwork) -> EffectiveTile:
        """Compute the effective matrix.

        Raises:
            RequestError: What loads the line depends on the inputs.
        """
        if not network.fixed:
            raise RequestError(
                "idle devices are disconnected, so the network depends on the input and has no "
                "effective matrix; use the rapid or the exact solver, or clamp idle devices"
            )
        wide = network.to(torch.float64)
        share = line_shares(wide, wide.on_siemens)
        return EffectiveTile.of(
            share * wide.positive_ampere,
            share * wide.negative_ampere,
            share * wide.idle_ampere,
            wide.slot_s,
        ).to(self.dtype)


def line_shares(
    network: LineNetwork, loading_siemens: Float[Tensor, "rows cols"]
) -> Float[Tensor, "rows cols"]:
    """Share of each cell's current that reaches its ADC, were the lines of a network loaded so."""
    up = network.from_bottom
    loading = torch.where(up, loading_siemens, loading_siemens.flip(0))
    share = shares(loading, network.ohm_per_cell)
    return torch.where(up, share, share.flip(0))
