"""Commands that run recipes and report on them: run, demo, report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_consent import ExpectSerialOption, YesOption, end_dry_run, silicon_without_yes
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
from hil.cli_output import emit, make_progress, say, table
from hil.cli_plan import show_plan
from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.ablation import AblationResult
    from hil.experiment_prepare import PreparedExperiment
    from hil.recipe import Recipe
    from hil.report_tables import Found, Table
    from hil.run_folder import RunFolder

__all__ = ["demo", "dry_run_of_recipe", "report", "run", "run_in", "show_found", "show_run"]

_Jobs = Annotated[
    int, typer.Option(min=1, max=256, help="Chips at a time, for a recipe with several seeds.")
]


def run(
    recipe: RecipeArgument,
    *,
    core: RecipeCoreOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    data: DataOption = None,
    changes: ChangesOption = None,
    jobs: _Jobs = 1,
    resume: ResumeOption = None,
    expect_serial: ExpectSerialOption = None,
    yes: YesOption = False,
) -> None:
    """Run a recipe: a network onto a chip by each method, measured at each age. Any chip.

    A recipe is a .toml file with the network, the data, the plan, the methods, the ages and the
    goal; --set changes one key. Examples:

    hil run digits --core "sim:hermes?cores=2&seed=3" --out runs/three

    hil run digits --set data.samples=64 --set "chip.seeds=[1, 2, 3]" --jobs 2
    """
    from hil.recipe import load_recipe  # noqa: PLC0415

    checked = load_recipe(recipe, tuple(changes or ()))
    if expect_serial is not None:
        chip = checked.chip.model_copy(update={"serial": expect_serial})
        checked = checked.model_copy(update={"chip": chip})
    if not dry_run_of_recipe(checked, core, seed, data, yes=yes, command="run"):
        _run(checked, core=core, seed=seed, out=out, data=data, jobs=jobs, resume=resume)


def demo(
    *,
    core: RecipeCoreOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    yes: YesOption = False,
) -> None:
    """Show what this is: a ResNet on handwritten digits, on a simulated two-core chip.

    Programs it by program-and-verify and by gradient descent, calibrates it, and classifies real
    images now, after an hour and after a day of drift, with and without compensation. Takes a few
    minutes on two CPU cores and needs no data. The same as: hil run digits
    """
    from hil.recipe import load_recipe  # noqa: PLC0415

    checked = load_recipe("digits")
    if not dry_run_of_recipe(checked, core, seed, None, yes=yes, command="demo"):
        _run(checked, core=core, seed=seed, out=out, data=None, jobs=1, resume=None)


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Draw the report of a run again: pictures and one self-contained HTML page.

    Also closes the record of a run that was killed, and checks its journal.
    """
    from hil.report import found_in, write_report  # noqa: PLC0415
    from hil.run_folder import finalise_run  # noqa: PLC0415

    record = finalise_run(folder)
    page = write_report(folder)
    finalise_run(folder)
    show_found(found_in(record))
    say(f"report: {page}")
    emit({"command": "report", "report": str(page), **(record.results or {})})


def _run(
    recipe: Recipe,
    *,
    core: str | None,
    seed: int,
    out: Path | None,
    data: Path | None,
    jobs: int,
    resume: Path | None,
) -> None:
    from hil.backends import check_address  # noqa: PLC0415
    from hil.experiment_prepare import prepare_experiment  # noqa: PLC0415

    address = core or recipe.chip.address
    check_address(address)
    if resume is not None and not recipe.chip.seeds:
        raise RequestError(
            "--resume-into goes on with a recipe on several chips; give --set chip.seeds=[...] as "
            "in the first attempt, or run it again without"
        )
    # Refuses what cannot run before anything is written.
    prepared = prepare_experiment(recipe, data, seed=seed)
    with run_folder(
        recipe.name,
        out or default_folder(recipe.name),
        seed=seed,
        address=address,
        recipe=recipe.model_dump(mode="json"),
        resume=resume,
    ) as folder:
        found = run_in(folder, recipe, address=address, data=data, jobs=jobs, prepared=prepared)
    show_run(folder, found)


def dry_run_of_recipe(
    recipe: Recipe, core: str | None, seed: int, data: Path | None, *, yes: bool, command: str
) -> bool:
    """Show what a recipe would send if the chip is silicon and --yes is missing; say if it was.

    Raises:
        RequestError: It is not the chip that the recipe is bound to, or the network does not fit.
    """
    from hil.experiment_plan import plan_recipe  # noqa: PLC0415

    address = core or recipe.chip.address
    silicon = silicon_without_yes(address, yes=yes, serial=recipe.chip.serial)
    if silicon is None:
        return False
    found = plan_recipe(recipe, address, data, seed=seed)
    show_plan(found, address)
    costs = found.costs.model_dump(mode="json")
    end_dry_run(silicon, {"command": command, "recipe": recipe.name, "costs": costs})
    return True


def run_in(
    folder: RunFolder,
    recipe: Recipe,
    *,
    address: str,
    data: Path | None,
    jobs: int,
    prepared: PreparedExperiment,
) -> Found:
    """Do what `hil run` does in its run folder, the report included; return what was found."""
    from hil.experiment_repeat import run_recipe  # noqa: PLC0415
    from hil.record import RunStatus  # noqa: PLC0415
    from hil.report import write_report  # noqa: PLC0415

    with make_progress() as progress:
        found = run_recipe(
            recipe,
            address=address,
            seed=folder.record.seed,
            folder=folder,
            data_dir=data,
            jobs=jobs,
            progress=progress,
            prepared=prepared,
        )
        results = found.model_dump(mode="json")
        folder.finish(RunStatus.DONE if found.goal_met else RunStatus.GOAL_NOT_MET, results)
        with progress.task("drawing the report"):
            write_report(folder.path)
    return found


def show_run(folder: RunFolder, found: Found) -> None:
    """Close the record and tell what was found; leave with 1 if the goal was not met."""
    from hil.report import REPORT_FILE  # noqa: PLC0415
    from hil.run_folder import finalise_run  # noqa: PLC0415

    page = folder.path / REPORT_FILE
    finalise_run(folder.path)
    show_found(found)
    say(found.verdict)
    say(f"report: {page}")
    command = folder.command[1]
    results = found.model_dump(mode="json")
    emit({"command": command, "out": str(folder.path), "report": str(page), **results})
    if not found.goal_met:
        raise typer.Exit(1)


def show_found(found: Found | AblationResult) -> None:
    """Write what was found for the person at the terminal: tables, then sentences."""
    from hil.ablation import AblationResult  # noqa: PLC0415
    from hil.report_ablation import ablation_tables  # noqa: PLC0415

    if isinstance(found, AblationResult):
        show_tables(ablation_tables(found))
        return
    _show_experiment(found)


def show_tables(tables: Iterable[Table]) -> None:
    """Write tables with their notes."""
    for one in tables:
        table(one.title, one.heads, one.rows)
        say(f"{one.note}\n")


def _show_experiment(found: Found) -> None:
    from hil.experiment_words import duration_text  # noqa: PLC0415
    from hil.report_experiment import sentences_of  # noqa: PLC0415
    from hil.report_tables import (  # noqa: PLC0415
        accuracy_table,
        difference_tables,
        loss_table,
        programming_table,
        runs_of,
    )

    runs = runs_of(found)
    first = runs[0]
    chips = first.chip.serial if len(runs) == 1 else f"{len(runs)} chips"
    learnt = "" if first.trained else " (untrained)"
    say(
        f"{first.network}{learnt} on {first.dataset}, {first.samples:,} test {first.sample_word}, "
        f"{first.chip.model}, {chips} ({first.chip.backend.value}), {first.utilisation:.2%} of "
        f"the cells, {first.plan.mvms:,} MVMs and {duration_text(first.plan.chip_s)} of chip time "
        "per sample"
    )
    tables = (accuracy_table(found), *difference_tables(found), loss_table(found))
    show_tables((*tables, programming_table(found)))
    for sentence in sentences_of(found):
        say(sentence)
    say(
        f"whole run: {duration_text(sum(r.chip_s for r in runs))} on the chip, "
        f"{duration_text(sum(r.wall_s for r in runs))} here"
    )
