"""What a chip imposes on a network, known before it is touched: splits, places, MVMs, time.

Nothing is measured here. An MVM is one input vector on one block; a layer makes as many per sample
as it has input positions times blocks, and the chip runs them one after another. Blocks of a layer
that lie on the same rows of a core and take the same inputs could be read in one array cycle: the
cycles count them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.inference.plan import AnalogLayer, NetworkPlan
from hil.inference.sample_work import SampleWork, work_of
from hil.inference.settings import Plan
from hil.inference.tiles import place_in_turn, place_resident
from hil.info import BackendKind, ChipInfo
from hil.mapping import CoreSize, PlacedBlock, Placement
from hil.programming import ProgrammingAlgorithm

__all__ = ["CorePlan", "HostStep", "LayerPlan", "MethodPlan", "PlanReport", "plan_report"]

Rounds = dict[str, list[Placement]]
"""Placements in which a layer stands, by layer: one if resident, else one per round."""


class Document(BaseModel):
    """A frozen document without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerPlan(Document):
    """One analog layer.

    Attributes:
        name, kind: The layer.
        rows, cols: Size of its matrix.
        cells: Cells its blocks take; fewer than rows times cols where zeros are left out.
        row_splits: Most blocks whose partial sums make up one output.
        col_splits: Most blocks that one input drives.
        blocks: Blocks it is cut into.
        cores: Cores they lie on.
        shares_with: Layers that stand on the same cores at the same time.
        rounds: Times the cores are written for one call; resident layers stand there already.
        copies: Most places at which one of its weights stands.
        calls: Calls of the layer per sample.
        vectors: Input vectors per sample (positions of a convolution), all calls together.
        mvms: Vectors times blocks: array cycles per sample, as they are run.
        cycles: Array cycles per sample if blocks on the same rows of a core that take the same
            inputs were read together.
        chip_s: Time of the MVMs of one sample, s.
        partial_sums: Additions of partial sums on the host per sample.
        input_range: |input| of the highest input code; None if it is not calibrated.
    """

    name: str
    kind: str
    rows: int
    cols: int
    cells: int
    row_splits: int
    col_splits: int
    blocks: int
    cores: tuple[int, ...]
    shares_with: tuple[str, ...]
    rounds: int
    copies: int
    calls: int
    vectors: int
    mvms: int
    cycles: int
    chip_s: float
    partial_sums: int
    input_range: float | None


class CorePlan(Document):
    """One core.

    Attributes:
        core, rows, cols: Index and size.
        layers: Layers that stand on it, at any time.
        cells_used, cells_left: Taken and free where most are taken (resident: always).
        cols_used: Cols with a weight, likewise.
        writings: Times it is written per set of samples.
        mvms: MVMs per sample.
    """

    core: int
    rows: int
    cols: int
    layers: tuple[str, ...]
    cells_used: int
    cells_left: int
    cols_used: int
    writings: int
    mvms: int


class HostStep(Document):
    """An operation on the host: its name in torch, calls and values computed per sample."""

    operation: str
    calls: int
    values: int


class MethodPlan(Document):
    """Programming pulses per set of samples by one method; None where only the chip can tell."""

    method: str
    pulses_per_device: float | None
    pulses: int | None


class PlanReport(Document):
    """A network on a chip, before anything is written.

    Attributes:
        plan: "resident" or "reprogram".
        chip_serial, backend, model: The chip that was asked.
        layers, cores: Layer by layer, core by core.
        host: Operations on the host, partial sums and scales of the layers aside.
        methods: Programming methods in question.
        weights, cells: Weights of all layers; cells that their blocks take, all rounds together.
        cells_chip: Cells of all cores.
        utilisation: `cells` over `cells_chip`; above 1 only if layers are written in turn.
        rounds: Programming events: times cores are written per set of samples, together.
        devices: Devices written per set of samples.
        mvms, cycles, partial_sums: Per sample, all layers.
        mvm_s: Time of one MVM, s.
        chip_s: Time of the MVMs of one sample, s; programming and calibration come on top.
        samples_per_s: Its inverse.
        ranges_calibrated: Input ranges are those of real samples.
        placements: Where blocks lie: one document, or one per layer and round.
    """

    schema_version: Literal[1] = 1
    plan: str
    chip_serial: str
    backend: BackendKind
    model: str
    layers: tuple[LayerPlan, ...]
    cores: tuple[CorePlan, ...]
    host: tuple[HostStep, ...]
    methods: tuple[MethodPlan, ...]
    weights: int
    cells: int
    cells_chip: int
    utilisation: float
    rounds: int
    devices: int
    mvms: int
    cycles: int
    partial_sums: int
    mvm_s: float
    chip_s: float
    samples_per_s: float
    ranges_calibrated: bool
    placements: tuple[Placement, ...]


def plan_report(
    plan: NetworkPlan,
    chip: ChipInfo,
    kind: Plan | str = Plan.RESIDENT,
    *,
    methods: Sequence[ProgrammingAlgorithm[Any]] = (),
    ranges_calibrated: bool = True,
) -> PlanReport:
    """Say what a chip imposes on a network. Needs what the chip says of itself, not the chip.

    Args:
        plan: From `plan_network`.
        chip: What the chip says of itself (`Chip.info`).
        kind: Where layers are while the network runs.
        methods: Programming methods to predict pulses of.
        ranges_calibrated: The plan's input ranges come from real samples.

    Raises:
        RequestError: The network does not fit.
    """
    where = Plan(kind)
    sizes = [CoreSize(rows=core.rows, cols=core.cols) for core in chip.cores]
    work = work_of(plan)
    rounds = _placed(plan, sizes, where)
    placements = tuple({id(p): p for placed in rounds.values() for p in placed}.values())
    mvm_s = max(min(core.mvm_s.values()) for core in chip.cores)
    layers = tuple(
        _layer(layer, rounds[name], work, mvm_s, ranges_calibrated)
        for name, layer in plan.layers.items()
    )
    written = _written(rounds, work, where)
    cells, cells_chip = sum(p.cells_used for p in placements), sum(size.cells for size in sizes)
    devices = sum(
        times * block.cells * chip.cores[block.core].devices_per_cell
        for placement, times in written
        for block in placement.blocks
    )
    mvms = sum(layer.mvms for layer in layers)
    return PlanReport(
        plan=where.value,
        chip_serial=chip.serial,
        backend=chip.backend,
        model=chip.model,
        layers=layers,
        cores=tuple(_core(k, size, written, work) for k, size in enumerate(sizes)),
        host=tuple(
            HostStep(operation=step.operation, calls=step.calls, values=step.values)
            for step in work.host
        ),
        methods=tuple(_method(method, devices) for method in methods),
        weights=plan.weights,
        cells=cells,
        cells_chip=cells_chip,
        utilisation=cells / cells_chip,
        rounds=sum(len({b.core for b in p.blocks}) * times for p, times in written),
        devices=devices,
        mvms=mvms,
        cycles=sum(layer.cycles for layer in layers),
        partial_sums=sum(layer.partial_sums for layer in layers),
        mvm_s=mvm_s,
        chip_s=mvms * mvm_s,
        samples_per_s=1.0 / (mvms * mvm_s) if mvms else 0.0,
        ranges_calibrated=ranges_calibrated,
        placements=placements,
    )


def _placed(plan: NetworkPlan, sizes: Sequence[CoreSize], where: Plan) -> Rounds:
    if where is Plan.REPROGRAM:
        return place_in_turn(plan, sizes)
    placement = place_resident(plan, sizes)
    return {name: [placement] for name in plan.layers}


def _written(rounds: Rounds, work: SampleWork, where: Plan) -> list[tuple[Placement, int]]:
    """Each placement and how often it is written per set of samples."""
    if where is Plan.RESIDENT:
        return [(next(iter(rounds.values()))[0], 1)]
    return [(p, work.calls[name]) for name, placed in rounds.items() for p in placed]


def _layer(
    layer: AnalogLayer,
    placed: Sequence[Placement],
    work: SampleWork,
    mvm_s: float,
    ranges_calibrated: bool,
) -> LayerPlan:
    blocks = [block for placement in placed for block in placement.of(layer.name)]
    covers = np.zeros((layer.rows, layer.cols), np.int32)
    starts = np.zeros((2, max(layer.rows, layer.cols)), np.int32)
    for b in blocks:
        covers[b.row : b.row + b.rows, b.col : b.col + b.cols] += 1
        starts[0, b.col : b.col + b.cols] += 1  # blocks that an output is summed from
        starts[1, b.row : b.row + b.rows] += 1  # blocks that an input drives
    vectors = work.vectors[layer.name]
    neighbours = {
        other.layer
        for placement in placed
        for other in placement.blocks
        if other.core in {b.core for b in placement.of(layer.name)} and other.layer != layer.name
    }
    return LayerPlan(
        name=layer.name,
        kind=layer.kind,
        rows=layer.rows,
        cols=layer.cols,
        cells=sum(b.cells for b in blocks),
        row_splits=int(starts[0].max()),
        col_splits=int(starts[1].max()),
        blocks=len(blocks),
        cores=tuple(sorted({b.core for b in blocks})),
        shares_with=tuple(
            dict.fromkeys(b.layer for b in placed[0].blocks if b.layer in neighbours)
        ),
        rounds=len(placed),
        copies=int(covers.max()) * layer.geometry.copies,
        calls=work.calls[layer.name],
        vectors=vectors,
        mvms=vectors * len(blocks),
        cycles=vectors * sum(placement.cycles(layer.name) for placement in placed),
        chip_s=vectors * len(blocks) * mvm_s,
        partial_sums=vectors * int(np.maximum(starts[0] - 1, 0).sum()),
        input_range=layer.input_range if ranges_calibrated else None,
    )


def _core(
    index: int, size: CoreSize, written: Sequence[tuple[Placement, int]], work: SampleWork
) -> CorePlan:
    own = [[b for b in placement.blocks if b.core == index] for placement, _ in written]
    used = max((sum(b.cells for b in blocks) for blocks in own), default=0)
    return CorePlan(
        core=index,
        rows=size.rows,
        cols=size.cols,
        layers=tuple(dict.fromkeys(b.layer for blocks in own for b in blocks)),
        cells_used=used,
        cells_left=size.cells - used,
        cols_used=max((len(_cols(blocks)) for blocks in own), default=0),
        writings=sum(times for (_, times), blocks in zip(written, own, strict=True) if blocks),
        mvms=sum(work.vectors[b.layer] for blocks in own for b in blocks),
    )


def _cols(blocks: Sequence[PlacedBlock]) -> set[int]:
    return {col for b in blocks for col in range(b.core_col, b.core_col + b.cols)}


def _method(method: ProgrammingAlgorithm[Any], devices: int) -> MethodPlan:
    each = method.pulses_per_device
    pulses = None if each is None else round(each * devices)
    return MethodPlan(method=method.name, pulses_per_device=each, pulses=pulses)
