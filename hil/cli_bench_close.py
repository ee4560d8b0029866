"""How a benchmark's command ends: its record, its line of results, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from hil.cli_output import emit, say
from hil.record import RunStatus

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hil.run_folder import RunFolder

__all__ = ["close_run", "end_bench"]


def close_run(folder: RunFolder, found: BaseModel, met: bool) -> dict[str, Any]:
    """Write the record of a run that is done; return its results."""
    results = {"goal_met": met, **found.model_dump(mode="json")}
    folder.finish(RunStatus.DONE if met else RunStatus.GOAL_NOT_MET, results)
    return results


def end_bench(command: str, folder: RunFolder, results: dict[str, Any], met: bool) -> None:
    """Write the line of results; exit with 1 if the goal was not met."""
    say(f"run folder: {folder.path}")
    emit({"command": command, "out": str(folder.path), **results})
    if not met:
        raise typer.Exit(1)
