"""Sessions: pulses are counted, intents come first, the chip is left safe whatever happens."""

import json

import numpy as np
import pytest

from hil.core import CellRead, Chip, MvmRequest, Pulse
from hil.errors import CoreTimeoutError
from hil.info import PulseFamily
from hil.journal import read_journal
from hil.record import load_record, new_record
from hil.run_folder import RunFolder, finalise_run
from hil.session import Session, load_wear

ADDRESS = "sim:ideal?cores=2&seed=5"


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(
        tmp_path / "run", new_record("trial", command=("hil",), seed=1, address=ADDRESS)
    )


def pulse_of(core, places):
    limits = core.info.limits(PulseFamily.RESET)
    rows, cols = np.array(places, np.int32).T
    return Pulse.of(
        PulseFamily.RESET,
        device=0,
        rows=rows,
        cols=cols,
        amplitude=limits.amplitude.max_code,
        width=limits.width.max_code,
        count=min(2, limits.max_count),
    )


def lines_of(folder):
    return [line.values for line in read_journal(folder.path / "journal.jsonl")]


def test_a_recorded_chip_gives_the_same_codes_as_the_chip_itself(folder):
    from hil import open_chip  # noqa: PLC0415

    def use(chip):
        core = chip.cores[1]
        core.program(pulse_of(core, [(0, 0), (1, 2)]))
        inputs = np.full((3, core.info.rows), 7, core.info.input.dtype)
        return core.mvm(MvmRequest(input_codes=inputs)).output_codes

    with open_chip(ADDRESS) as chip:
        plain = use(chip)
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        recorded = use(session.chip)
    assert np.array_equal(plain, recorded)


def test_the_record_names_the_chip_that_answered(folder):
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        serial = session.chip.serial
    record = load_record(folder.path)
    assert record.chip is not None
    assert record.chip.serial == serial
    assert record.chip.backend == "sim"


def test_wear_counts_every_pulse_of_every_device(folder):
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        core = session.chip.cores[0]
        core.program(pulse_of(core, [(0, 0), (3, 4)]))
        core.program(pulse_of(core, [(3, 4)]))
        counted = core.status().pulses
    wear = load_wear(folder.path)
    assert wear[0].sum() == counted == 6
    assert wear[0][0, 3, 4] == 4
    assert wear[1].sum() == 0


def test_each_verb_gives_one_line_and_a_pulse_an_intent_before_it(folder):
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        core = session.chip.cores[0]
        core.program(pulse_of(core, [(0, 0)]))
        core.read(CellRead.of(device=0, rows=0, cols=0))
        session.chip.wait(10.0)
    seen = [(v["verb"], v["phase"]) for v in lines_of(folder)]
    assert seen[0] == ("session", "begin")
    assert seen[1:3] == [("program", "intent"), ("program", "end")]
    assert seen[3:5] == [("read", "end"), ("wait", "end")]
    assert {v["verb"] for v in lines_of(folder)[5:]} == {"safe_state"}
    times = [v["at_s"] for v in lines_of(folder) if "at_s" in v]
    assert times == sorted(times)


def test_an_error_in_the_middle_leaves_the_chip_safe_and_the_wear_saved(folder):
    def work():
        with Session.open(ADDRESS, seed=1, folder=folder) as session:
            core = session.chip.cores[0]
            core.program(pulse_of(core, [(0, 0)]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert lines_of(folder)[-1]["verb"] == "safe_state"
    assert load_wear(folder.path)[0].sum() == 2
    finalise_run(folder.path)
    assert load_record(folder.path).journal.unfinished == 0


def test_a_pulse_whose_reply_was_lost_is_counted_and_stays_an_open_intent(folder):
    from hil import open_chip  # noqa: PLC0415

    chip = open_chip(ADDRESS)
    core = chip.cores[0]

    def lost(_pulse):
        raise CoreTimeoutError("no reply within 1 s")

    core._do_program = lost
    with Session(chip, seed=1, folder=folder) as session, pytest.raises(CoreTimeoutError):
        session.chip.cores[0].program(pulse_of(core, [(2, 2)]))
    assert load_wear(folder.path)[0][0, 2, 2] == 2
    failed = [v for v in lines_of(folder) if v["verb"] == "program" and v["phase"] == "end"]
    assert "CoreTimeoutError" in failed[0]["error"]


def test_codes_digest_is_equal_for_equal_runs_and_differs_for_another_chip(tmp_path):
    def digest(name, address):
        run = RunFolder.create(
            tmp_path / name, new_record("t", command=(), seed=0, address=address)
        )
        with run, Session.open(address, seed=0, folder=run) as session:
            for core in session.chip.cores:
                core.program(pulse_of(core, [(0, 0), (5, 5)]))
                inputs = np.full((4, core.info.rows), 50, core.info.input.dtype)
                core.mvm(MvmRequest(input_codes=inputs))
        return load_record(run.path).journal.codes_digest

    one = digest("a", "sim:hermes?cores=1&seed=1")
    assert digest("b", "sim:hermes?cores=1&seed=1") == one
    assert digest("c", "sim:hermes?cores=1&seed=2") != one


def test_a_session_on_a_wrapped_chip_is_a_chip(folder):
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        assert isinstance(session.chip, Chip)
        assert json.loads(load_record(folder.path).model_dump_json())["address"] == ADDRESS
