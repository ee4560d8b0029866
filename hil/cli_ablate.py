"""Command ablate: what each part costs."""

from __future__ import annotations

from typing import Annotated

import typer

from hil.cli_consent import YesOption
from hil.cli_options import (
    ChangesOption,
    DataOption,
    OutOption,
    RecipeArgument,
    RecipeCoreOption,
    ResumeOption,
    SeedOption,
    default_folder,
    run_folder,
)
from hil.cli_output import emit, make_progress, say
from hil.cli_run import dry_run_of_recipe, show_found
from hil.errors import RequestError

__all__ = ["ablate"]

ALL = "all"


def ablate(
    recipe: RecipeArgument,
    *,
    core: RecipeCoreOption = None,
    changes: ChangesOption = None,
    parts: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Parts to take away, with commas: all, calibration, compensation, adc, wire, "
            "programming, read_noise, drift, output_noise, mismatch, everything.",
        ),
    ] = ALL,
    adc_bits: Annotated[
        str,
        typer.Option(
            metavar="BITS", help="Resolutions to try for part adc, beside the chip's own."
        ),
    ] = "6,4",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test samples; short for --set data.samples=N.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Chips at a time.")] = 1,
    seed: SeedOption = 0,
    out: OutOption = None,
    data: DataOption = None,
    resume: ResumeOption = None,
    yes: YesOption = False,
) -> None:
    """Take parts away one by one: what do calibration, converters, noise and drift cost?

    Runs the recipe as it is and once without each part, on the same chips (chip.seeds), and
    compares the accuracies chip by chip and sample by sample. Parts of a chip can be taken away
    from a simulated one only; calibration and compensation anywhere. Example:

    hil ablate digits --parts adc,wire --set "chip.seeds=[1, 2, 3]" --samples 100
    """
    from hil.ablation import PARTS, parts_for, plan_variants, run_ablation  # noqa: PLC0415
    from hil.backends import check_address  # noqa: PLC0415
    from hil.experiment_prepare import prepare_experiment  # noqa: PLC0415
    from hil.recipe import load_recipe  # noqa: PLC0415
    from hil.record import RunStatus  # noqa: PLC0415
    from hil.report import write_report  # noqa: PLC0415
    from hil.run_folder import finalise_run  # noqa: PLC0415

    overrides = [*(changes or ()), *([] if samples is None else [f"data.samples={samples}"])]
    checked = load_recipe(recipe, tuple(overrides))
    address = core or checked.chip.address
    check_address(address)
    known = parts_for(address)
    chosen = known if parts.strip() == ALL else _names(parts)
    left_out = [part for part in PARTS if part not in known]
    if parts.strip() == ALL and left_out:
        say(f"{address} is no simulated chip: {', '.join(left_out)} cannot be taken away")
    if dry_run_of_recipe(checked, core, seed, data, yes=yes, command="ablate"):
        return
    variants = plan_variants(checked, address, parts=chosen, adc_bits=_bits(adc_bits))
    prepare_experiment(checked, data, seed=seed)  # refuses before anything is written
    asked = {**checked.model_dump(mode="json"), "parts": list(chosen), "adc_bits": adc_bits}
    name = f"ablate-{checked.name}"
    with (
        run_folder(
            name,
            out or default_folder(name),
            seed=seed,
            address=address,
            recipe=asked,
            resume=resume,
        ) as folder,
        make_progress() as progress,
    ):
        found = run_ablation(
            variants,
            seed=seed,
            folder=folder,
            data_dir=data,
            jobs=jobs,
            compensations="compensation" in chosen,
            progress=progress,
        )
        results = found.model_dump(mode="json")
        folder.finish(RunStatus.DONE if found.complete else RunStatus.GOAL_NOT_MET, results)
        with progress.task("drawing the report"):
            page = write_report(folder.path)
    finalise_run(folder.path)
    show_found(found)
    say(found.verdict)
    say(f"report: {page}")
    emit({"command": "ablate", "out": str(folder.path), "report": str(page), **results})
    if not found.complete:
        raise typer.Exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip().replace("-", "_") for part in text.split(",") if part.strip())


def _bits(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise RequestError(
            f"--adc-bits {text!r}: give whole numbers with commas between, for example 6,4"
        ) from error
