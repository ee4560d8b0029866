"""A net as blocks within blocks: joined upwards to a matrix, spread downwards to every node.

Works in the units of `nodal_cells`: volts, and currents over the unit of conductance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sim_backend.circuit.nodal_cells import cell_ports
from sim_backend.circuit.nodal_join import Crossing, crossing, join
from sim_backend.circuit.nodal_plan import Join, Plan, Side
from sim_backend.circuit.nodal_wires import NetWires

__all__ = ["Dissection"]


@dataclass(frozen=True, kw_only=True)
class Dissection:
    """A net cut into cells.

    Attributes:
        plan: How the cells are joined.
        cells: Outputs over inputs of each cell, in the order of the plan.
        lines, rows, cols: Word lines per row, and cells that are no padding.
        wires: Where the cols are read.
        crossings: What crosses every face, in the order of the joins; empty until `opened`.
    """

    plan: Plan
    cells: Float[Tensor, "cells ports ports"]
    lines: int
    rows: int
    cols: int
    wires: NetWires
    crossings: tuple[Crossing, ...] = ()

    @classmethod
    def of(
        cls, device_siemens: Float[Tensor, "lines rows cols"], wires: NetWires, unit_siemens: float
    ) -> Dissection:
        """Cut a net."""
        lines, rows, cols = device_siemens.shape
        plan = Plan.of(lines, rows, cols)
        grid = cell_ports(
            device_siemens / unit_siemens, wires, unit_siemens, (plan.rows, plan.cols)
        )
        order = torch.from_numpy(plan.order).to(grid.device)
        return cls(
            plan=plan,
            cells=grid.flatten(0, 1)[order],
            lines=lines,
            rows=rows,
            cols=cols,
            wires=wires,
        )

    def transfer(self) -> Float[Tensor, "lines rows cols"]:
        """Return the current out of every col per volt at every word line."""
        blocks, whole = self.cells, self.plan.whole
        if not self.plan.levels:
            outs = torch.cat([blocks[:, whole.of(Side.TOP)], blocks[:, whole.of(Side.BOTTOM)]], 1)
            blocks = outs[:, :, whole.of(Side.LEFT)]
        for joins in self.plan.levels:
            parts = _parts(blocks, joins)
            blocks = parts[0]
            for how, other in zip(joins, parts[1:], strict=True):
                if how is self.plan.levels[-1][-1]:  # half of the work: only what is asked for
                    ends = (Side.TOP, Side.BOTTOM)
                    blocks, _ = join(blocks, other, how, (Side.LEFT,), ends)
                else:
                    blocks, _ = join(blocks, other, how)
        top, bottom = blocks[0, : whole.cols], blocks[0, whole.cols :]
        found = torch.where(self._at_top()[:, None], top, bottom)
        by_row = found.reshape(self.plan.cols, self.plan.rows, self.lines)
        return by_row[: self.cols, : self.rows].permute(2, 1, 0)

    def opened(self) -> Dissection:
        """Return the same with what crosses every face, which `spread` needs."""
        met: list[Crossing] = []
        blocks = self.cells
        for joins in self.plan.levels:
            parts = _parts(blocks, joins)
            blocks = parts[0]
            for how, other in zip(joins, parts[1:], strict=True):
                if how is self.plan.levels[-1][-1]:
                    met.append(crossing(blocks, other, how))
                else:
                    blocks, found = join(blocks, other, how)
                    met.append(found)
        return replace(self, crossings=tuple(met))

    def spread(
        self, drive_volt: Float[Tensor, "lines rows batch"], read_volt: Float[Tensor, "cols batch"]
    ) -> tuple[Float[Tensor, "lines rows cols batch"], Float[Tensor, "rows cols batch"]]:
        """Return the voltage of every word-line node and of every bit-line node, V."""
        batch, whole = read_volt.shape[1], self.plan.whole
        inputs = self.cells.new_zeros(1, whole.ports, batch)
        left, top = inputs[0, whole.of(Side.LEFT)], inputs[0, whole.of(Side.TOP)]
        left[: self.rows * self.lines] = drive_volt.movedim(1, 0).flatten(0, 1)
        at_top = self._at_top()[: self.cols, None]
        top[: self.cols] = torch.where(at_top, read_volt, 0.0)
        bottom = inputs[0, whole.of(Side.BOTTOM)]
        bottom[: self.cols] = torch.where(at_top, 0.0, read_volt)
        unused = list(self.crossings)
        for joins in reversed(self.plan.levels):
            parts = []
            for how in reversed(joins):
                met = unused.pop()
                parts.append(_child(inputs, met.from_a @ inputs, how, of_a=False))
                inputs = _child(inputs, met.from_b @ inputs, how, of_a=True)
            inputs = torch.stack([inputs, *reversed(parts)], 1).flatten(0, 1)
        return self._nodes(inputs)

    def _nodes(
        self, inputs: Float[Tensor, "cells ports batch"]
    ) -> tuple[Float[Tensor, "lines rows cols batch"], Float[Tensor, "rows cols batch"]]:
        outputs = self.cells[:, self.lines :] @ inputs
        back = np.argsort(self.plan.order)
        grid = outputs[torch.from_numpy(back).to(outputs.device)]
        grid = grid.reshape(self.plan.rows, self.plan.cols, *grid.shape[1:])
        grid = grid[: self.rows, : self.cols]
        at_top = self._at_top()[: self.cols, None]
        bit = torch.where(at_top, grid[:, :, self.lines + 1], grid[:, :, self.lines])
        return grid[:, :, : self.lines].movedim(2, 0), bit

    def _at_top(self) -> Bool[Tensor, " padded_cols"]:
        return self.wires.read_at_first_row(self.plan.cols).to(self.cells.device)


def _parts(blocks: Tensor, joins: tuple[Join, ...]) -> list[Tensor]:
    """Return the blocks that are joined: all first ones, all second ones and so on."""
    return [blocks[i :: len(joins) + 1] for i in range(len(joins) + 1)]


def _child(inputs: Tensor, at_face: Tensor, how: Join, *, of_a: bool) -> Tensor:
    """Return the inputs of block a or b of a join, from those of the joined block."""
    child, mine = (how.a, how.face.value[0]) if of_a else (how.b, how.face.value[1])
    found = inputs.new_empty(inputs.shape[0], child.ports, inputs.shape[2])
    found[:, child.of(mine)] = at_face
    for side in Side:
        whole = inputs[:, how.joined.of(side)]
        pieces = how.a_pieces(side)
        if of_a in pieces:
            size = found[:, child.of(side)].shape[1]
            found[:, child.of(side)] = whole[:, :size] if of_a else whole[:, -size:]
    return found
