"""Calls in processes: progress comes back, one that fails or dies takes no other with it."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.errors import RequestError
from hil.processes import run_calls, threads_each
from hil.progress import Progress, Silent

WAIT_S = 60.0


def work(call, progress):
    """What a process does, by the kind of call."""
    kind, place = call
    with progress.task(f"work {kind}", 4) as task:
        task.say(f"busy with {kind}")
        task.advance(3)
        if kind == "refuse":
            raise RequestError("that cannot be", value=7)
        if kind == "die":
            os._exit(9)
        if kind == "linger":
            Path(place, "begun").touch()
            try:
                time.sleep(WAIT_S)
            except KeyboardInterrupt:
                Path(place, "closed").touch()
                raise
        Path(place, kind).touch()


class Told(Progress):
    """Collects what it is told."""

    def __init__(self):
        self.tasks = []

    @contextmanager
    def task(self, name, total=None):
        told = Steps()
        self.tasks.append((name, total, told))
        yield told
        told.ended = True


class Steps:
    def __init__(self):
        self.done, self.words, self.ended = 0.0, "", False

    def advance(self, steps=1.0):
        self.done += steps

    def say(self, text):
        self.words = text


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_that_refuses_takes_no_other_with_it(tmp_path, jobs):
    calls = [(kind, str(tmp_path)) for kind in ("one", "refuse", "two")]
    found = dict(run_calls(work, calls, jobs=jobs, progress=Silent()))
    assert found[0] is None
    assert found[2] is None
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
    assert found[1].kind == "RequestError"
    assert found[1].message == "that cannot be"


def test_a_process_that_dies_is_an_error_of_its_own_call(tmp_path):
    calls = [("die", str(tmp_path)), ("one", str(tmp_path))]
    found = dict(run_calls(work, calls, jobs=2, progress=Silent()))
    assert found[1] is None
    assert found[0].kind == "ProcessDied"
    assert "left with 9" in found[0].message
    assert "--jobs" in found[0].message


def test_what_processes_tell_arrives_and_every_task_ends(tmp_path):
    told = Told()
    calls = [(kind, str(tmp_path)) for kind in ("one", "refuse", "die")]
    dict(run_calls(work, calls, jobs=2, progress=told))
    assert sorted(name for name, _, _ in told.tasks) == ["work die", "work one", "work refuse"]
    assert all(total == 4 and steps.ended for _, total, steps in told.tasks)
    said = {name: steps for name, _, steps in told.tasks}
    assert said["work one"].done == 3
    assert said["work one"].words == "busy with one"


def test_leaving_early_lets_every_process_close_its_run(tmp_path):
    calls = [("one", str(tmp_path)), ("linger", str(tmp_path))]
    outcomes = run_calls(work, calls, jobs=2, progress=Silent())
    assert next(outcomes) == (0, None)
    deadline = time.monotonic() + WAIT_S
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    outcomes.close()
    assert (tmp_path / "closed").exists()
    assert not (tmp_path / "linger").exists()


@pytest.mark.parametrize(
    ("wished", "cores", "jobs", "threads"),
    [("", 8, 3, 2), ("", 2, 4, 1), ("1", 8, 2, 1), ("16", 8, 2, 4), ("4,2", 8, 2, 4)],
)
def test_processes_share_the_cores(monkeypatch, wished, cores, jobs, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", wished)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert threads_each(jobs) == threads
