"""Runs the suite on one chip within this process and collects the report. Needs pytest."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.conformance.report import ConformanceReport, Law, LawOutcome
from hil.errors import RecordError, RequestError
from hil.progress import Progress, Task
from hil.record import new_record

if TYPE_CHECKING:
    import pytest

    from hil.conformance.board import Board

__all__ = ["run_suite"]

_SUITE = Path(__file__).parent
_LONGEST_REASON = 4000
"""Characters of a failure that the report keeps."""


def run_suite(
    address: str,
    *,
    allow_pulses: bool,
    record: Path | None,
    progress: Progress,
) -> ConformanceReport:
    """Run every law on the chip at `address`.

    Args:
        address: The chip; "replay:DIR" for recordings that the suite has made.
        allow_pulses: Whether silicon may get the suite's few announced pulses.
        record: Folder to record every opening into.
        progress: Where to tell how far it is.

    Raises:
        RequestError: pytest is not installed, or the address is wrong.
        CoreUnavailableError: Nothing answers there.
    """
    if find_spec("pytest") is None:
        raise RequestError(
            "the conformance suite needs pytest; install it: pip install 'aimc-hil[conformance]'"
        )
    import pytest  # noqa: PLC0415 - an extra

    from hil.conformance.board import board_at  # noqa: PLC0415

    if record is not None and record.exists() and any(record.iterdir()):
        raise RequestError(f"{record} is not empty; give another folder for the recordings")
    board = board_at(address, record=record)
    made = new_record("conformance", command=(), seed=0)
    with progress.task(f"conformance of {address}") as task:
        collector = _Collector(board, task)
        code = pytest.main(_arguments(address, allow_pulses, record), plugins=[collector])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RecordError(
            f"the conformance suite did not run: {collector.trouble or code}; run "
            f"pytest --board '{address}' to see why"
        )
    return ConformanceReport(
        address=address,
        chip=board.facts.info,
        quiet=board.facts.quiet,
        pulses_allowed=allow_pulses,
        versions=made.versions,
        started_at=made.started_at,
        laws=tuple(collector.laws),
    )


def _arguments(address: str, allow_pulses: bool, record: Path | None) -> list[str]:
    """Arguments of pytest: this suite, nothing of the folder it is called in, nothing printed."""
    given = [str(_SUITE), "--board", address]
    given += ["--allow-pulses"] if allow_pulses else []
    given += ["--record", str(record)] if record is not None else []
    alone = ["-c", os.devnull, "--rootdir", str(_SUITE), "--disable-plugin-autoload"]
    silent = ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "hil_pytest"]
    return [*given, *alone, *silent, "-W", "error", "--strict-markers"]


class _Collector:
    """A pytest plug-in that hands over the board and takes in what became of each law."""

    def __init__(self, board: Board, task: Task) -> None:
        self.laws: list[Law] = []
        self.trouble = ""
        self._board = board
        self._task = task
        self._open: dict[str, dict[str, Any]] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.trouble = str(report.longrepr).strip().splitlines()[-1]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kept = self._open.setdefault(
            report.nodeid, {"outcome": LawOutcome.PASSED, "reason": "", "took_s": 0.0}
        )
        kept["took_s"] += report.duration
        if report.failed:
            kept["outcome"] = LawOutcome.FAILED
            kept["reason"] = report.longreprtext[-_LONGEST_REASON:]
        elif report.skipped and kept["outcome"] is LawOutcome.PASSED:
            kept["outcome"] = LawOutcome.SKIPPED
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            kept["reason"] = str(why).removeprefix("Skipped: ")
        if report.when == "teardown":
            self._end(report)

    def _end(self, report: pytest.TestReport) -> None:
        kept = self._open.pop(report.nodeid)
        chapter, law, case = _words(report.nodeid, self._board.address)
        sent: list[Any] = [n for name, n in report.user_properties if name == "pulses"]
        self.laws.append(Law(chapter=chapter, law=law, case=case, pulses=sum(sent), **kept))
        self._task.advance()


def _words(nodeid: str, address: str) -> tuple[str, str, str]:
    """Return chapter, law and case of a test by its name."""
    path, _, rest = nodeid.partition("::")
    name, _, case = rest.partition("[")
    chapter = Path(path).stem.removeprefix("test_core_")
    return (
        chapter,
        name.removeprefix("test_").replace("_", " "),
        case.removesuffix("]").replace(address, "").strip("-"),
    )
