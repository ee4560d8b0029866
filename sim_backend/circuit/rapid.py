"""The rapid solver: blocks of cells at a few states of the network, a few dozen products a batch.

The conductances on a line change only when an input ends, and the share of a cell's current that
arrives varies smoothly with what is on. Two expansions follow (decision 0022):

1. Along the path of loading of each vector (`rapid_path`) the shares are interpolated by parabolas
   between `nodes` states; the charge is a sum over states of sources held for known times.
2. At each state a line is collapsed block by block. A block of cells enters by the sums over its
   cells of what is on, and of the first moments about its centre: for loads Y0 and Y1, for
   sources J0 and J1. Those sums are products of the batch with matrices that only depend on the
   conductances. Second moments are those of an even spread. With Y and J what stands beyond the
   block, h the resistance across it, and all projected to its centre, Norton's equivalent is

       a = Y + Y0 + Y1 Y + Y0^2 h/6            b = J + J0 + J1 (Y + Y0/2) + J0 Y0 h/6
       d = 1 - Y1 - Y0 (Y + Y0/2) h^2/12       Y' = a / (d + h a), J' = b / (d + h a)

   exact to second order in h Y; blocks are cut so that h Y stays small.

Where the conductances are fixed there is nothing to expand: the linear solver's matrix is returned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from hil.errors import RequestError
from sim_backend.circuit.ladder import shares
from sim_backend.circuit.linear import NO_PART, LinearSolver
from sim_backend.circuit.rapid_path import LoadingPath
from sim_backend.circuit.solver import PreparedTile, TileSolver

if TYPE_CHECKING:
    from sim_backend.circuit.network import LineNetwork

__all__ = ["RapidSolver"]

MOST_ROWS = 64
"""Rows of a block at most: longer ones save products of few rows only."""
BLOCK_DROP = 0.02
"""Most of h Y of a block with everything on: second-order terms of an even spread are then below
1e-3, and what they miss of an uneven one is a part of that."""
TENSORS = 16
"""Tensors of (nodes x vectors, cols) that are alive at once."""


@dataclass(frozen=True, kw_only=True)
class RapidSolver(TileSolver):
    """Blocks at a few states of each vector's loading.

    Attributes:
        nodes: States of each vector beside that of no loading; an even number of 2 or more.
        memory_bytes: About how much memory a call may take beside inputs and outputs. A graph for
            gradients is not bounded by it.
        dtype: Type of the computation.
    """

    nodes: int = 6
    memory_bytes: int = 1 << 23
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.nodes < 2 or self.nodes % 2:
            raise RequestError(f"nodes {self.nodes} is no even number of 2 or more")

    @override
    def prepare(self, network: LineNetwork) -> PreparedTile:
        """Cut the lines into blocks and make their matrices."""
        if network.fixed:
            return LinearSolver(dtype=self.dtype).prepare(network)
        wide = network.to(torch.float64)
        return _RapidTile(
            sides=tuple(
                _Side.of(lines, index, turned, self.dtype) for index, lines, turned in wide.sides()
            ),
            cols=network.cols,
            slot_s=network.slot_s,
            solver=self,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """Neighbouring cells of a side: matrices of sums and of first moments, side by side.

    Attributes:
        rows: Which cells, from the far end.
        loads: From what is on to Y0 and Y1.
        sources: From signed time, and unsigned time below if it counts, to J0 and J1.
        idle_load, idle_source: The same sums of what is always there; None is nothing.
        ohm: Wire resistance across the block.
    """

    rows: slice
    loads: Float[Tensor, "rows twice_cols"]
    sources: Float[Tensor, "times twice_cols"]
    idle_load: Float[Tensor, " twice_cols"] | None
    idle_source: Float[Tensor, " twice_cols"] | None
    ohm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """Lines that are read at one end; rows from the far end to the ADC.

    Attributes:
        index: Which cols of the tile these are.
        turned: Whether that order is the inputs' turned round.
        blocks: Blocks from the far end to the ADC.
        alone: From times at the state of no loading to charge, signed and unsigned as in a block.
        alone_idle: Idle current that arrives at the state of no loading.
        unsigned: Whether a pulse of either sign has a part in common.
    """

    index: Int[Tensor, " cols"]
    turned: bool
    blocks: tuple[_Block, ...]
    alone: Float[Tensor, "times cols"]
    alone_idle: Float[Tensor, " cols"]
    unsigned: bool

    @staticmethod
    def of(lines: LineNetwork, index: Tensor, turned: bool, dtype: torch.dtype) -> _Side:
        odd = (lines.positive_ampere - lines.negative_ampere) / 2
        even = (lines.positive_ampere + lines.negative_ampere) / 2 - lines.idle_ampere
        unsigned = bool(even.detach().abs().max() > NO_PART * odd.detach().abs().max())
        driven = (odd, even) if unsigned else (odd,)
        added = lines.on_siemens - lines.idle_siemens
        share = shares(lines.idle_siemens, lines.ohm_per_cell)
        background = bool(lines.idle_siemens.any() or lines.idle_ampere.any())

        def block(rows: slice) -> _Block:
            count = rows.stop - rows.start
            place = torch.arange(count, dtype=torch.float64, device=added.device)
            ohm = (place - (count - 1) / 2)[:, None] * lines.ohm_per_cell

            def sums(each: Tensor) -> Tensor:
                return torch.cat([each[rows], ohm * each[rows]], 1).to(dtype)

            return _Block(
                rows=rows,
                loads=sums(added),
                sources=torch.cat([sums(each) for each in driven]),
                idle_load=sums(lines.idle_siemens).sum(0) if background else None,
                idle_source=sums(lines.idle_ampere).sum(0) if background else None,
                ohm=lines.ohm_per_cell * count,
            )

        return _Side(
            index=index,
            turned=turned,
            blocks=tuple(block(rows) for rows in _cuts(lines)),
            alone=torch.cat([share * each for each in driven]).to(dtype),
            alone_idle=(share * lines.idle_ampere).sum(0).to(dtype),
            unsigned=unsigned,
        )

    def only_cols(self, cols: range) -> _Side | None:
        """Return the lines among `cols`, numbered from the first one; None if there are none."""
        kept = torch.nonzero((self.index >= cols.start) & (self.index < cols.stop)).flatten()
        if kept.numel() == 0:
            return None
        both = torch.cat([kept, kept + self.index.numel()])

        def some(each: Tensor | None) -> Tensor | None:
            return None if each is None else each[both]

        return replace(
            self,
            index=self.index[kept] - cols.start,
            blocks=tuple(
                replace(
                    block,
                    loads=block.loads[:, both],
                    sources=block.sources[:, both],
                    idle_load=some(block.idle_load),
                    idle_source=some(block.idle_source),
                )
                for block in self.blocks
            ),
            alone=self.alone[:, kept],
            alone_idle=self.alone_idle[kept],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _RapidTile(PreparedTile):
    sides: tuple[_Side, ...]
    cols: int
    slot_s: float
    solver: RapidSolver

    @override
    def charge(
        self, widths: Float[Tensor, "batch rows"], slots: int
    ) -> Float[Tensor, "batch cols"]:
        """Return the charge at each ADC, C; a part of a slot loads the line for all of it."""
        wide = widths.to(self.solver.dtype)
        per_side = max(side.index.numel() for side in self.sides)
        of_inputs = (2 * self.solver.nodes + 2) * (wide.shape[1] + slots)
        of_outputs = TENSORS * self.solver.nodes * per_side
        vectors = self.solver.memory_bytes // (wide.element_size() * (of_inputs + of_outputs))
        parts = [self._charge(part, slots) for part in torch.split(wide, max(1, vectors))]
        return torch.cat(parts) * self.slot_s if parts else wide.new_zeros((0, self.cols))

    @override
    def only_cols(self, cols: slice) -> PreparedTile:
        """Return the tile of some of the cols, cut into the same blocks."""
        chosen = range(*cols.indices(self.cols))
        sides = (side.only_cols(chosen) for side in self.sides)
        return replace(self, sides=tuple(s for s in sides if s is not None), cols=len(chosen))

    def _charge(
        self, widths: Float[Tensor, "batch rows"], slots: int
    ) -> Float[Tensor, "batch cols"]:
        """Charge in A x slots."""
        ends = widths.detach().abs().ceil().long()
        nodes = self.solver.nodes
        path = LoadingPath.of(ends, slots=slots, nodes=nodes, dtype=widths.dtype)
        time = path.time_at(widths, ends)
        held = _Held(
            signed=time,
            unsigned=time * widths.sign(),
            on=torch.stack([path.share_on(ends, 1 + node) for node in range(nodes)]),
            window=path.weights.sum(2)[..., None],
        )
        out = widths.new_zeros((widths.shape[0], self.cols))
        for side in self.sides:
            seen = held.turned() if side.turned else held
            out = out.index_copy(1, side.index, _collapse(side, seen))
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class _Held:
    """What a batch does at each state; that of no loading comes first.

    Attributes:
        signed, unsigned: Slots for which an input is held at it.
        on: How much of a row is on there, without the state of no loading.
        window: Slots of the window that it counts for.
    """

    signed: Float[Tensor, "states batch rows"]
    unsigned: Float[Tensor, "states batch rows"]
    on: Float[Tensor, "nodes batch rows"]
    window: Float[Tensor, "states batch 1"]

    def turned(self) -> _Held:
        return _Held(
            signed=self.signed.flip(2),
            unsigned=self.unsigned.flip(2),
            on=self.on.flip(2),
            window=self.window,
        )


def _collapse(side: _Side, held: _Held) -> Float[Tensor, "batch cols"]:
    """Charge at the ADCs of one side, A x slots."""
    time = torch.cat([held.signed, held.unsigned], 2) if side.unsigned else held.signed
    alone = torch.addmm(held.window[0] * side.alone_idle, time[0], side.alone)
    states = held.on.shape[0]
    on = held.on.flatten(0, 1)
    signed, unsigned = held.signed[1:].flatten(0, 1), held.unsigned[1:].flatten(0, 1)
    window = held.window[1:].flatten(0, 1)
    one = on.new_ones(())
    beyond = driven = on.new_zeros(())
    for block, following in zip(side.blocks, (*side.blocks[1:], None), strict=True):
        seen = signed[:, block.rows]
        if side.unsigned:
            seen = torch.cat([seen, unsigned[:, block.rows]], 1)
        loads, sources = on[:, block.rows] @ block.loads, seen @ block.sources
        if block.idle_load is not None and block.idle_source is not None:
            loads, sources = loads + block.idle_load, sources + window * block.idle_source
        load, load_moment = loads.chunk(2, 1)
        source, source_moment = sources.chunk(2, 1)
        sixth = torch.add(one, load, alpha=block.ohm / 6)
        middle = torch.add(beyond, load, alpha=0.5)
        a = torch.addcmul(torch.addcmul(beyond, load, sixth), load_moment, beyond)
        b = torch.addcmul(torch.addcmul(driven, source, sixth), source_moment, middle)
        d = torch.addcmul(one - load_moment, load, middle, value=-(block.ohm**2) / 12)
        # from the centre of this block to that of the next; the ADC is half a block away
        ohm = (block.ohm + (0.0 if following is None else following.ohm)) / 2
        d = torch.add(d, a, alpha=ohm)
        beyond, driven = a / d, b / d
    return alone + driven.reshape(states, -1, driven.shape[1]).sum(0)


def _cuts(lines: LineNetwork) -> list[slice]:
    """Blocks of nearly equal length, short enough for `BLOCK_DROP`."""
    densest = max(
        float(part.detach().mean(0).max()) for part in torch.split(lines.on_siemens, MOST_ROWS)
    )
    fit = math.sqrt(BLOCK_DROP / max(lines.ohm_per_cell * densest, 1e-300))
    longest = int(min(max(fit, 1.0), MOST_ROWS))
    count = -(-lines.rows // longest)
    edges = [lines.rows * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
