"""Leases and mutations: one owner, tokens that rise, stale ones change nothing, silence is safe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from drivers.board import Board, LeaseTerms, open_board
from drivers.board_link import Asked
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import Chip, CoreUnavailableError, MvmRequest, RequestError
from hil.core import Outcome, Pulse
from hil.info import PulseFamily
from protocols.wire import messages as wire

MakeChip = Callable[[], Chip]


def host(device: Dispatcher, name: str) -> Board:
    stream = DeviceEmulator(device)
    transport = MemoryTransport(stream.receive, release=stream.close)
    return Board(transport, address="fake:board", holder=name)


def still(name: str, *, takeover: bool = False) -> LeaseTerms:
    return LeaseTerms(lapse_s=0.0, holder=name, takeover=takeover)


def pulse(amplitude: int = 1, places: int = 6) -> Pulse:
    return Pulse.of(
        PulseFamily.SET, device=0, rows=range(places), cols=0, amplitude=amplitude, width=1
    )


def program(token: int, mutation: int, *, row: int = 0) -> wire.ProgramRequest:
    def one(value: int) -> wire.Codes:
        return wire.Codes(item_bytes=1, data=bytes([value]))

    return wire.ProgramRequest(
        token=token,
        mutation=mutation,
        family=wire.Family.SET,
        device=one(0),
        rows=one(row),
        cols=one(0),
        amplitude=one(1),
        width=one(1),
        count=one(1),
    )


def answer(board: Board, message: wire.Message) -> Any:
    (reply,) = board.link.ask_many([Asked(0, message)])
    return reply


def test_the_second_host_is_told_who_owns_the_board_and_may_look(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())
    first, second = host(device, "ada"), host(device, "bob")
    first.lock(still("ada"))
    with pytest.raises(CoreUnavailableError, match="chip CELLS-1 is owned by ada") as refused:
        second.lock(still("bob"))
    assert refused.value.fields["holder"] == "ada"
    assert second.owner() == "ada"
    core = second.chip().cores[0]
    assert core.status().pulses == 0
    assert second.temperature_kelvin() == 300.1
    for call in (
        lambda: core.program(pulse()),
        lambda: core.mvm(MvmRequest(input_codes=np.zeros((1, 6), np.int16))),
        lambda: core.wait(1.0),
    ):
        with pytest.raises(CoreUnavailableError, match="ada owns chip CELLS-1"):
            call()
    assert first.chip().cores[0].program(pulse()).outcome is Outcome.DONE
    first.close()
    second.lock(still("bob"))
    assert second.owner() == "bob"


def test_two_hosts_that_fight_never_interleave(make_cells: MakeChip) -> None:
    owners: list[tuple[int, str]] = []
    inner = make_cells()

    def note(_core: int, applied: Pulse) -> None:
        lease = device.leases.current
        assert lease is not None
        owners.append((int(applied.amplitude[0]), lease.holder))

    device = Dispatcher(inner, admit=note)
    rng = np.random.default_rng(3)
    names = ("ada", "bob")
    boards = [host(device, name) for name in names]
    cores = [board.chip().cores[0] for board in boards]
    done, refused, tokens = [0, 0], 0, []
    for _ in range(600):
        who = int(rng.integers(2))
        try:
            match rng.integers(8):
                case 0:
                    boards[who].lock(still(names[who]))
                    tokens.append(boards[who].token)
                case 1:
                    boards[who].lock(still(names[who], takeover=True))
                    tokens.append(boards[who].token)
                case 2:
                    boards[who].unlock()
                case _:
                    cores[who].program(pulse(amplitude=who))
                    done[who] += 1
        except CoreUnavailableError as error:
            refused += 1
            sentence = str(error)
            assert names[1 - who] in sentence or "nobody owns" in sentence
    assert [names[tag] for tag, _ in owners] == [holder for _, holder in owners]
    assert min(done) > 20
    assert refused > 20
    assert tokens == sorted(set(tokens))
    assert inner.cores[0].counts["generation"] == sum(done) == len(owners)  # type: ignore[attr-defined]


def test_stale_tokens_gaps_and_old_ids_change_nothing(make_cells: MakeChip) -> None:
    inner = make_cells()
    device = Dispatcher(inner)
    board = host(device, "ada")
    board.lock(still("ada"))
    token = board.token
    assert isinstance(answer(board, program(token, 1)), wire.ProgramReply)
    for message, status in (
        (program(token - 1, 2), wire.Status.STALE_TOKEN),
        (program(token + 1, 2), wire.Status.STALE_TOKEN),
        (program(token, 3), wire.Status.MUTATION_GAP),
        (program(token, 0), wire.Status.STALE_MUTATION),
        (program(token, 1, row=1), wire.Status.STALE_MUTATION),
    ):
        reply = answer(board, message)
        assert (reply.status, reply.effect) == (status, wire.Effect.NONE)
    again = answer(board, program(token, 1))
    assert isinstance(again, wire.ProgramReply)
    assert inner.cores[0].executed.count("program") == 1  # type: ignore[attr-defined]
    assert board.reconcile(1).outcome is Outcome.DONE
    assert board.reconcile(2).outcome is None


def test_a_refused_pulse_uses_its_id_up_and_the_next_one_follows(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())
    board = host(device, "ada")
    board.lock(still("ada"))
    core = board.chip().cores[0]
    device.chip.cores[0].fault = RequestError("the supply forbids it")  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="supply forbids"):
        core.program(pulse())
    device.chip.cores[0].fault = None  # type: ignore[attr-defined]
    assert board.reconcile(1).outcome is Outcome.REJECTED
    assert core.program(pulse()).outcome is Outcome.DONE
    assert board.last_mutation == device.ledger.last == 2


def test_an_owner_that_falls_silent_loses_the_lease_and_the_cores_are_safe(
    make_cells: MakeChip,
) -> None:
    now = [0.0]
    device = Dispatcher(make_cells(), clock=lambda: now[0])
    board, other = host(device, "ada"), host(device, "bob")
    reply = answer(board, wire.LockRequest(holder="ada", lapse_s=2.0, takeover=False))
    board.token = reply.token
    core = board.chip().cores[0]
    for _ in range(5):
        now[0] += 1.5
        core.now_s()  # any request renews
    assert device.due_s == 2.0
    now[0] += 2.0
    device.tick()
    assert [c.safe for c in device.chip.cores] == [True, True]  # type: ignore[attr-defined]
    assert other.owner() == ""
    with pytest.raises(CoreUnavailableError, match=r"nobody owns .* lapsed after 2 s of silence"):
        core.program(pulse())
    assert board.statistics.events == 1


def test_a_host_with_nothing_to_do_keeps_its_lease_until_it_closes(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())
    stream = DeviceEmulator(device)
    chip = open_board(
        MemoryTransport(stream.receive), address="fake:", lease=LeaseTerms(lapse_s=0.3)
    )
    time.sleep(1.0)
    device.tick()
    assert chip.cores[0].program(pulse()).outcome is Outcome.DONE
    chip.close()
    assert device.leases.current is None


def test_a_stranger_may_stop_the_board_and_the_owner_cannot_go_on(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells(), slice_pulses=2)
    owner = DeviceEmulator(device)
    board = Board(MemoryTransport(owner.receive), address="fake:board", holder="ada")
    board.lock(still("ada"))
    stranger = host(device, "bob")
    _, first = board.link.link.request(0, board_pulse(board, 1))
    _, second = board.link.link.request(0, board_pulse(board, 2))
    owner.accept(first + second)
    for _ in range(3):
        device.work()  # the intent and two slices
    stranger.safe_state()
    while device.work():
        pass
    outcomes = [f.message for f in board.link.link.receive(owner.take_output())]
    replies = [m for m in outcomes if isinstance(m, (wire.ProgramReply, wire.ErrorReply))]
    cells = device.chip.cores[0].cells  # type: ignore[attr-defined]
    stopped = next(m for m in replies if isinstance(m, wire.ProgramReply))
    aborted = next(m for m in replies if isinstance(m, wire.ErrorReply))
    assert (stopped.outcome, stopped.pulses) == (wire.Outcome.FAILED, cells.sum())
    assert 0 < cells.sum() < 6
    assert (aborted.status, aborted.effect) == (wire.Status.ABORTED, wire.Effect.NONE)
    assert [c.safe for c in device.chip.cores] == [True, True]  # type: ignore[attr-defined]
    with pytest.raises(CoreUnavailableError, match="put into its safe state by bob"):
        board.chip().cores[0].program(pulse())


def board_pulse(board: Board, mutation: int) -> wire.ProgramRequest:
    def each(values: list[int]) -> wire.Codes:
        return wire.Codes(item_bytes=1, data=bytes(values))

    return wire.ProgramRequest(
        token=board.token,
        mutation=mutation,
        family=wire.Family.SET,
        device=each([0] * 6),
        rows=each([*range(6)]),
        cols=each([mutation] * 6),
        amplitude=each([1] * 6),
        width=each([1] * 6),
        count=each([1] * 6),
    )
