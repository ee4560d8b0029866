"""A run that is ended from outside leaves a record that says so, and a chip in its safe state."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hil.journal import read_journal
from hil.record import RunStatus, load_record
from hil.run_folder import finalise_run

TIMEOUT_S = 120.0


@pytest.fixture
def running(tmp_path):
    """A `hil program` that is busy: its process and its run folder."""
    weights = np.random.default_rng(0).standard_normal((256, 256))
    np.save(tmp_path / "weights.npy", weights)
    # A process begun in the background ignores SIGINT, and hands that on to those it begins.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = (sys.executable, "-m", "hil", "program", "weights.npy", "--core", "sim:hermes")
    process = subprocess.Popen(
        (*command, "--method", "verify", "--out", "run"),
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    journal = tmp_path / "run" / "journal.jsonl"
    deadline = time.monotonic() + TIMEOUT_S
    while not (journal.exists() and journal.read_bytes().count(b'"program"') >= 2):
        assert time.monotonic() < deadline, "the run did not begin"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    yield process, tmp_path / "run"
    process.kill()
    process.communicate()


def test_a_killed_run_can_be_read_and_says_which_pulses_are_in_doubt(running):
    process, folder = running
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert load_record(folder).status is RunStatus.RUNNING
    record = finalise_run(folder)
    assert record.status is RunStatus.INTERRUPTED
    assert record.chip.serial == "SIM-HERMES-0000000"
    assert record.journal.unfinished in (0, 1)
    verbs = [line.values for line in read_journal(folder / "journal.jsonl")]
    intents = sum(v["phase"] == "intent" for v in verbs)
    ended = sum(v["verb"] == "program" and v["phase"] == "end" for v in verbs)
    assert intents - ended == record.journal.unfinished
    assert finalise_run(folder) == record


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_puts_the_chip_into_its_safe_state_and_exits_with_130(running, kind):
    process, folder = running
    process.send_signal(kind)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert load_record(folder).status is RunStatus.INTERRUPTED
    last = list(read_journal(Path(folder) / "journal.jsonl"))[-1].values
    assert last["verb"] == "safe_state"
    assert (folder / "wear.npz").exists()
    files = {f["path"] for f in json.loads((folder / "manifest.json").read_text())["files"]}
    assert {"record.json", "journal.jsonl", "wear.npz", "run.log"} <= files
