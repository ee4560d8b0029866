"""Where a report comes from: command, chip, seed, times, versions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hil.experiment_results import ExperimentResult
from hil.experiment_words import duration_text
from hil.info import BackendKind
from hil.record import RunRecord

__all__ = ["BACKEND_WORDS", "provenance_of"]

BACKEND_WORDS = {
    BackendKind.SIM: "simulated chip",
    BackendKind.SILICON: "silicon",
    BackendKind.REPLAY: "replayed run",
}
"""Kinds of back-end in words."""


def provenance_of(
    record: RunRecord, runs: Sequence[ExperimentResult]
) -> tuple[tuple[str, str], ...]:
    """Say how a run is repeated and what it ran on: name and value."""
    first = runs[0]
    return (
        ("repeat with", shlex.join(record.command)),
        ("address", record.address or first.address),
        ("chip", ", ".join(dict.fromkeys(run.chip.serial for run in runs))),
        ("network", first.network if first.trained else f"{first.network}, untrained"),
        ("seed", str(record.seed)),
        ("started, ended", f"{record.started_at}, {record.ended_at or 'not ended'}"),
        (
            "time",
            f"{duration_text(sum(r.wall_s for r in runs))} here, "
            f"{duration_text(sum(r.chip_s for r in runs))} on the chip",
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    )
