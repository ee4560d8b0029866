"""What the journal costs: the same programming run without one, with one, and with results kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.bench.machine import Machine
from hil.journal import Journal, blobs_beside, read_journal
from hil.matrix import calibrate_converters
from hil.measure import whole
from hil.owned_chip import open_owned
from hil.programming import ProgrammingJob, algorithm, run_programming
from hil.progress import Progress, Silent
from hil.recording_core import Recorder, RecordingCore
from hil.requests import Outcome, Pulse

if TYPE_CHECKING:
    from hil.core import Core

__all__ = ["DEFAULT_JOURNAL_ADDRESS", "JournalBench", "JournalRun", "Journalling", "bench_journal"]

DEFAULT_JOURNAL_ADDRESS = "sim:hermes?devices=1&seed=1&rows=128&cols=128"


class Journalling(StrEnum):
    """How much of a run is written; the value is the word to show."""

    NONE = "no journal"
    INTENTS = "verbs, pulses ahead"
    RESULTS = "the same, results kept"


class JournalRun(BaseModel):
    """One programming run.

    Attributes:
        journalling: What was written.
        cpu_s, wall_s: Time in this process, the least of the repeats, s.
        requests, pulses: Pulse requests and pulses in it.
        lines: Lines of the journal.
        line_bytes: Bytes of all lines.
        pulse_bytes: Bytes of packed pulse requests, all together.
        result_bytes: Bytes of packed results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    journalling: Journalling
    cpu_s: float
    wall_s: float
    requests: int
    pulses: int
    lines: int = 0
    line_bytes: int = 0
    pulse_bytes: int = 0
    result_bytes: int = 0


class JournalBench(BaseModel):
    """Equal runs on equal chips, with more and more of them written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    address: str
    method: str
    machine: Machine
    runs: tuple[JournalRun, ...]

    def ratio(self, run: JournalRun) -> float:
        """Return the wall time of a run over that without a journal."""
        return run.wall_s / self.runs[0].wall_s


@final
class _Counting:
    """Counts requests and pulses, and refuses none."""

    def __init__(self) -> None:
        self.requests = self.pulses = 0

    def before(self, core: Core, pulse: Pulse) -> None:
        """Count a request."""
        del core
        self.requests += 1
        self.pulses += pulse.total

    def after(self, core: int, pulse: Pulse, outcome: Outcome | None) -> None:
        """Take what became of it."""


def bench_journal(
    address: str = DEFAULT_JOURNAL_ADDRESS,
    *,
    method: str = "gdp",
    repeats: int = 3,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> JournalBench:
    """Program the first core with Gaussian weights, with and without a journal, by turns.

    Args:
        address: A simulated chip; opened anew for each run, so that all runs are equal.
        method: Programming method.
        repeats: Runs of each kind; the fastest counts.
        seed: Seed of weights and programming.
        folder: Where journals are written: what is measured is its disk.
        progress: Is told of the work.
    """
    best: dict[Journalling, JournalRun] = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        (progress or Silent()).task("programming", repeats * len(Journalling)) as task,
    ):
        for repeat in range(repeats):
            for kind in Journalling:
                task.say(kind.value)
                run = _run(address, method, seed, kind, Path(place) / f"{repeat}-{kind.name}.jsonl")
                if kind not in best or run.wall_s < best[kind].wall_s:
                    best[kind] = run
                task.advance()
    runs = tuple(best[kind] for kind in Journalling)
    return JournalBench(address=address, method=method, machine=Machine.here(), runs=runs)


def _run(address: str, method: str, seed: int, kind: Journalling, path: Path) -> JournalRun:
    with open_owned(address) as chip:
        calibrate_converters(chip.cores[:1], seed=seed)
        counting = _Counting()
        if kind is Journalling.NONE:
            core = chip.cores[0]
            core.observe(
                lambda event: (
                    counting.before(core, event.request)
                    if isinstance(event.request, Pulse)
                    else None
                )
            )
            return _timed(kind, counting, lambda: _program([core], method, seed))
        journal = Journal(path)
        recorder = Recorder(journal, counting, keeps_results=kind is Journalling.RESULTS)
        recorded = RecordingCore(chip.cores[0], recorder)
        run = _timed(kind, counting, lambda: _program([recorded], method, seed))
        journal.close()
    return run.model_copy(update=_sizes(path))


def _program(cores: Sequence[Core], method: str, seed: int) -> None:
    info = cores[0].info
    weights = np.random.default_rng(seed).standard_normal((info.rows, info.cols))
    target = weights / np.abs(weights).max() * info.device.g_max_siemens
    job = ProgrammingJob(core=cores[0], window=whole(info), target_siemens=target)
    run_programming(algorithm(method), [job], seed=seed)


def _timed(kind: Journalling, counting: _Counting, work: Callable[[], None]) -> JournalRun:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return JournalRun(
        journalling=kind,
        cpu_s=cpu,
        wall_s=wall,
        requests=counting.requests,
        pulses=counting.pulses,
    )


def _sizes(path: Path) -> dict[str, int]:
    """Lines of a journal, their bytes, and those of the arrays beside it by what they hold."""
    lines = list(read_journal(path))
    offsets = [line.values["blob"] for line in lines if "blob" in line.values]
    ends = [*offsets[1:], blobs_beside(path).stat().st_size]
    holders = [line.values["phase"] for line in lines if "blob" in line.values]
    sizes = {"intent": 0, "end": 0}
    for holder, start, end in zip(holders, offsets, ends, strict=True):
        sizes[holder] += end - start
    return {
        "lines": len(lines),
        "line_bytes": path.stat().st_size,
        "pulse_bytes": sizes["intent"],
        "result_bytes": sizes["end"],
    }
