"""The command that runs the conformance suite on a chip and writes a report to attach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli_options import OutOption, run_folder
from hil.cli_output import emit, make_progress, say, table
from hil.record import RunStatus

__all__ = ["conformance"]

REPORT_FILE = "conformance.md"


def conformance(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the chip.")],
    *,
    allow_pulses: Annotated[
        bool,
        typer.Option(
            "--allow-pulses",
            help="Let silicon get the few announced pulses of some laws, in the last cells of core "
            "0. Without it these laws are skipped there; a simulator is pulsed freely.",
        ),
    ] = False,
    tape: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="DIR",
            help="Record each opening into DIR: replay:DIR then conforms without the chip.",
        ),
    ] = None,
    out: OutOption = None,
) -> None:
    """Try on a chip what every core owes: one law at a time, pass, fail or skipped with its reason.

    Exits with 1 if a law does not hold. The report (conformance.md in the run folder) names the
    chip, the versions, each law and the pulses it sent. Examples:

    hil conformance "sim:hermes?rows=24&cols=20"

    hil conformance "serial:/dev/ttyUSB0" --allow-pulses --out board-7
    """
    from hil.conformance.report import (  # noqa: PLC0415
        LawOutcome,
        gist_of,
        markdown_of,
        summary_of,
        title_of,
    )
    from hil.conformance.run import run_suite  # noqa: PLC0415

    with run_folder("conformance", out, seed=0, address=address) as folder:
        with make_progress() as progress:
            found = run_suite(address, allow_pulses=allow_pulses, record=tape, progress=progress)
        page = folder.path / REPORT_FILE
        page.write_text(markdown_of(found), encoding="utf-8")
        results = {"passed": found.passed, "pulses": found.pulses, **found.model_dump(mode="json")}
        folder.finish(RunStatus.DONE if found.passed else RunStatus.GOAL_NOT_MET, results)
    chapters = dict.fromkeys(law.chapter for law in found.laws)
    rows = []
    for chapter in chapters:
        laws = [law for law in found.laws if law.chapter == chapter]
        counts = (sum(law.outcome is o for law in laws) for o in LawOutcome)
        rows.append((chapter, *map(str, counts), str(sum(law.pulses for law in laws))))
    table(f"Conformance of {address}", ("about", "pass", "fail", "skipped", "pulses"), rows)
    for law in found.laws:
        if law.outcome is LawOutcome.FAILED:
            say(f"does not hold: {title_of(law)}: {gist_of(law)}")
    reasons = {law.reason for law in found.laws if law.outcome is LawOutcome.SKIPPED}
    for reason in sorted(reasons):
        laws = [law for law in found.laws if law.reason == reason]
        say(f"skipped {len(laws)}: {reason}")
    say(f"{summary_of(found)}.")
    say(f"report: {page}")
    emit({"command": "conformance", "out": str(folder.path), "report": str(page), **results})
    if not found.passed:
        raise typer.Exit(1)
