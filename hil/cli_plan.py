"""The command `hil plan`: what the hardware imposes on a recipe, shown before it is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_costs import show_costs
from hil.cli_options import (
    ChangesOption,
    DataOption,
    OutOption,
    RecipeArgument,
    RecipeCoreOption,
    SeedOption,
    run_folder,
)
from hil.cli_output import emit, say, table

if TYPE_CHECKING:
    from hil.experiment_plan import RecipePlan
    from hil.inference.plan_report import PlanReport

__all__ = ["plan", "show_plan"]

PLAN_FILE = "plan.json"
PICTURE_FILE = "placement.png"

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def plan(
    recipe: RecipeArgument,
    *,
    core: RecipeCoreOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    data: DataOption = None,
    changes: ChangesOption = None,
    link_rate: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            metavar="BYTES_PER_S",
            help="What the link carries each way.  \\[default: the baud rate of the address / 10]",
        ),
    ] = None,
) -> None:
    """Say what a chip imposes on a recipe: splits, places, MVMs, times, wear. Sends no pulse.

    Reads what the chip says of itself, and sends no MVM either. Pulses are predicted by rehearsing
    each method on a small simulated chip of the same model, and held against the chip's budgets.
    Without --out nothing is written; with it the folder gets the plan as JSON and as a picture.

    Examples:
    hil plan digits

    hil plan digits --core "sim:hermes?cores=1" --set mapping.plan=reprogram
    """
    from hil.experiment_plan import plan_recipe  # noqa: PLC0415
    from hil.recipe import load_recipe  # noqa: PLC0415

    checked = load_recipe(recipe, tuple(changes or ()))
    address = core or checked.chip.address
    found = plan_recipe(checked, address, data, seed=seed, bytes_per_s=link_rate)
    results = {
        "recipe": checked.name,
        "network": found.network,
        "trained": found.trained,
        "address": address,
        **found.report.model_dump(mode="json"),
        "costs": found.costs.model_dump(mode="json"),
    }
    where = {}
    if out is not None:
        document = checked.model_dump(mode="json")
        with run_folder("plan", out, seed=seed, address=address, recipe=document) as folder:
            _write(folder.path, found.report)
        where = {"out": str(folder.path)}
    show_plan(found, address)
    if out is not None:
        say(f"plan and picture: {where['out']}")
    emit({"command": "plan", **where, **results})


def _write(folder: Path, report: PlanReport) -> None:
    from hil.report_placement import draw_placement  # noqa: PLC0415
    from hil.run_folder import write_atomically  # noqa: PLC0415

    write_atomically(folder / PLAN_FILE, (report.model_dump_json(indent=2) + "\n").encode())
    write_atomically(folder / PICTURE_FILE, draw_placement(report.placements))


def show_plan(found: RecipePlan, address: str) -> None:
    """Write a plan for the person at the terminal."""
    report = found.report
    weights = "trained" if found.trained else "untrained"
    say(
        f"{found.network} ({weights}), {report.plan}, on {report.model}, chip "
        f"{report.chip_serial} ({report.backend.value}) at {address}; no pulse and no MVM was sent"
    )
    _show_layers(report)
    _show_cores(report)
    _show_blocks(report)
    _say_totals(report)
    show_costs(found.costs)
    if found.samples:
        say(f"input ranges: from {found.samples:,} training samples")
    else:
        say("input ranges: not calibrated, no data at hand; give its folder with --data DIR")


def _show_layers(report: PlanReport) -> None:
    heads = (
        *("layer", "rows x cols", "splits rows x cols", "cores", "shares them with", "rounds"),
        *("positions", "MVMs", "cycles", "time"),
    )
    table(
        "",
        heads,
        [
            (
                f"{layer.name} ({layer.kind})",
                f"{layer.rows} x {layer.cols}",
                f"{layer.row_splits} x {layer.col_splits}",
                ", ".join(map(str, layer.cores)),
                ", ".join(layer.shares_with) or "-",
                str(layer.rounds),
                f"{layer.vectors:,}",
                f"{layer.mvms:,}",
                f"{layer.cycles:,}",
                _time(layer.chip_s),
            )
            for layer in report.layers
        ],
    )


def _show_cores(report: PlanReport) -> None:
    table(
        "",
        ("core", "rows x cols", "cells used", "left", "cols used", "times written", "MVMs"),
        [
            (
                str(core.core),
                f"{core.rows} x {core.cols}",
                f"{core.cells_used:,}",
                f"{core.cells_left:,}",
                str(core.cols_used),
                str(core.writings),
                f"{core.mvms:,}",
            )
            for core in report.cores
        ],
    )


def _show_blocks(report: PlanReport) -> None:
    table(
        "",
        ("block", "round", "rows of the layer", "cols", "core", "rows of the core", "cols"),
        [
            (
                block.layer,
                str(number + 1),
                _span(block.row, block.rows),
                _span(block.col, block.cols),
                str(block.core),
                _span(block.core_row, block.rows),
                _span(block.core_col, block.cols),
            )
            for number, placement in enumerate(report.placements)
            for block in placement.blocks
        ],
    )


def _say_totals(report: PlanReport) -> None:
    copies = max(layer.copies for layer in report.layers)
    say(
        f"{report.weights:,} weights in {report.cells:,} cells, {report.utilisation:.2%} of "
        f"{report.cells_chip:,}; every weight stands "
        + ("once" if copies == 1 else f"at up to {copies} places")
    )
    say(
        f"one sample: {report.mvms:,} MVMs, one block at a time, {_time(report.chip_s)} at "
        f"{_time(report.mvm_s)} each, {report.samples_per_s:,.0f} samples/s; {report.cycles:,} "
        "array cycles if blocks on the same rows were read together"
    )
    host = [f"{step.operation} {step.values:,}" for step in report.host]
    say(
        f"on the host per sample: {report.partial_sums:,} additions of partial sums"
        + "".join(f", {words}" for words in host)
        + " values"
    )
    known = [f"{m.pulses:,} pulses by {m.method}" for m in report.methods if m.pulses is not None]
    unknown = [m.method for m in report.methods if m.pulses is None]
    if unknown:
        known.append(f"by {' and '.join(unknown)} as many pulses as the devices turn out to need")
    say(
        f"programming, per set of samples: cores written {report.rounds} times, "
        f"{report.devices:,} devices; {'; '.join(known)}"
    )


def _span(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}"


def _time(seconds: float) -> str:
    """Write a time with three digits and its prefix."""
    scale, unit = next(((s, u) for s, u in _UNITS if seconds >= s), _UNITS[-1])
    return f"{seconds / scale:.4g} {unit}"
