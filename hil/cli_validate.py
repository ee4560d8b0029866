"""The command that says how far a simulator is from what is published, row by row."""

from __future__ import annotations

from typing import Annotated

import typer

from hil.cli_options import OutOption, run_folder
from hil.cli_output import duration_text, emit, make_progress, say, table
from hil.record import RunStatus

__all__ = ["validate"]

DATA_FILE = "validation.json"
PAGE_FILE = "validation.md"


def validate(
    *,
    core: Annotated[
        str,
        typer.Option("--core", metavar="ADDRESS", help="Address of a chip of the simulator."),
    ] = "sim:hermes",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="FAMILY", help="Measure this family alone; repeatable."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer devices and seeds, the same tolerances; seconds."),
    ] = False,
    out: OutOption = None,
) -> None:
    """Compare a simulator with published statistics and exact solutions, quantity by quantity.

    Exits with 1 if a row misses its tolerance. The run folder gets every row (validation.json,
    validation.md) and the curves as pictures. Chips to measure on are made for it: of the address,
    the seed and the compute device count. Examples:

    hil validate --core sim:hermes

    hil validate --core "sim:hermes?seed=3" --only devices --quick
    """
    from hil.report_validation import (  # noqa: PLC0415
        GROUP_HEADS,
        group_cells,
        plot_validation,
        validation_markdown,
        validation_sentence,
    )
    from hil.validation import Effort, grouped  # noqa: PLC0415
    from hil.validators import validate_backend  # noqa: PLC0415

    with run_folder("validate", out, seed=0, address=core) as folder:
        with make_progress() as progress:
            found = validate_backend(
                core,
                only=tuple(only) if only else None,
                effort=Effort.QUICK if quick else Effort.FULL,
                progress=progress,
            )
        data, page = folder.path / DATA_FILE, folder.path / PAGE_FILE
        data.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        page.write_text(validation_markdown(found), encoding="utf-8")
        pictures = [folder.path / f"{plot.name}.png" for plot in found.plots]
        for plot, picture in zip(found.plots, pictures, strict=True):
            picture.write_bytes(plot_validation(plot))
        results = {
            "passed": found.passed,
            "effort": found.effort.value,
            "families": {
                family: {
                    "rows": len(rows),
                    "failed": sum(row.passed is False for row in rows),
                    "not_judged": sum(row.passed is None for row in rows),
                    "wall_s": found.wall_s[family],
                }
                for family in found.families
                for rows in [[row for row in found.rows if row.family == family]]
            },
            "not_measured": found.not_measured,
            "failed": [
                row.model_dump(mode="json", include={"family", "group", "at", "published", "ours"})
                for row in found.failed
            ],
        }
        folder.finish(RunStatus.DONE if found.passed else RunStatus.GOAL_NOT_MET, results)
    for family in found.families:
        groups = grouped([row for row in found.rows if row.family == family])
        took = duration_text(found.wall_s[family])
        table(f"{family} ({took})", GROUP_HEADS, [group_cells(group) for group in groups])
        for note in dict.fromkeys(row.note for g in groups for row in g.rows if row.note):
            say(f"{note}.")
        say("")
    for sentence in found.notes:
        say(sentence)
    for family, reason in found.not_measured.items():
        say(f"not measured: {family}: {reason}")
    say(f"{validation_sentence(found)}{' (quick)' if quick else ''}.")
    say(f"every row: {page}")
    emit(
        {
            "command": "validate",
            "out": str(folder.path),
            "report": str(page),
            "data": str(data),
            "pictures": [str(picture) for picture in pictures],
            **results,
        }
    )
    if not found.passed:
        raise typer.Exit(1)
