"""How leases end and boards stop, row by row of the specification: cores, requests, events, ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.board import Board, LeaseTerms, open_board
from drivers.board_link import Asked
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import Chip, CoreUnavailableError, RequestError
from hil.core import Outcome, Pulse
from hil.info import PulseFamily
from protocols.wire import messages as wire

MakeChip = Callable[[], Chip]
PULSE = Pulse.of(PulseFamily.SET, device=0, rows=range(6), cols=0, amplitude=1, width=1)


class Party:
    """A host on a stream of its own, with what it was told unasked."""

    def __init__(self, device: Dispatcher, name: str) -> None:
        self.stream = DeviceEmulator(device)
        transport = MemoryTransport(self.stream.receive, release=self.stream.close)
        self.board = Board(transport, address="fake:board", holder=name)
        self.events: list[wire.Message] = []
        self.board.link.events = lambda _core, event: self.events.append(event)

    def lock(self, *, takeover: bool = False) -> None:
        self.board.lock(LeaseTerms(lapse_s=0.0, holder="", takeover=takeover))

    def answer(self, message: wire.Message, core: int = 0) -> Any:
        (reply,) = self.board.link.ask_many([Asked(core, message)])
        return reply

    def hello(self) -> None:
        self.board._hello("once more")


@pytest.fixture
def parties(make_cells: MakeChip) -> tuple[Dispatcher, Party, Party]:
    """A device, its owner and an observer."""
    device = Dispatcher(make_cells())
    owner, other = Party(device, "ada"), Party(device, "bob")
    owner.lock()
    for core in device.chip.cores:
        core.safe = False  # type: ignore[attr-defined]
    return device, owner, other


def safe(device: Dispatcher) -> list[bool]:
    return [core.safe for core in device.chip.cores]  # type: ignore[attr-defined]


ENDS: dict[str, tuple[Callable[[Party, Party], object], list[bool], type[wire.Message] | None]] = {
    "unlock": (lambda a, _: a.board.unlock(), [False, False], None),
    "hello": (lambda a, _: a.hello(), [True, True], None),
    "stream closed": (lambda a, _: a.stream.close(), [True, True], None),
    "takeover": (lambda _, b: b.lock(takeover=True), [True, True], wire.LeaseTakenEvent),
    "stop of a core": (lambda _, b: b.board.safe_state(1), [False, True], wire.SafeEvent),
    "stop of all": (lambda _, b: b.board.safe_state(), [True, True], wire.SafeEvent),
    "power": (lambda a, _: a.stream.device.power_cycle(), [True, True], wire.BootEvent),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_lease_ends_as_its_row_of_the_specification_says(
    parties: tuple[Dispatcher, Party, Party], how: str
) -> None:
    device, owner, other = parties
    watcher = Party(device, "eve")
    end, expected, event = ENDS[how]
    end(owner, other)
    assert safe(device) == expected
    lease = device.leases.current
    assert lease is None or lease.client is other.stream.client
    told = watcher.board.link.link.receive(watcher.stream.take_output())
    kinds = [type(found.message) for found in told]
    assert kinds == ([] if event is None else [event])


@pytest.mark.parametrize("takes", ["stop", "takeover"])
def test_whoever_lost_the_lease_is_no_owner_whatever_token_he_shows(
    parties: tuple[Dispatcher, Party, Party], takes: str
) -> None:
    device, owner, other = parties
    token = owner.board.token
    if takes == "stop":
        other.board.safe_state(1)
    else:
        other.lock(takeover=True)
    for message in (wire.KeepaliveRequest(token=token), wire.WaitRequest(seconds=0.0)):
        reply = owner.answer(message)
        assert (reply.status, reply.effect) == (wire.Status.NOT_OWNER, wire.Effect.NONE)
    with pytest.raises(CoreUnavailableError, match="ask for the lease again"):
        owner.board.chip().cores[0].program(PULSE)
    assert device.chip.cores[0].status().pulses == 0
    assert device.ledger.last == 0


def test_an_owner_that_stops_a_core_keeps_its_lease(
    parties: tuple[Dispatcher, Party, Party],
) -> None:
    device, owner, other = parties
    owner.board.safe_state(0)
    assert safe(device) == [True, False]
    assert owner.board.chip().cores[0].program(PULSE).outcome is Outcome.DONE
    assert safe(device) == [True, False]  # pulses do not leave the safe state
    assert other.events == []


def test_closing_makes_a_core_safe_for_its_owner_alone(
    parties: tuple[Dispatcher, Party, Party],
) -> None:
    device, owner, other = parties
    assert isinstance(other.answer(wire.CloseRequest()), wire.CloseReply)
    assert other.answer(wire.NowRequest()).status is wire.Status.CORE_CLOSED
    assert safe(device) == [False, False]
    assert isinstance(owner.answer(wire.NowRequest()), wire.NowReply)
    assert isinstance(owner.answer(wire.CloseRequest()), wire.CloseReply)
    assert safe(device) == [True, False]


def test_a_refusal_by_the_core_uses_its_id_up_and_every_other_one_leaves_it_free(
    parties: tuple[Dispatcher, Party, Party],
) -> None:
    device, owner, other = parties
    refused = Pulse.of(PulseFamily.SET, device=0, rows=0, cols=0, amplitude=1, width=1)
    device.chip.cores[0].fault = RequestError("no supply")  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="no supply"):
        owner.board.chip().cores[0].program(refused)
    device.chip.cores[0].fault = None  # type: ignore[attr-defined]
    assert (device.ledger.last, owner.board.last_mutation) == (1, 1)
    assert owner.board.reconcile(1).outcome is Outcome.REJECTED
    owner.answer(wire.CloseRequest())
    with pytest.raises(CoreUnavailableError, match="closed"):
        owner.board.chip().cores[0].program(PULSE)
    other.board.safe_state()
    with pytest.raises(CoreUnavailableError, match="lease"):
        owner.board.chip().cores[1].program(PULSE)
    assert (device.ledger.last, owner.board.last_mutation) == (1, 1)
    assert owner.board.reconcile(2).outcome is None


def test_a_stop_is_answered_whatever_epoch_it_comes_with(
    parties: tuple[Dispatcher, Party, Party],
) -> None:
    device, owner, _ = parties
    device.power_cycle()  # the board has no session any more, the host does not know it
    epoch = owner.board.link.link.epoch
    _, data = owner.board.link.link.request(wire.ALL_CORES, wire.SafeStateRequest())
    owner.stream.take_output()
    replies = owner.board.link.link.receive(owner.stream.receive(data))
    assert epoch
    assert [type(found.message) for found in replies] == [wire.SafeStateReply]


def test_a_device_keeps_no_name_longer_than_it_says(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())
    party = Party(device, "é" * 100)
    assert party.stream.client.holder == "é" * 64
    party.board.lock(LeaseTerms(lapse_s=0.0, holder="x" * 5000))
    assert party.board.owner() == "x" * 128


def test_a_chip_tells_whom_opening_it_drove_off(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())

    def opened(name: str) -> Chip:
        stream = DeviceEmulator(device)
        terms = LeaseTerms(lapse_s=0.0, holder=name, takeover=True)
        transport = MemoryTransport(stream.receive, release=stream.close)
        return open_board(transport, address="fake:board", lease=terms)

    first = opened("ada")
    assert first.taken_from == ""  # nobody was there
    second = opened("bob")
    assert second.taken_from == "ada"
    second.close()
    assert opened("eve").taken_from == ""
