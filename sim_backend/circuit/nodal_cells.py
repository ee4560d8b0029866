"""One cell of a crossbar as a hybrid multiport that stays finite for every wire and device.

A cell is its devices, the word-line segments towards the drivers and the bit-line segment towards
the converter. Towards the driver a word line is given a voltage and gives the current it draws;
away from it, it is given the current drawn there and gives the voltage. A bit line likewise, seen
from its converter. In these variables an ideal wire is the identity and a small resistance is a
small change of it, so that nothing is divided by a resistance and nothing cancels.

Ports, inputs and outputs alike: the lines of the left side, those of the right side, top, bottom.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.nodal_wires import NetWires

__all__ = ["cell_ports"]


def cell_ports(
    g: Float[Tensor, "lines rows cols"], wires: NetWires, siemens: float, padded: tuple[int, int]
) -> Float[Tensor, "padded_rows padded_cols ports ports"]:
    """Return outputs over inputs of every cell, ports = 2 lines + 2.

    Args:
        g: Conductances in units of `siemens`; a row has `lines` word lines, which share its cells'
            bit line.
        wires: Resistances, in ohm.
        siemens: Unit of conductance, S.
        padded: Rows and cols to return; cells beyond those of g are bare ideal wires.
    """
    lines, rows, cols = g.shape
    top = wires.read_at_first_row(padded[1]).to(g.device)
    word, bit = g.new_zeros(padded), g.new_zeros(padded)
    word[:rows, :cols] = wires.word_ohm * siemens
    word[:rows, 0] = wires.source_ohm * siemens
    bit[:rows, :cols] = wires.bit_ohm * siemens
    bit[rows - 1, :cols] = torch.where(top[:cols], bit[rows - 1, :cols], wires.read_ohm * siemens)
    bit[0, :cols] = torch.where(top[:cols], wires.read_ohm * siemens, bit[0, :cols])
    whole = g.new_zeros(lines, *padded)
    whole[:, :rows, :cols] = g

    series = whole / (1.0 + whole * word)  # a device behind its word-line segment
    ports = 2 * lines + 2
    near, far = 2 * lines, 2 * lines + 1  # of the bit line: towards the converter, away from it
    volt = g.new_zeros(*padded, ports)  # at the cell's bit-line node, per input
    volt[..., :lines] = (series * bit).movedim(0, -1)
    volt[..., lines:near] = -(series * bit * word).movedim(0, -1)
    volt[..., near] = 1.0
    volt[..., far] = bit
    volt /= (1.0 + bit * series.sum(0))[..., None]
    out = g.new_zeros(*padded, ports, ports)
    for line in range(lines):
        current = -series[line, ..., None] * volt
        current[..., line] += series[line]
        current[..., lines + line] -= series[line] * word
        out[..., near, :] += current
        current[..., lines + line] += 1.0  # with what is drawn beyond: current from the left
        out[..., line, :] = current
        out[..., lines + line, :] = -word[..., None] * current
        out[..., lines + line, line] += 1.0
    out[..., near, far] += 1.0
    out[..., far, :] = volt
    swapped = [*range(near), far, near]  # of a col read at the bottom, top is the far side
    turned = out[:, ~top][:, :, swapped][:, :, :, swapped]
    out[:, ~top] = turned
    return out
