"""Run folders: records survive errors, journals tell torn lines from damaged ones."""

import json

import pytest

from hil.errors import DeviceFaultError, RecordError, RequestError
from hil.journal import Journal, digest_of, read_journal
from hil.record import RunStatus, load_record, new_record
from hil.run_folder import RunFolder, finalise_run, write_atomically


@pytest.fixture
def record():
    return new_record("trial", command=("hil", "trial"), seed=3, address="sim:ideal")


def test_the_record_exists_as_soon_as_the_folder_does(tmp_path, record):
    run = RunFolder.create(tmp_path / "run", record)
    assert load_record(run.path) == record
    assert load_record(run.path).status is RunStatus.RUNNING


def test_a_folder_of_an_earlier_run_is_never_written_into(tmp_path, record):
    first = RunFolder.create(tmp_path / "run", record)
    before = (first.path / "record.json").read_bytes()
    second = RunFolder.create(tmp_path / "run", record)
    assert second.path == tmp_path / "run-2"
    assert (first.path / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError("no such thing", value=7), RunStatus.REFUSED),
        (DeviceFaultError("the board said no"), RunStatus.FAILED),
        (ZeroDivisionError("division by zero"), RunStatus.FAILED),
        (KeyboardInterrupt(), RunStatus.INTERRUPTED),
    ],
)
def test_an_exception_leaves_a_readable_record_and_goes_on(tmp_path, record, error, status):
    with pytest.raises(type(error)), RunFolder.create(tmp_path / "run", record):
        raise error
    left = load_record(tmp_path / "run")
    assert left.status is status
    assert left.error is not None
    assert left.error.kind == type(error).__name__
    assert left.error.message == str(error)
    assert left.ended_at is not None
    if isinstance(error, RequestError):
        assert left.error.fields == {"value": "7"}


def test_a_killed_run_is_closed_as_interrupted_and_closing_twice_changes_nothing(tmp_path, record):
    run = RunFolder.create(tmp_path / "run", record)
    assert finalise_run(run.path).status is RunStatus.INTERRUPTED
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    finalise_run(run.path)
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before


def test_results_survive_leaving_the_folder(tmp_path, record):
    with RunFolder.create(tmp_path / "run", record) as run:
        run.finish(RunStatus.GOAL_NOT_MET, {"accuracy": 0.5})
    left = load_record(tmp_path / "run")
    assert left.status is RunStatus.GOAL_NOT_MET
    assert left.results == {"accuracy": 0.5}


def test_a_foreign_document_is_refused_with_the_field_at_fault(tmp_path, record):
    run = RunFolder.create(tmp_path / "run", record)
    text = json.loads((run.path / "record.json").read_text())
    (run.path / "record.json").write_text(json.dumps({**text, "schema_version": 99}))
    with pytest.raises(RecordError, match="schema_version"):
        load_record(run.path)
    with pytest.raises(RecordError, match="not a run folder"):
        load_record(tmp_path / "nowhere")


def test_an_atomic_write_leaves_the_old_file_when_it_cannot_finish(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, b"old")
    with pytest.raises(RecordError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "a.json", b"new")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def _journal(path, lines):
    journal = Journal(path)
    for k in range(lines):
        journal.write({"core": 0, "verb": "mvm", "phase": "end", "batch": k})
    journal.close()
    return path.read_bytes()


def test_a_journal_reads_back_what_was_written(tmp_path):
    _journal(tmp_path / "j", 3)
    assert [line.values["batch"] for line in read_journal(tmp_path / "j")] == [0, 1, 2]


def test_a_journal_cut_at_any_byte_gives_its_whole_lines_and_no_error(tmp_path):
    whole = _journal(tmp_path / "j", 3)
    for end in range(len(whole) + 1):
        (tmp_path / "cut").write_bytes(whole[:end])
        read = list(read_journal(tmp_path / "cut"))
        assert len(read) == whole[:end].count(b"\n")


def test_a_flipped_bit_anywhere_but_in_the_last_line_is_an_error_that_names_the_line(tmp_path):
    whole = bytearray(_journal(tmp_path / "j", 3))
    second = whole.index(b"\n") + 1
    whole[second + 5] ^= 1
    (tmp_path / "bad").write_bytes(whole)
    with pytest.raises(RecordError, match="line 2"):
        list(read_journal(tmp_path / "bad"))


def test_every_single_bit_flip_is_noticed(tmp_path):
    whole = _journal(tmp_path / "j", 2)
    first = whole.index(b"\n")
    for bit in range(8 * first):
        bad = bytearray(whole)
        bad[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(RecordError):
            list(read_journal(tmp_path / "bad"))


def test_digests_follow_codes_shapes_and_types_only():
    np = pytest.importorskip("numpy")
    from hil.core import MvmRequest, MvmResult  # noqa: PLC0415

    codes = np.arange(6, dtype=np.int16).reshape(2, 3)
    same = digest_of(MvmRequest(input_codes=codes))
    assert same == digest_of(MvmRequest(input_codes=codes.copy()))
    assert same != digest_of(MvmRequest(input_codes=codes.T.copy()))
    assert same != digest_of(MvmRequest(input_codes=codes.astype(np.int32)))
    flags = np.zeros((2, 3), bool)
    early, late = (
        MvmResult(output_codes=codes, saturated=flags, temperature_kelvin=t, at_s=t)
        for t in (300.0, 301.0)
    )
    assert digest_of(early) == digest_of(late)
