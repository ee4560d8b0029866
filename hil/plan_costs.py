"""What a plan costs: bytes and time on the link, chip time of programming, wear against budgets.

Everything is known or rehearsed before the chip is touched. Knows what a chip says of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.chip_records import chip_folder, keeps_records, known_chips
from hil.link_cost import Traffic, link_rate, mvm_traffic, pulse_traffic, read_traffic
from hil.programming.rehearsal import Rehearsal, rehearse
from hil.pulse_limits import Budget, Limits, check_limits, limits_for
from hil.wear import ChipWear

if TYPE_CHECKING:
    from hil.inference.plan_report import PlanReport
    from hil.info import ChipInfo
    from hil.programming import ProgrammingAlgorithm

__all__ = ["Block", "LinkCost", "MethodCost", "PlanCosts", "WearOutlook", "costs_of", "plan_costs"]

SPARE_PULSES = 2
"""Pulses of a device beyond one per probe: the first SET and the first RESET."""


class Document(BaseModel):
    """A frozen document without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(Document):
    """Cells that are programmed together: core, rows, cols, times they are written."""

    core: int
    rows: int
    cols: int
    times: int = 1


class LinkCost(Document):
    """Bytes from and to the host, and their time at the link's rate; None where it is not known."""

    bytes_out: int
    bytes_in: int
    link_s: float | None


class MethodCost(Document):
    """Programming by one method, per set of samples.

    Attributes:
        method: Its name.
        rehearsed: The counts come from a rehearsal on a simulated chip of the same model.
        pulses_per_device: Mean predicted; None where only the chip can tell.
        most_per_device: Highest predicted for a device, per writing.
        worst_per_device: What no device can exceed, per writing.
        pulses, worst_pulses: All devices together, predicted and at worst.
        chip_s: Chip time predicted, waits of the method included, s.
        link: Bytes and time on the link.
    """

    method: str
    rehearsed: bool
    pulses_per_device: float | None
    most_per_device: int | None
    worst_per_device: int
    pulses: int | None
    worst_pulses: int
    chip_s: float | None
    link: LinkCost | None


class WearOutlook(Document):
    """Wear before and after, against the budgets.

    Attributes:
        kept: The chip has a wear ledger; otherwise it is taken as new.
        pulses: Pulses of the whole chip so far.
        most_of_a_device: Pulses so far of the device that has had most.
        predicted_of_a_device: Most of a device after all methods, where predicted.
        limits, limits_sha256: Limits file in force.
        budget: Budgets in force.
        exceeded: Budgets that the prediction exceeds; programming would stop there.
    """

    kept: bool
    pulses: int
    most_of_a_device: int
    predicted_of_a_device: int | None
    limits: str
    limits_sha256: str
    budget: Budget
    exceeded: tuple[str, ...]


class PlanCosts(Document):
    """What a plan costs.

    Attributes:
        bytes_per_s: Rate of the link each way; None if not known.
        sample: MVMs of one sample; None where none is planned.
        methods: Programming, method by method.
        wear: Wear against budgets.
    """

    bytes_per_s: float | None
    sample: LinkCost | None
    methods: tuple[MethodCost, ...]
    wear: WearOutlook


def plan_costs(
    report: PlanReport,
    chip: ChipInfo,
    methods: Sequence[ProgrammingAlgorithm[Any]],
    *,
    bytes_per_s: float | None = None,
) -> PlanCosts:
    """Say what a planned network costs on a chip.

    Args:
        report: From `plan_report`.
        chip: What the chip says of itself.
        methods: Programming methods in question.
        bytes_per_s: Rate of the link; None takes that of the address.

    Raises:
        RequestError: The pulses of a method are outside the chip's limits.
    """
    calls = {layer.name: layer.calls if layer.rounds > 1 else 1 for layer in report.layers}
    blocks = [
        Block(core=block.core, rows=block.rows, cols=block.cols, times=calls[block.layer])
        for placement in report.placements
        for block in placement.blocks
    ]
    vectors = {layer.name: layer.vectors for layer in report.layers}
    sample = Traffic(0, 0)
    for placement in report.placements:
        for b in placement.blocks:
            info = chip.cores[b.core]
            batch = min(info.max_batch, vectors[b.layer])
            if batch:
                one = mvm_traffic(info, batch, b.rows, b.cols)
                sample = sample.plus(one.times(vectors[b.layer] / batch))
    writings = max((core.writings for core in report.cores), default=1)
    return costs_of(
        blocks, chip, methods, sample=sample, bytes_per_s=bytes_per_s, writings=writings
    )


def costs_of(
    blocks: Sequence[Block],
    chip: ChipInfo,
    methods: Sequence[ProgrammingAlgorithm[Any]],
    *,
    sample: Traffic | None = None,
    bytes_per_s: float | None = None,
    writings: int = 1,
) -> PlanCosts:
    """Say what programming `blocks` by each of `methods` in turn costs.

    Args:
        blocks: Cells to program.
        chip: What the chip says of itself.
        methods: Programming methods.
        sample: Traffic of the MVMs of one sample.
        bytes_per_s: Rate of the link; None takes that of the address.
        writings: Most times that a cell is written by one method.

    Raises:
        RequestError: The pulses of a method are outside the chip's limits.
    """
    rate = link_rate(chip.address, bytes_per_s)
    folder = chip_folder(chip.serial) if keeps_records(chip) else None
    limits = limits_for(chip.model, chip.backend, folder)
    found = tuple(_method(method, blocks, chip, limits, rate) for method in methods)
    return PlanCosts(
        bytes_per_s=rate,
        sample=None if sample is None else _link(sample, rate),
        methods=found,
        wear=_wear(chip, limits, found, writings),
    )


def _method(
    method: ProgrammingAlgorithm[Any],
    blocks: Sequence[Block],
    chip: ChipInfo,
    limits: Limits,
    rate: float | None,
) -> MethodCost:
    rehearsal = rehearse(method, chip.cores[0])
    if rehearsal is not None:
        for pulse in rehearsal.pulses:
            check_limits(limits, chip.cores[0], pulse)
    devices = sum(b.times * b.rows * b.cols * chip.cores[b.core].devices_per_cell for b in blocks)
    known = method.pulses_per_device
    worst = round(known) if known is not None else method.max_iterations + SPARE_PULSES
    mean = rehearsal.pulses_per_device if rehearsal is not None else known
    return MethodCost(
        method=method.name,
        rehearsed=rehearsal is not None,
        pulses_per_device=mean,
        most_per_device=None if rehearsal is None else rehearsal.most_per_device,
        worst_per_device=worst,
        pulses=None if mean is None else round(mean * devices),
        worst_pulses=worst * devices,
        chip_s=None if rehearsal is None else _chip_s(rehearsal, blocks, chip),
        link=None if rehearsal is None else _link(_traffic(rehearsal, blocks, chip), rate),
    )


def _chip_s(rehearsal: Rehearsal, blocks: Sequence[Block], chip: ChipInfo) -> float:
    """Slots of pulses and reads, MVMs, and what the method waits; cores share one clock."""
    total = rehearsal.wait_s * max((b.times for b in blocks), default=0)
    for b in blocks:
        info = chip.cores[b.core]
        lines = min(max(info.rows, info.cols), b.rows + b.cols - 1)
        groups = info.devices_per_cell * lines
        slot_s = max(p.slot_s for p in info.pulses)
        reads = (
            groups * info.read_slot_s * (rehearsal.requests if rehearsal.reads_per_device else 0)
        )
        each = rehearsal.requests * groups * slot_s + reads
        total += b.times * (each + rehearsal.mvms * min(info.mvm_s.values()))
    return total


def _traffic(rehearsal: Rehearsal, blocks: Sequence[Block], chip: ChipInfo) -> Traffic:
    total = Traffic(0, 0)
    requests = max(1, rehearsal.requests)
    for b in blocks:
        info = chip.cores[b.core]
        devices = b.rows * b.cols * info.devices_per_cell
        entries = round(rehearsal.pulses_per_device * devices / requests)
        one = pulse_traffic(info, entries).times(rehearsal.requests)
        if rehearsal.reads_per_device:
            reads = round(rehearsal.reads_per_device * devices / requests)
            one = one.plus(read_traffic(info, reads).times(requests))
        if rehearsal.mvms:
            batch = min(info.max_batch, max(1, rehearsal.mvms // requests))
            vectors = mvm_traffic(info, batch, b.rows, b.cols)
            one = one.plus(vectors.times(rehearsal.mvms / batch))
        total = total.plus(one.times(b.times))
    return total


def _link(traffic: Traffic, rate: float | None) -> LinkCost:
    return LinkCost(
        bytes_out=traffic.bytes_out,
        bytes_in=traffic.bytes_in,
        link_s=None if rate is None else traffic.seconds(rate),
    )


def _wear(
    chip: ChipInfo, limits: Limits, methods: Sequence[MethodCost], writings: int
) -> WearOutlook:
    kept = keeps_records(chip) and any(card.serial == chip.serial for card in known_chips())
    spent, most = 0, 0
    if kept:
        with ChipWear.of(chip_folder(chip.serial), chip) as ledger:
            totals = [ledger.totals(core.core).sum(axis=0) for core in chip.cores]
            spent, most = ledger.pulses, max(int(np.max(total)) for total in totals)
    pulses = [m.pulses for m in methods]
    each = [m.most_per_device for m in methods]
    run = None if None in pulses else sum(p for p in pulses if p is not None)
    device = None if None in each else most + writings * sum(e for e in each if e is not None)
    b = limits.budget
    rows = (
        ("pulses_per_device", device, b.pulses_per_device),
        ("pulses_per_run", run, b.pulses_per_run),
        ("pulses_per_chip", None if run is None else spent + run, b.pulses_per_chip),
    )
    return WearOutlook(
        kept=kept,
        pulses=spent,
        most_of_a_device=most,
        predicted_of_a_device=device,
        limits=limits.source,
        limits_sha256=limits.sha256,
        budget=b,
        exceeded=tuple(
            f"{name}: {wanted:,} predicted, {allowed:,} allowed"
            for name, wanted, allowed in rows
            if wanted is not None and allowed is not None and wanted > allowed
        ),
    )
