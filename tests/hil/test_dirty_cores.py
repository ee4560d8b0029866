"""Dirty cores: marked before the first pulse, clean once verified, refused by inference."""

import json

import numpy as np
import pytest

from hil.backends import open_chip
from hil.chip_records import chip_folder
from hil.core import Outcome, ProgramResult, Pulse
from hil.dirty import DIRTY_FILE, DirtyBook, load_dirty, require_clean
from hil.errors import CoreTimeoutError, RecordError
from hil.info import PulseFamily
from hil.matrix import program_matrix
from hil.record import new_record
from hil.run_folder import RunFolder
from hil.session import Session

ADDRESS = "sim:ideal?cores=2&seed=5&rows=8&cols=6"


@pytest.fixture
def folder(tmp_path):
    record = new_record("trial", command=("hil", "trial"), seed=1, address=ADDRESS)
    return RunFolder.create(tmp_path / "run", record)


def pulse_of(core):
    limits = core.info.limits(PulseFamily.RESET)
    return Pulse.of(
        PulseFamily.RESET,
        device=0,
        rows=[1, 2],
        cols=[1, 2],
        amplitude=limits.amplitude.max_code,
        width=limits.width.max_code,
    )


def test_a_core_is_dirty_on_disk_before_its_first_pulse_and_clean_once_verified(folder):
    chip = open_chip(ADDRESS)
    core = chip.cores[1]
    seen = []
    program = core._do_program

    def watching(pulse):
        seen.append([one.core for one in load_dirty(folder.path).cores])
        return program(pulse)

    core._do_program = watching
    with Session(chip, seed=1, folder=folder) as session:
        session.chip.cores[1].program(pulse_of(core))
        assert seen == [[1]]
        session.verified()
        assert load_dirty(folder.path).cores == ()
        session.chip.cores[1].program(pulse_of(core))
    assert [one.core for one in load_dirty(folder.path).cores] == [1]


def test_a_chip_that_vanishes_leaves_no_document_with_the_chip(folder):
    with Session.open(ADDRESS, seed=1, folder=folder) as session:
        serial = session.chip.serial
        session.chip.cores[0].program(pulse_of(session.chip.cores[0]))
    assert not (chip_folder(serial) / DIRTY_FILE).exists()


@pytest.mark.parametrize("forced", [False, True])
def test_a_dirty_core_is_refused_in_one_sentence_or_forced_and_written_down(tmp_path, forced):
    with open_chip(ADDRESS) as chip:
        DirtyBook(chip.serial, tmp_path).mark(1, generation=0, reason="it was not verified")
        core = chip.cores[1]
        core.program(pulse_of(core))
        if forced:
            found = require_clean(chip, [tmp_path], force=True, command="hil infer a.png")
            assert [one.core for one in found] == [1]
            (note,) = load_dirty(tmp_path).forced
            assert (note.cores, note.command) == ((1,), "hil infer a.png")
        else:
            with pytest.raises(RecordError, match=r"core 1 of chip .* is dirty: it was not ver"):
                require_clean(chip, [tmp_path])
            assert load_dirty(tmp_path).forced == ()


def test_a_core_that_no_pulse_has_reached_since_is_clean(tmp_path):
    with open_chip(ADDRESS) as chip:
        before = chip.cores[0].status().generation
        DirtyBook(chip.serial, tmp_path).mark(0, generation=before, reason="about to be")
        assert require_clean(chip, [tmp_path]) == ()


def test_another_chip_is_not_dirty_by_this_document(tmp_path):
    DirtyBook("ANOTHER", tmp_path).mark(0, generation=-1, reason="x")
    with open_chip(ADDRESS) as chip:
        assert require_clean(chip, [tmp_path]) == ()


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 2}', b"\xff\x00"])
def test_a_damaged_document_is_refused_and_not_taken_for_clean(tmp_path, content):
    (tmp_path / DIRTY_FILE).write_bytes(content)
    with open_chip(ADDRESS) as chip, pytest.raises(RecordError, match="does not say which cores"):
        require_clean(chip, [tmp_path])


def test_books_in_two_folders_say_the_same(tmp_path):
    run, records = tmp_path / "run", tmp_path / "records"
    run.mkdir()
    book = DirtyBook("CHIP", run, [records])
    book.mark(0, generation=3, reason="a")
    book.mark(0, generation=9, reason="b")
    one, other = load_dirty(run), load_dirty(records)
    assert one == other
    assert (one.of(0).generation, one.of(0).reason) == (3, "b")
    assert json.loads((records / DIRTY_FILE).read_text())["serial"] == "CHIP"
    book.verified([0])
    assert load_dirty(run).cores == load_dirty(records).cores == ()


@pytest.mark.parametrize("kind", ["unknown", "lost"])
def test_a_matrix_refuses_to_multiply_after_a_pulse_of_unknown_outcome(kind):
    with open_chip("sim:ideal?rows=8&cols=6") as chip:
        matrix = program_matrix(chip, np.eye(8)[:, :6], method="open_loop")
        matrix.matmul(np.ones((1, 8)))
        core = chip.cores[0]

        def hook(_pulse):
            if kind == "lost":
                raise CoreTimeoutError("no reply within 1 s")
            return ProgramResult(outcome=Outcome.UNKNOWN, pulses=0, at_s=core.now_s())

        core._do_program = hook
        if kind == "lost":
            with pytest.raises(CoreTimeoutError):
                core.program(pulse_of(core))
        else:
            core.program(pulse_of(core))
        with pytest.raises(RecordError, match="core 0 is dirty"):
            matrix.matmul(np.ones((1, 8)))
