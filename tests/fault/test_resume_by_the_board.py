"""A pulse request whose reply is lost: the board knows what became of it, and `hil resume` asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hil.backends
import hil.reconcile
from drivers.board import LeaseTerms, LinkTiming, open_board
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil.address import Address
from hil.backends import open_chip
from hil.cli import app
from hil.core import Chip, ProgramResult
from hil.errors import CoreTimeoutError
from hil.reconcile import Evidence
from hil.record import RunStatus, load_record
from hil.requests import MutationId, Outcome
from hil.session import load_wear
from protocols.wire import messages as wire
from protocols.wire.framing import Frame, FrameDecoder

ADDRESS = "tcp:desk:1"
METHOD = "verify"
PULSES = {0x10, 0x14}  # PROGRAM, PROGRAM_MAP


class Desk:
    """A board on the desk: it outlives its hosts. Its line may be cut at a pulse request.

    Attributes:
        cut_at: Pulse request of the session at which the line falls silent; 0: never.
        loses: "request" or "reply": what is lost with it.
    """

    def __init__(self) -> None:
        self.chip = open_chip("sim:hermes?seed=3&rows=8&cols=6")
        self.device = Dispatcher(self.chip)
        self.cut_at, self.loses = 0, ""

    def open(self) -> Chip:
        stream, decoder = DeviceEmulator(self.device), FrameDecoder()
        seen, cut = 0, False

        def line(data: bytes) -> bytes:
            nonlocal seen, cut
            if cut:
                return b""
            frames = [f for f in decoder.feed(data) if isinstance(f, Frame)]
            seen += sum(frame.opcode in PULSES for frame in frames)
            cut = 0 < self.cut_at <= seen
            if cut and self.loses == "request":
                return b""
            replies = stream.receive(data)
            return b"" if cut else replies

        transport = MemoryTransport(line, release=stream.close)
        return open_board(
            transport,
            address=ADDRESS,
            timing=LinkTiming(base_s=0.3),
            lease=LeaseTerms(lapse_s=0.0, holder="a test"),
        )


DESKS: list[Desk] = []


def open_desk(_: Address) -> Chip:
    return DESKS[-1].open()


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setitem(hil.backends._BUILT_IN, "tcp", f"{__name__}:open_desk")
    DESKS.append(Desk())
    yield DESKS[-1]
    DESKS.pop().chip.close()


def hil_command(*words: str) -> tuple[int, BaseException | None]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.exception


def interrupted(tmp_path: Path, desk: Desk, *, at: int, loses: str) -> Path:
    weights, run = tmp_path / "w.npy", tmp_path / "run"
    np.save(weights, np.random.default_rng(4).standard_normal((8, 6)))
    desk.cut_at, desk.loses = at, loses
    command = ("program", str(weights), "--method", METHOD, "--core", ADDRESS, "--out", str(run))
    _, error = hil_command(*command)
    assert isinstance(error, CoreTimeoutError)
    desk.cut_at = 0
    return run


def intents(run: Path) -> list[dict[str, object]]:
    lines = map(json.loads, (run / "journal.jsonl").read_bytes().splitlines())
    return [line for line in lines if line.get("phase") == "intent"]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("loses", "evidence"),
    [("reply", Evidence.TOLD_ALL), ("request", Evidence.TOLD_NONE)],
    ids=["reply", "request"],
)
def test_the_board_tells_whether_pulses_came_and_they_are_applied_once(
    tmp_path, desk, at, loses, evidence
):
    run = interrupted(tmp_path, desk, at=at, loses=loses)
    (sent, *_) = reversed(intents(run))
    boot, number = sent["mutation"]
    assert boot == desk.device.boot
    assert desk.device.ledger.last == (number if loses == "reply" else number - 1)
    assert hil_command("resume", str(run)) == (0, None)
    record = load_record(run)
    (note,) = record.resumptions
    assert (record.status, note.evidence) == (RunStatus.DONE, evidence.value)
    assert note.in_doubt == sent["pulses"]
    assert note.sent_again == (0 if loses == "reply" else sent["pulses"])
    applied = sum(core.status().pulses for core in desk.chip.cores)
    worn = sum(int(wear.sum()) for wear in load_wear(run).values())
    assert applied == worn - note.sent_again  # pulses once in doubt count as wear for ever


def test_a_board_that_was_started_again_is_not_asked_by_a_number_of_before(tmp_path, desk):
    run = interrupted(tmp_path, desk, at=3, loses="reply")
    desk.device.power_cycle()
    assert hil_command("resume", str(run)) == (0, None)
    (note,) = load_record(run).resumptions
    assert note.evidence == Evidence.COUNTED_ALL.value


def test_a_word_that_the_counts_contradict_is_not_taken(tmp_path, desk, caplog):
    run = interrupted(tmp_path, desk, at=3, loses="request")
    number = intents(run)[-1]["mutation"][1]
    desk.device.ledger.begin(number, b"somebody else's")
    desk.device.ledger.end(number, (0x10, b""), fate=wire.Fate.DONE, pulses=1)
    assert hil_command("resume", str(run)) == (0, None)
    (note,) = load_record(run).resumptions
    assert note.evidence == Evidence.COUNTED_NONE.value
    assert note.sent_again == note.in_doubt
    assert "not believed" in caplog.text


def test_pulses_that_the_board_could_not_finish_are_judged_by_their_cells(tmp_path, desk):
    core = desk.chip.cores[0]
    whole = core._do_program

    def half(pulse):
        done = whole(pulse.part(slice(0, len(pulse) // 2)))
        return ProgramResult(outcome=Outcome.FAILED, pulses=done.pulses, at_s=done.at_s)

    core._do_program = half
    run = interrupted(tmp_path, desk, at=1, loses="reply")
    core._do_program = whole
    assert hil_command("resume", str(run)) == (0, None)
    (note,) = load_record(run).resumptions
    assert note.evidence == Evidence.TOLD_SOME.value
    assert 0 < note.sent_again <= note.in_doubt


def test_a_chip_without_names_says_so():
    with open_chip("sim:ideal?rows=2&cols=2") as chip:
        assert chip.cores[0].next_mutation() is None
        assert chip.cores[0].fate(MutationId(boot=1, number=1)) is None
