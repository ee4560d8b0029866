"""What cannot be resumed is refused in one sentence, and nothing is sent; what can, is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hil.backends
from hil.backends import open_chip
from hil.cli import app
from hil.core import Core, Pulse
from hil.dirty import load_dirty
from hil.errors import CoreTimeoutError, HilError, RecordError, RequestError
from hil.info import PulseFamily
from hil.program_request import keep_request
from hil.record import RunStatus, load_record, new_record
from hil.run_folder import RunFolder
from hil.session import Session
from hil.tape import read_tape

CHIP = "hermes?seed=3&rows=8&cols=6&off=read_noise+output_noise+drift+relaxation"


@pytest.fixture(autouse=True)
def kept_scheme(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(hil.backends._BUILT_IN, "kept", "lasting_chip:open_kept")


@pytest.fixture
def address(tmp_path):
    return f"kept:{CHIP}&state={tmp_path}/chip"


def hil_command(*words: str) -> tuple[int, BaseException | None, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.exception, done.stderr


def interrupted(tmp_path: Path, address: str, at: int = 3) -> Path:
    """A run of `hil program` whose link was lost at its pulse request number `at`."""
    weights, run = tmp_path / "w.npy", tmp_path / "run"
    np.save(weights, np.random.default_rng(4).standard_normal((8, 6)))
    lost = address.replace("kept:hermes?", f"kept:hermes?browns_out={at}&")
    command = ("program", str(weights), "--method", "verify", "--core", lost, "--out", str(run))
    _, error, _ = hil_command(*command)
    assert isinstance(error, CoreTimeoutError)
    record = json.loads((run / "record.json").read_text())
    record["address"] = address
    (run / "record.json").write_text(json.dumps(record))
    return run


def resets(core: Core, places: list[tuple[int, int]]) -> Pulse:
    limits = core.info.limits(PulseFamily.RESET)
    rows, cols = np.array(places, np.int32).T
    codes = {"amplitude": limits.amplitude.max_code, "width": limits.width.max_code}
    return Pulse.of(PulseFamily.RESET, device=0, rows=rows, cols=cols, **codes)


def assert_refused(run: Path, words: str, *options: str) -> None:
    before = (run / "journal.jsonl").read_bytes().count(b'"phase":"intent"')
    code, error, _ = hil_command("resume", str(run), *options)
    assert code != 0
    assert isinstance(error, HilError)
    assert words in str(error)
    assert (run / "journal.jsonl").read_bytes().count(b'"phase":"intent"') == before


def test_a_run_whose_link_was_lost_is_resumed_and_says_so(tmp_path, address):
    run = interrupted(tmp_path, address)
    record = load_record(run)
    assert record.status is RunStatus.FAILED
    assert record.journal.unfinished == 1
    assert load_dirty(run).of(0).reason.startswith("the outcome of a pulse request")
    code, _, err = hil_command("resume", str(run))
    assert code == 0
    assert "were in doubt" in err
    record = load_record(run)
    assert (record.status, record.error, record.journal.unfinished) == (RunStatus.DONE, None, 0)
    assert load_dirty(run).cores == ()
    assert len(record.resumptions) == 1


def test_another_chip_is_refused_before_anything_is_sent(tmp_path, address):
    run = interrupted(tmp_path, address)
    other = address.replace("seed=3", "seed=9").replace("/chip", "/other")
    assert_refused(run, "was begun on a chip with serial SIM-HERMES-0000003", "--core", other)
    assert hil_command("resume", str(run), "--core", address)[0] == 0


def test_a_chip_that_somebody_else_has_programmed_since_is_refused(tmp_path, address):
    run = interrupted(tmp_path, address)
    with open_chip(address) as chip:
        everything = [(r, c) for r in range(8) for c in range(6)]
        for _ in range(3):
            chip.cores[0].program(resets(chip.cores[0], everything))
    assert_refused(run, "pulses that are none of this run's")


def test_a_chip_that_has_lost_its_cells_is_refused(tmp_path, address):
    run = interrupted(tmp_path, address, at=6)
    (tmp_path / "chip" / "chip-state.safetensors").unlink()
    assert_refused(run, "it has lost its cells")


def test_a_simulated_chip_that_ended_with_its_process_is_refused(tmp_path):
    folder = RunFolder.create(
        tmp_path / "run",
        new_record("program", command=("hil", "program"), seed=0, address="sim:ideal"),
    )
    keep_request(folder.path, np.eye(4), method="open_loop", goal=None)
    with folder, Session.open("sim:ideal", seed=0, folder=folder) as session:
        session.chip.cores[0].program(resets(session.chip.cores[0], [(0, 0)]))
    folder.update(status=RunStatus.INTERRUPTED)
    assert_refused(folder.path, "is simulated and ended with the run")


def test_changed_weights_are_refused(tmp_path, address):
    run = interrupted(tmp_path, address)
    np.save(run / "weights.npy", np.zeros((8, 6)))
    assert_refused(run, "was changed since")


def test_a_run_that_would_now_send_other_pulses_is_refused(tmp_path, address):
    run = interrupted(tmp_path, address)
    request = json.loads((run / "request.json").read_text())
    (run / "request.json").write_text(json.dumps({**request, "method": "gdp"}))
    assert_refused(run, "software, data or options have changed")


def test_a_damaged_journal_is_refused_and_the_line_named(tmp_path, address):
    run = interrupted(tmp_path, address)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"0", b"1", 1)
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(RecordError, match="line 5 is damaged"):
        read_tape(run / "journal.jsonl")
    assert_refused(run, "line 5 is damaged")


def test_a_run_without_a_chip_or_a_recipe_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path / "run", new_record("data", command=("hil",), seed=0))
    (folder.path / "journal.jsonl").write_bytes(b"")
    assert_refused(folder.path, "without a chip")
    record = new_record("calibrate", command=("hil", "calibrate"), seed=0, address="sim:ideal")
    folder = RunFolder.create(tmp_path / "other", record)
    (folder.path / "journal.jsonl").write_bytes(b"")
    _, error, _ = hil_command("resume", str(folder.path))
    assert isinstance(error, RequestError)
    assert "nothing can be taken up" in str(error)
