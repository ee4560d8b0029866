"""Commands that run recipes and report on them: run, demo, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_options import DataOption, OutOption, SeedOption, default_folder, run_folder
from hil.cli_output import duration_text, emit, make_progress, say, table

if TYPE_CHECKING:
    from hil.experiment_results import ExperimentResult
    from hil.recipe import Recipe

__all__ = ["demo", "report", "run"]

_Address = Annotated[
    str | None,
    typer.Option(
        "--core", metavar="ADDRESS", help="Address of the chip.  \\[default: that of the recipe]"
    ),
]
_Jobs = Annotated[
    int, typer.Option(min=1, max=256, help="Chips at a time, for a recipe with several seeds.")
]


def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A bundled recipe (digits), or a .toml file.")
    ],
    *,
    core: _Address = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    data: DataOption = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable."
        ),
    ] = None,
    jobs: _Jobs = 1,
) -> None:
    """Run a recipe: a network onto a chip by each method, measured at each age. Any chip.

    A recipe is a .toml file with the network, the data, the plan, the methods, the ages and the
    goal; --set changes one key. Examples:

    hil run digits --core "sim:hermes?cores=2&seed=3" --out runs/three

    hil run digits --set data.samples=64 --set "chip.seeds=[1, 2, 3]" --jobs 2
    """
    from hil.recipe import load_recipe  # noqa: PLC0415

    checked = load_recipe(recipe, tuple(changes or ()))
    _run("run", checked, core=core, seed=seed, out=out, data=data, jobs=jobs)


def demo(
    *,
    core: _Address = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Show what this is: a ResNet on handwritten digits, on a simulated two-core chip.

    Programs it by program-and-verify and by gradient descent, calibrates it, and classifies real
    images now, after an hour and after a day of drift, with and without compensation. Takes a few
    minutes on two CPU cores and needs no data. The same as: hil run digits
    """
    from hil.recipe import load_recipe  # noqa: PLC0415

    _run("demo", load_recipe("digits"), core=core, seed=seed, out=out, data=None, jobs=1)


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Draw the report of a run again: pictures and one self-contained HTML page.

    Also closes the record of a run that was killed, and checks its journal.
    """
    from hil.report import result_of, write_report  # noqa: PLC0415
    from hil.run_folder import finalise_run  # noqa: PLC0415

    record = finalise_run(folder)
    page = write_report(folder)
    finalise_run(folder)
    runs = result_of(record)
    for result in runs:
        _show(result)
    say(f"report: {page}")
    emit({"command": "report", "report": str(page), **(record.results or {})})


def _run(
    command: str,
    recipe: Recipe,
    *,
    core: str | None,
    seed: int,
    out: Path | None,
    data: Path | None,
    jobs: int,
) -> None:
    from hil.backends import check_address  # noqa: PLC0415
    from hil.experiment_prepare import prepare_experiment  # noqa: PLC0415
    from hil.experiment_repeat import run_recipe  # noqa: PLC0415
    from hil.record import RunStatus  # noqa: PLC0415
    from hil.report import result_of, write_report  # noqa: PLC0415
    from hil.run_folder import finalise_run  # noqa: PLC0415

    address = core or recipe.chip.address
    check_address(address)
    prepare_experiment(recipe, data)  # refuses what cannot run before anything is written
    with (
        run_folder(
            recipe.name,
            out or default_folder(recipe.name),
            seed=seed,
            address=address,
            recipe=recipe.model_dump(mode="json"),
        ) as folder,
        make_progress() as progress,
    ):
        found = run_recipe(
            recipe,
            address=address,
            seed=seed,
            folder=folder,
            data_dir=data,
            jobs=jobs,
            progress=progress,
        )
        results = found.model_dump(mode="json")
        folder.finish(RunStatus.DONE if found.goal_met else RunStatus.GOAL_NOT_MET, results)
        with progress.task("drawing the report"):
            page = write_report(folder.path)
    record = finalise_run(folder.path)
    for result in result_of(record):
        _show(result)
    say(found.verdict)
    say(f"report: {page}")
    emit(
        {
            "command": folder.record.command[1],
            "out": str(folder.path),
            "report": str(page),
            **results,
        }
    )
    if not found.goal_met:
        raise typer.Exit(1)


def _show(result: ExperimentResult) -> None:
    from hil.experiment_results import METHOD_NAMES, age_text  # noqa: PLC0415

    chip = result.chip
    say(
        f"{result.network} on {result.dataset}, {result.samples} test images, {chip.model} "
        f"{chip.serial} ({chip.backend.value}), {result.utilisation:.0%} of the cells"
    )
    say(
        f"accuracy in software {result.software_accuracy:.2%}, with converters alone "
        f"{result.quantised_accuracy:.2%}"
    )
    heads = ["accuracy / MVM error"] + [age_text(age) for age in result.ages_s]
    rows = []
    for method in result.methods:
        for compensation in result.compensations:
            points = [result.point(method.method, age, compensation) for age in result.ages_s]
            name = METHOD_NAMES.get(method.method, method.method)
            words = "uncompensated" if compensation == "none" else compensation.replace("_", "-")
            rows.append(
                [f"{name}, {words}"] + [f"{p.accuracy:.2%} / {p.mvm_error:.1%}" for p in points]
            )
    table("", heads, rows)
    table(
        "",
        ("programming", "pulses per device", "MVM error", "after affine fit", "chip time", "wall"),
        [
            (
                METHOD_NAMES.get(m.method, m.method),
                f"{m.pulses_per_device:.2f} (most {m.pulses_max})",
                _percent(m.mvm_error),
                _percent(m.mvm_error_affine),
                duration_text(m.chip_s),
                duration_text(m.wall_s),
            )
            for m in result.methods
        ],
    )
    say(
        f"whole run: {duration_text(result.chip_s)} on the chip, "
        f"{duration_text(result.wall_s)} here"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
