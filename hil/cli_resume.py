"""The command that takes up an interrupted run where its journal ends: resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_chip import program_in, show_program
from hil.cli_consent import YesOption, end_dry_run, silicon_without_yes
from hil.cli_options import DataOption, taken_up_folder
from hil.cli_output import emit, say
from hil.cli_run import run_in, show_run
from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.recipe import Recipe
    from hil.record import RunRecord

__all__ = ["resume"]


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the interrupted run.")],
    *,
    core: Annotated[
        str | None,
        typer.Option(
            "--core",
            metavar="ADDRESS",
            help="Address of the same chip, if it has another by now.  \\[default: that of the "
            "run]",
        ),
    ] = None,
    data: DataOption = None,
    yes: YesOption = False,
) -> None:
    """Go on with a run that was killed, lost its link or its board, on the same chip.

    What the journal holds is played back without touching the chip. Cells of a pulse request whose
    outcome is not known are read back, and only what was not applied is sent again; then the run
    goes on as if nothing had been. The chip must be the same, and must have kept its cells: a
    board, or a simulated one behind hil emulate. A run that has ended is left alone. Example:

    hil resume runs/three
    """
    from hil.program_request import has_request  # noqa: PLC0415
    from hil.record import RunStatus, load_record  # noqa: PLC0415

    record = load_record(run)
    if record.status in (RunStatus.DONE, RunStatus.GOAL_NOT_MET):
        say(f"{run} has ended ({record.status.value}); nothing is left to do")
        emit({"command": "resume", "out": str(run), "resumed": False})
        return
    address = core or record.address
    if address is None:
        raise RequestError(f"{run} is a run of {record.name} without a chip; run it again")
    silicon = silicon_without_yes(address, yes=yes)
    if silicon is not None:
        end_dry_run(silicon, {"command": "resume", "out": str(run), "resumed": False})
        return
    if has_request(run):
        _resume_program(run, address)
    else:
        _resume_recipe(run, record, address, data)


def _resume_program(run: Path, address: str) -> None:
    from hil.program_request import load_request  # noqa: PLC0415

    request, weights = load_request(run)
    with taken_up_folder(run) as folder:
        report, met = program_in(folder, request, weights, address)
        _tell(folder.record)
    show_program("resume", folder, report, met)


def _resume_recipe(run: Path, record: RunRecord, address: str, data: Path | None) -> None:
    from hil.experiment_prepare import prepare_experiment  # noqa: PLC0415

    recipe = _recipe_of(run, record)
    prepared = prepare_experiment(recipe, data, seed=record.seed)
    with taken_up_folder(run) as folder:
        found = run_in(folder, recipe, address=address, data=data, jobs=1, prepared=prepared)
        _tell(folder.record)
    show_run(folder, found)


def _recipe_of(run: Path, record: RunRecord) -> Recipe:
    from pydantic import ValidationError  # noqa: PLC0415

    from hil.recipe import Recipe  # noqa: PLC0415

    try:
        recipe = Recipe.model_validate(record.recipe)
    except ValidationError as error:
        raise RequestError(
            f"{run} is a run of {record.name!r}, of which nothing can be taken up; run it again: "
            f"{' '.join(record.command)}"
        ) from error
    if recipe.chip.seeds:
        raise RequestError(
            f"{run} is a run on several chips: repeat its command with --resume-into {run}, or "
            "resume the folder of one chip inside it"
        )
    return recipe


def _tell(record: RunRecord) -> None:
    """Say how the run was taken up."""
    last = record.resumptions[-1] if record.resumptions else None
    if last is None:
        return
    say(f"{last.played:,} verbs were played back from the journal")
    if last.in_doubt:
        evidence = last.evidence or "the run ended before it came to them"
        say(
            f"{last.in_doubt:,} pulses were in doubt: {evidence}; {last.sent_again:,} were sent "
            "again"
        )
