"""The bit lines as a network: what loads each node, on and idle, and what each cell drives.

A col is a line of nodes, one per cell, `ohm_per_cell` apart; the ADC holds one end at its potential
through half a segment. All currents here are what a cell would drive into the ADC over an ideal
wire; how much of it arrives is the solvers' matter. Geometry and drive are those of the time-
stepped tile of aihwkit [code aihwkit 4545f11, analog_mvm_irdrop_t.py]. Knows no solver, no time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hil.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Drive", "IdleDevices", "LineNetwork", "padding", "tile_network"]

Volt = float | Float[Tensor, "..."]
"""One voltage for all cells, or one per cell: anything that broadcasts to (rows, cols)."""


class IdleDevices(StrEnum):
    """What becomes of a device while its input is off.

    CLAMPED: it stays on the line at the idle potential (published circuit). DISCONNECTED: the pulse
    gates its access transistor, as in an 8T4R cell, and the line is loaded by active cells alone.
    """

    CLAMPED = "clamped"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """Potentials of devices and ADC, V, and the length of one PWM slot, s.

    Attributes:
        add_volt: What adding devices see while on; the sign of the input swaps the two.
        subtract_volt: What subtracting devices see while on.
        idle_volt: What idle devices see, if they see anything.
        adc_volt: Potential of the ADC node.
        slot_s: One PWM slot.
    """

    add_volt: Volt = 0.6  # [code aihwkit time-stepped tile]
    subtract_volt: Volt = 0.2  # [code aihwkit time-stepped tile]
    idle_volt: Volt = 0.4  # [code aihwkit time-stepped tile]
    adc_volt: float = 0.4005  # [code aihwkit time-stepped tile; 0.4 in its example]
    slot_s: float = 1e-9  # [pub JSSC, HERMES] 1 ns per LSB


@dataclass(frozen=True, kw_only=True, eq=False)
class LineNetwork:
    """All bit lines of a tile; every tensor is (rows, cols) unless said otherwise.

    Attributes:
        on_siemens, idle_siemens: Conductance at each node while its input is on, while it is idle.
        positive_ampere, negative_ampere: Current of a cell into the ADC's potential while its input
            is on, for either sign of the input.
        idle_ampere: The same while it is idle.
        ohm_per_cell: Wire resistance per cell.
        from_bottom: Which cols are read below the last row; the others above the first, (cols,).
        slot_s: One PWM slot, s.
    """

    on_siemens: Float[Tensor, "rows cols"]
    idle_siemens: Float[Tensor, "rows cols"]
    positive_ampere: Float[Tensor, "rows cols"]
    negative_ampere: Float[Tensor, "rows cols"]
    idle_ampere: Float[Tensor, "rows cols"]
    ohm_per_cell: float
    from_bottom: Bool[Tensor, " cols"]
    slot_s: float

    @property
    def rows(self) -> int:
        """Cells of a line."""
        return self.on_siemens.shape[0]

    @property
    def cols(self) -> int:
        """Lines."""
        return self.on_siemens.shape[1]

    @property
    def fixed(self) -> bool:
        """Whether the conductances on the line are the same whatever is on."""
        return torch.equal(self.on_siemens, self.idle_siemens)

    def to(self, dtype: torch.dtype) -> LineNetwork:
        """Return the network in another floating-point type."""
        return self._each(lambda t: t.to(dtype), self.from_bottom)

    def only_cols(self, cols: slice) -> LineNetwork:
        """Return the network of some of the cols; each is still read at its own end."""
        return self._each(lambda t: t[:, cols], self.from_bottom[cols])

    def sides(self) -> Iterator[tuple[Tensor, LineNetwork, bool]]:
        """Give cols read at the bottom, then at the top, rows ordered from the far end to the ADC.

        Each as (indices of the cols, their network, whether rows were turned round).
        """
        for bottom in (True, False):
            index = torch.nonzero(self.from_bottom == bottom).flatten()
            if index.numel():
                ordered = self._each(
                    lambda t, i=index, up=bottom: t[:, i] if up else t[:, i].flip(0),
                    torch.ones_like(index, dtype=torch.bool),
                )
                yield index, ordered, not bottom

    def _each(self, change: Callable[..., Tensor], from_bottom: Tensor) -> LineNetwork:
        return replace(
            self,
            on_siemens=change(self.on_siemens),
            idle_siemens=change(self.idle_siemens),
            positive_ampere=change(self.positive_ampere),
            negative_ampere=change(self.negative_ampere),
            idle_ampere=change(self.idle_ampere),
            from_bottom=from_bottom,
        )


def tile_network(
    plus_siemens: Float[Tensor, "rows cols"],
    minus_siemens: Float[Tensor, "rows cols"],
    *,
    ohm_per_cell: float,
    drive: Drive | None = None,
    idle: IdleDevices = IdleDevices.CLAMPED,
    loading_siemens: Float[Tensor, "rows cols"] | None = None,
) -> LineNetwork:
    """Describe the bit lines of a tile of differential pairs.

    Even cols are read at the bottom (last row), odd ones at the top.

    Args:
        plus_siemens, minus_siemens: Devices that add and subtract for a positive input, S.
        ohm_per_cell: Wire resistance per cell, ohm, 0 or more.
        drive: Potentials; the published ones where None.
        idle: What becomes of devices whose input is off.
        loading_siemens: Conductances that are always connected, at the idle potential, S.

    Raises:
        RequestError: The resistance is negative.
    """
    if not ohm_per_cell >= 0:
        raise RequestError(f"ohm_per_cell {ohm_per_cell} is below 0")
    volt = drive or Drive()
    add, subtract = volt.add_volt - volt.adc_volt, volt.subtract_volt - volt.adc_volt
    rest = volt.idle_volt - volt.adc_volt
    base = torch.zeros_like(plus_siemens) if loading_siemens is None else loading_siemens
    on = plus_siemens + minus_siemens + base
    left = on if idle is IdleDevices.CLAMPED else base
    return LineNetwork(
        on_siemens=on,
        idle_siemens=left,
        positive_ampere=plus_siemens * add + minus_siemens * subtract + base * rest,
        negative_ampere=plus_siemens * subtract + minus_siemens * add + base * rest,
        idle_ampere=left * rest,
        ohm_per_cell=ohm_per_cell,
        from_bottom=torch.arange(on.shape[1], device=on.device) % 2 == 0,
        slot_s=volt.slot_s,
    )


def padding(rows: int, physical_rows: int) -> tuple[int, int]:
    """Rows of no conductance before and behind a layer in the middle of a physical column.

    Raises:
        RequestError: The layer does not fit.
    """
    if rows > physical_rows:
        raise RequestError(f"{rows} rows do not fit a column of {physical_rows}; split them")
    before = (physical_rows - rows) // 2
    return before, physical_rows - rows - before
