"""H18, who pulsed what and when: an edited, missing or moved line of the audit log is found."""

import json

import pytest

from hil.audit import AUDIT_FILE, HEAD_FILE, append_audit, read_audit, verify_audit
from hil.backends import open_chip
from hil.chip_records import chip_folder, make_chip_folder
from hil.errors import RecordError
from hil.guard import open_guard
from hil.info import BackendKind, PulseFamily
from hil.requests import Outcome, Pulse

SERIAL = "CHIP-1"


@pytest.fixture
def log():
    for n in range(5):
        append_audit(SERIAL, "pulses", pulses=n, note="ü")
    return chip_folder(SERIAL) / AUDIT_FILE


def edited(log, change):
    lines = log.read_bytes().splitlines(keepends=True)
    change(lines)
    log.write_bytes(b"".join(lines))


def test_whole_log_is_whole(log):
    verdict = verify_audit(log)
    assert (verdict.lines, verdict.bad_line, verdict.reason) == (5, None, "")
    lines = list(read_audit(log))
    assert [line["pulses"] for line in lines] == list(range(5))
    assert all(line["operator"] and line["at"] and line["serial"] == SERIAL for line in lines)
    assert lines[-1]["hash"] == verdict.head


@pytest.mark.parametrize("index", range(5))
def test_first_edited_line_is_named(log, index):
    edited(log, lambda v: v.__setitem__(index, v[index].replace(b'"pulses":', b'"pulses":1')))
    assert verify_audit(log).bad_line == index + 1


@pytest.mark.parametrize("byte", range(0, 200, 23))
def test_any_flipped_byte_is_found(log, byte):
    content = bytearray(log.read_bytes())
    content[byte] ^= 1
    log.write_bytes(content)
    assert verify_audit(log).bad_line in (1, 2)


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        (lambda v: v.pop(2), 3),
        (lambda v: v.pop(0), 1),
        (lambda v: v.pop(), 5),
        (lambda v: v.clear(), 1),
        (lambda v: v.insert(1, v[0]), 2),
        (lambda v: v.append(v[-1]), 6),
        (lambda v: v.append(b"{}\n"), 6),
        (lambda v: v.append(b"garbage"), 6),
    ],
    ids=["middle", "first", "last", "all", "doubled", "appended", "empty", "garbage"],
)
def test_line_taken_out_or_put_in_is_found(log, change, bad):
    edited(log, change)
    assert verify_audit(log).bad_line == bad


def test_log_that_was_written_anew_from_some_line_on_is_found(log):
    kept = log.read_bytes()
    head = (log.parent / HEAD_FILE).read_bytes()
    edited(log, lambda v: v.__delitem__(slice(3, None)))
    (log.parent / HEAD_FILE).unlink()
    for n in (7, 8, 9):
        append_audit(SERIAL, "pulses", pulses=n)
    assert verify_audit(log).bad_line is None  # with its own head it is a log like any other
    (log.parent / HEAD_FILE).write_bytes(head)
    assert verify_audit(log).reason == "the chain is not the one that was written"
    log.write_bytes(kept)
    assert verify_audit(log).bad_line is None


def test_line_that_a_crash_has_torn_is_cut_off_and_said(log):
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"n":5,"at":"2026')
    append_audit(SERIAL, "opened")
    lines = list(read_audit(log))
    assert verify_audit(log).bad_line is None
    assert [line["event"] for line in lines[-2:]] == ["a torn line was cut off", "opened"]
    assert lines[-2]["bytes"] == 17


def test_nothing_is_appended_to_an_altered_last_line(log):
    edited(log, lambda v: v.__setitem__(4, v[4].replace(b'"pulses":4', b'"pulses":3')))
    with pytest.raises(RecordError, match="last line was altered"):
        append_audit(SERIAL, "opened")
    assert verify_audit(log).bad_line == 5


@pytest.mark.parametrize("cut", [1, 5])
def test_nothing_is_appended_where_lines_are_missing(log, cut):
    edited(log, lambda v: v.__delitem__(slice(5 - cut, None)))
    with pytest.raises(RecordError, match="but had 5 when it was last written"):
        append_audit(SERIAL, "opened")
    assert verify_audit(log).bad_line == 6 - cut


def test_log_may_be_ahead_of_its_head_by_what_a_crash_left_unsaid(log):
    head = log.parent / HEAD_FILE
    old = head.read_bytes()
    append_audit(SERIAL, "pulses", pulses=5)
    head.write_bytes(old)
    assert verify_audit(log).bad_line is None
    assert append_audit(SERIAL, "pulses", pulses=6)["n"] == 6


def test_missing_log_is_said():
    make_chip_folder(SERIAL)
    with pytest.raises(RecordError, match="cannot be read"):
        verify_audit(chip_folder(SERIAL) / AUDIT_FILE)


def test_guard_writes_who_opened_with_which_limits_and_what_was_sent():
    with open_chip("sim:hermes?rows=8&cols=8&cores=2") as chip:
        info = chip.info.model_copy(update={"backend": BackendKind.SILICON})
    pulse = Pulse.of(
        PulseFamily.RESET, device=0, rows=[0, 1, 2], cols=0, amplitude=5, width=1, count=1
    )
    with open_guard(info, command=("hil", "program", "w.npy", "--yes")) as guard:
        for outcome in (Outcome.DONE, Outcome.REJECTED, None):
            guard.admit(1, pulse)
            guard.applied(1, pulse, outcome)
        guard.note("lease taken over", holder="ann@lab")
    opened, taken, closed = read_audit(chip_folder(info.serial) / AUDIT_FILE)
    assert opened["command"] == ["hil", "program", "w.npy", "--yes"]
    assert opened["limits"] == {"source": "hermes.toml", "sha256": guard.limits.sha256}
    assert taken["holder"] == "ann@lab"
    assert closed["pulses"] == [{"core": 1, "family": "reset", "pulses": 6}]
    assert (closed["effect_unknown"], closed["wear"], opened["wear"]) == (1, 6, 0)
    assert verify_audit(chip_folder(info.serial) / AUDIT_FILE).bad_line is None
    assert json.dumps(opened).isascii()
