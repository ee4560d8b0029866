"""Command fit: measure a chip and write the preset file that simulated chips open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_consent import (
    ExpectSerialOption,
    YesOption,
    binding_document,
    end_dry_run,
    silicon_without_yes,
)
from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import duration_text, emit, make_progress, say, table
from hil.errors import RequestError
from hil.record import RunStatus, now_text

if TYPE_CHECKING:
    from hil.fitting import FitPlan, FitReport
    from hil.info import ChipInfo

__all__ = ["fit"]

PRESET_FILE, FIT_FILE, TABLE_FILE = "preset.json", "fit.json", "fit.md"
LAWS_PICTURE, RESIDUALS_PICTURE = "laws.png", "residuals.png"


def fit(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the chip.")],
    *,
    effort: Annotated[
        str, typer.Option(metavar="full|quick", help="How much to measure.")
    ] = "full",
    on_core: Annotated[int, typer.Option(min=0, help="Index of the core to measure.")] = 0,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of the block that is pulsed, from the first.")
    ] = None,
    cols: Annotated[
        int | None, typer.Option(min=1, help="Cols of the block that is pulsed, from the first.")
    ] = None,
    longest: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Follow drift so long; default: 500 reference ages."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="Built-in preset for what is not measured; default: the chip's model.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    expect_serial: ExpectSerialOption = None,
    yes: YesOption = False,
) -> None:
    """Measure a chip and write a preset file: programming curve, drift, noise, gain and offset.

    Works through the verbs of a core alone, on any back-end. The block is overwritten. Silicon is
    pulsed only with --yes; without it the plan is shown. Exits with 1 if a family of data is not
    described well. A simulated chip opens the file: sim:hermes?params=DIR/preset.json. Example:

    hil fit "sim:hermes?seed=7" --effort quick --out runs/fit
    """
    from hil.fitting import Effort, FitPlan  # noqa: PLC0415

    if effort not in tuple(Effort):
        raise RequestError(f"--effort {effort!r} is unknown; known: {', '.join(Effort)}")

    def plan_for(chip: ChipInfo) -> FitPlan:
        if on_core >= len(chip.cores):
            raise RequestError(
                f"--on-core {on_core} is outside 0...{len(chip.cores) - 1} of chip {chip.serial}"
            )
        core = chip.cores[on_core]
        return FitPlan.of(
            core,
            effort=Effort(effort),
            rows=rows,
            cols=cols,
            longest_s=longest,
            most_code=_most_code(chip, on_core),
        )

    silicon = silicon_without_yes(address, yes=yes, serial=expect_serial)
    if silicon is not None:
        plan = plan_for(silicon)
        _show_plan(plan, silicon)
        end_dry_run(silicon, {"command": "fit", "plan": plan.model_dump(mode="json")})
        return
    from hil.fitting import (  # noqa: PLC0415
        make_preset,
        make_report,
        measure_and_fit,
        plot_laws,
        plot_residuals,
    )
    from hil.session import Session  # noqa: PLC0415

    with run_folder(
        "fit", out, seed=seed, address=address, recipe=binding_document(expect_serial)
    ) as folder:
        with (
            Session.open(address, seed=seed, folder=folder) as session,
            make_progress() as progress,
        ):
            chip = session.chip.info
            plan = plan_for(chip)
            _show_plan(plan, chip)
            found = measure_and_fit(session.chip.cores[on_core], plan, seed=seed, progress=progress)
        at = now_text()
        report = make_report(found, chip, at)
        preset = make_preset(found, chip, base or chip.model, at)
        _write(folder.path, report, preset.model_dump_json(indent=1, exclude_none=True))
        from hil.run_folder import write_atomically  # noqa: PLC0415

        write_atomically(folder.path / LAWS_PICTURE, plot_laws(found))
        write_atomically(folder.path / RESIDUALS_PICTURE, plot_residuals(found))
        status = RunStatus.DONE if report.good else RunStatus.GOAL_NOT_MET
        results = report.model_dump(mode="json")
        folder.finish(status, {"fit": FIT_FILE, "preset": PRESET_FILE, "good": report.good})
    _show(report)
    say(f"run folder: {folder.path}; open it as sim:{preset.base}?params={folder.path}/preset.json")
    emit({"command": "fit", "out": str(folder.path), **results})
    if not report.good:
        raise typer.Exit(1)


def _most_code(chip: ChipInfo, core: int) -> int | None:
    """Highest amplitude code that the limits in force let through, of either family."""
    from hil.chip_records import chip_folder, keeps_records  # noqa: PLC0415
    from hil.pulse_limits import limits_for  # noqa: PLC0415

    folder = chip_folder(chip.serial) if keeps_records(chip) else None
    families = limits_for(chip.model, chip.backend, folder).families
    if families is None:
        return None
    codes = []
    for family, allowed in families.items():
        limits, (_, high) = chip.cores[core].limits(family), allowed.amplitudes
        if limits is not None and high is not None:
            scale = limits.amplitude
            codes.append(min(scale.max_code, int((high - scale.offset) / scale.step + 1e-6)))
    return min(codes) if codes else None


def _show_plan(plan: FitPlan, chip: ChipInfo) -> None:
    """Say what will be done before the first pulse leaves."""
    info = chip.cores[plan.core]
    say(
        f"fit of {chip.model} {chip.serial} ({chip.backend.value}), core {plan.core}: "
        f"{plan.devices:,} devices of {plan.rows} x {plan.cols} cells are overwritten by "
        f"{plan.pulses:,} pulses, {plan.most_per_device} at most on one device; "
        f"{plan.reads:,} device reads; {duration_text(plan.chip_s(info))} on the chip"
    )


def _write(folder: Path, report: FitReport, preset: str) -> None:
    from hil.run_folder import write_atomically  # noqa: PLC0415

    write_atomically(folder / PRESET_FILE, (preset + "\n").encode())
    write_atomically(folder / FIT_FILE, (report.model_dump_json(indent=1) + "\n").encode())
    lines = [
        f"# {report.model} chip {report.serial}",
        "",
        f"Measured at {report.measured_at} on {report.plan.devices:,} devices: "
        f"`hil {' '.join(sys.argv[1:])}`",
        "",
        "| parameter | value | 95 % interval | unit | n | published |",
        "|---|---|---|---|---|---|",
        *(
            f"| {e.name} | {e.value:.5g} | {e.low:.5g} ... {e.high:.5g} | {e.unit} | {e.n} | "
            f"{'' if e.published is None else format(e.published, 'g')} |"
            for e in report.estimates
        ),
        "",
    ]
    for c in report.curves:
        lines += [
            f"## {c.name}, n = {c.n}",
            "",
            "| r | value | 95 % interval |",
            "|---|---|---|",
            *(
                f"| {r:.3f} | {v:.4g} | {low:.4g} ... {high:.4g} |"
                for r, v, low, high in zip(c.r, c.values, c.low, c.high, strict=True)
            ),
            "",
        ]
    lines += ["## Goodness of fit", "", "| family | statistic | value | good from ... to | good |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {f.family} | {f.statistic} | {f.value:.4g} | {f.low:.3g} ... {f.high:.3g} | "
        f"{'yes' if f.good else 'no'} |"
        for f in report.fitness
    ]
    write_atomically(folder / TABLE_FILE, ("\n".join(lines) + "\n").encode())


def _show(report: FitReport) -> None:
    table(
        "",
        ("parameter", "value", "95 % interval", "unit", "n"),
        [
            (e.name, f"{e.value:.5g}", f"{e.low:.4g} ... {e.high:.4g}", e.unit, f"{e.n:,}")
            for e in report.estimates
        ],
    )
    table(
        "Laws against conductance over g_max; the tables are in fit.md",
        ("law", "at r = 0.1", "at r = 0.5", "at r = 1", "largest half interval"),
        [
            (
                c.name,
                *(f"{_interpolated(c.r, c.values, r):.4g}" for r in (0.1, 0.5, 1.0)),
                f"{max((h - low) / 2 for low, h in zip(c.low, c.high, strict=True)):.2g}",
            )
            for c in report.curves
        ],
    )
    table(
        "",
        ("goodness of fit", "statistic", "value", "good from ... to", ""),
        [
            (
                f.family,
                f.statistic,
                f"{f.value:.4g}",
                f"{f.low:.3g} ... {f.high:.3g}",
                "" if f.good else "NOT GOOD",
            )
            for f in report.fitness
        ],
    )


def _interpolated(r: tuple[float, ...], values: tuple[float, ...], at: float) -> float:
    import numpy as np  # noqa: PLC0415

    return float(np.interp(at, r, values))
