"""A tile with resistance on the word lines too: its effective matrices from the static net.

Each row has a word line per polarity, held by its driver at the potential that its input asks for;
idle ones stay at the idle potential. The net is then linear for fixed conductances, as the bit
lines alone are (`linear`), and `nodal` finds the current at every ADC per volt at every driver.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.linear import EffectiveTile
from sim_backend.circuit.network import Drive
from sim_backend.circuit.nodal import effective_net
from sim_backend.circuit.nodal_wires import NetWires, ReadEnds

__all__ = ["tile_wires", "word_line_tile"]


def tile_wires(ohm_per_cell: float, wordline_ohm: float) -> NetWires:
    """Wires of a tile: half a segment at the ADC, as on its bit lines, and at the drivers [asm]."""
    return NetWires(
        bit_ohm=ohm_per_cell,
        read_ohm=ohm_per_cell / 2,
        word_ohm=wordline_ohm,
        source_ohm=wordline_ohm / 2,
        ends=ReadEnds.ALTERNATE,
    )


def word_line_tile(
    plus_siemens: Float[Tensor, "rows cols"],
    minus_siemens: Float[Tensor, "rows cols"],
    *,
    wires: NetWires,
    drive: Drive | None = None,
    read: tuple[int, ...] = (0, 1),
) -> EffectiveTile:
    """Solve the net once; return what one slot of each input adds to each ADC's charge.

    Args:
        plus_siemens, minus_siemens: Devices that add and subtract for a positive input, S.
        wires: Resistances and read ends.
        drive: Potentials of the drivers, one for all cells; the published ones where None.
        read: Which polarities follow the input: both, with opposite signs, or one alone, for
            inputs of one sign; 0 adds. The other stays at the idle potential.
    """
    volt = drive or Drive()
    add, subtract = volt.add_volt - volt.adc_volt, volt.subtract_volt - volt.adc_volt
    rest = volt.idle_volt - volt.adc_volt
    lines = effective_net(torch.stack([plus_siemens, minus_siemens]).double(), wires).siemens
    if len(read) == 2:
        positive = lines[0] * add + lines[1] * subtract
        negative = lines[0] * subtract + lines[1] * add
    else:
        positive = negative = lines[read[0]] * add + lines[1 - read[0]] * rest
    return EffectiveTile.of(positive, negative, lines.sum(0) * rest, volt.slot_s)
