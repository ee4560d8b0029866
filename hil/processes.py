"""Calls in processes of their own: so many at a time, progress and errors come back.

A process that dies takes its own call with it and no other. Results do not come back: a call leaves
them on disk, where they outlive everyone. Knows nothing of what is called.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, final

from typing_extensions import override

from hil.progress import Progress, Task
from hil.record import RunError

__all__ = ["run_calls", "threads_each"]

CallT = TypeVar("CallT")
Work = Callable[[CallT, Progress], None]

TELL_INTERVAL_S = 0.25
"""Least wall time between two messages of the progress of one task, s."""
CLOSING_S = 30.0
"""Wall time that a process gets to close its run after it was told to end, s."""


def run_calls(
    work: Work[CallT], calls: Sequence[CallT], *, jobs: int, progress: Progress
) -> Iterator[tuple[int, RunError | None]]:
    """Do `work(call, progress)` for every call; give index and error of each as it ends.

    With one job the calls are made here, one after the other. Leaving the iteration early, also by
    an interruption, ends what is under way: each process gets `KeyboardInterrupt` and `CLOSING_S`.

    Args:
        work: A function of a module, so that another process can import it.
        calls: What it is called with: values that another process can be sent.
        jobs: Processes at a time.
        progress: Is told of what the processes tell.
    """
    if jobs == 1 or len(calls) == 1:
        for index, call in enumerate(calls):
            yield index, _attempt(work, call, progress)
        return
    crew = _Crew(work, calls, min(jobs, len(calls)), progress)
    try:
        yield from crew.run()
    finally:
        crew.end()


def threads_each(jobs: int) -> int:
    """Threads that each of `jobs` processes may compute with, so that they do not fight."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(wished)) if wished.isdecimal() and int(wished) > 0 else share


@dataclass(kw_only=True, eq=False)
class _Member:
    """A process under way, and the tasks it has told of."""

    index: int
    process: BaseProcess
    connection: Connection
    tasks: dict[int, tuple[AbstractContextManager[Task], Task]] = field(default_factory=dict)


class _Crew:
    """Processes under way. Spawned, not forked: a fork would inherit torch's threads in mid-air."""

    def __init__(
        self, work: Work[Any], calls: Sequence[Any], jobs: int, progress: Progress
    ) -> None:
        self._work = work
        self._jobs = jobs
        self._progress = progress
        self._waiting = deque(enumerate(calls))
        self._members: list[_Member] = []
        self._context = get_context("spawn")

    def run(self) -> Iterator[tuple[int, RunError | None]]:
        """Start processes while there is work, and give each outcome."""
        while self._waiting or self._members:
            while self._waiting and len(self._members) < self._jobs:
                self._start(*self._waiting.popleft())
            ready = wait([member.connection for member in self._members])
            for member in [m for m in self._members if m.connection in ready]:
                outcome = self._hear(member)
                if outcome is not None:
                    self._close(member)
                    yield member.index, outcome.error

    def end(self) -> None:
        """End every process that is still under way."""
        members = list(self._members)
        for member in members:
            member.process.terminate()
        deadline = time.monotonic() + CLOSING_S
        for member in members:
            member.process.join(max(0.0, deadline - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
            self._close(member)

    def _start(self, index: int, call: object) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_member_main, args=(there, self._work, call, threads_each(self._jobs))
        )
        process.start()
        there.close()
        self._members.append(_Member(index=index, process=process, connection=here))

    def _hear(self, member: _Member) -> _Outcome | None:
        """Take one message; return the outcome if it was the last."""
        try:
            message = member.connection.recv()
        except (EOFError, ConnectionError):
            member.process.join()
            return _Outcome(error=_death(member.process.exitcode))
        kind, task, *values = message
        if kind == "begin":
            context = self._progress.task(*values)
            member.tasks[task] = (context, context.__enter__())
        elif kind == "advance":
            member.tasks[task][1].advance(*values)
        elif kind == "say":
            member.tasks[task][1].say(*values)
        elif kind == "leave":
            member.tasks.pop(task)[0].__exit__(None, None, None)
        else:
            error = values[0]
            return _Outcome(error=None if error is None else RunError.model_validate(error))
        return None

    def _close(self, member: _Member) -> None:
        for context, _ in reversed(member.tasks.values()):
            context.__exit__(None, None, None)
        member.tasks.clear()
        member.process.join()
        member.connection.close()
        self._members.remove(member)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    error: RunError | None


def _death(code: int | None) -> RunError:
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"left with {code}"
    return RunError(
        kind="ProcessDied",
        message=f"its process {how} without a word; if memory ran out, lower --jobs",
        fields={},
    )


def _attempt(work: Work[CallT], call: CallT, progress: Progress) -> RunError | None:
    try:
        work(call, progress)
    except Exception as error:  # noqa: BLE001 - one call's failure is no other's
        return RunError.of(error)
    return None


def _member_main(connection: Connection, work: Work[Any], call: object, threads: int) -> None:
    """Do one call in this process and tell how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the parent decides
    signal.signal(signal.SIGTERM, _interrupt)
    _limit_threads(threads)
    try:
        error = _attempt(work, call, _RemoteProgress(connection))
    except KeyboardInterrupt as interrupt:
        error = RunError.of(interrupt)
    connection.send(("end", 0, None if error is None else error.model_dump()))
    connection.close()


def _interrupt(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: closing the run must not be interrupted
    raise KeyboardInterrupt


def _limit_threads(threads: int) -> None:
    """Limit what is loaded already, and what is loaded from here on."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - only in a process of its own

    os.environ["OMP_NUM_THREADS"] = str(threads)
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@final
class _RemoteProgress(Progress):
    """Sends what it is told to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tasks = 0

    @override
    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Tell the parent of a piece of work until the block ends."""
        self._tasks += 1
        task = _RemoteTask(self._connection, self._tasks)
        self._connection.send(("begin", self._tasks, name, total))
        try:
            yield task
        finally:
            task.leave()


@final
class _RemoteTask(Task):
    def __init__(self, connection: Connection, number: int) -> None:
        self._connection, self._number = connection, number
        self._steps, self._words = 0.0, ""
        self._told_at = 0.0

    @override
    def advance(self, steps: float = 1.0) -> None:
        """Count, and tell now and then."""
        self._steps += steps
        if time.monotonic() - self._told_at >= TELL_INTERVAL_S:
            self._tell()

    @override
    def say(self, text: str) -> None:
        """Keep words for the next message."""
        self._words = text

    def leave(self) -> None:
        """Tell the rest, and that it is over."""
        self._tell()
        self._connection.send(("leave", self._number))

    def _tell(self) -> None:
        if self._words:
            self._connection.send(("say", self._number, self._words))
        self._connection.send(("advance", self._number, self._steps))
        self._steps, self._words, self._told_at = 0.0, "", time.monotonic()
