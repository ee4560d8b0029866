"""The seam of the tile solvers: a network is prepared once, then charges any batch of inputs.

A preparation holds until a conductance, a potential or the wire changes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.network import LineNetwork

__all__ = ["PreparedTile", "TileSolver"]


@runtime_checkable
class PreparedTile(Protocol):
    """A tile of known conductances."""

    def charge(
        self, widths: Float[Tensor, "batch rows"], slots: int
    ) -> Float[Tensor, "batch cols"]:
        """Return the charge that each ADC collects, C.

        Args:
            widths: Signed pulse widths, slots; whole numbers from -slots to slots.
            slots: Length of the window during which the ADCs integrate.
        """
        ...

    def only_cols(self, cols: slice) -> PreparedTile:
        """Return the tile with some of its cols; their charges stay the same."""
        ...


@runtime_checkable
class TileSolver(Protocol):
    """A way to solve tiles."""

    def prepare(self, network: LineNetwork) -> PreparedTile:
        """Compute what does not depend on the inputs; RequestError if it cannot solve it."""
        ...
