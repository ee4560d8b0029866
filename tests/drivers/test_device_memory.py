"""Device memory: a device that was killed in mid-program knows it; damage is not believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drivers import translate
from drivers.board import Board, LeaseTerms
from drivers.device_memory import DeviceMemory
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import Chip, RecordError, RequestError
from hil.core import Outcome, Pulse
from hil.info import PulseFamily
from protocols.wire import messages as wire

MakeChip = Callable[[], Chip]
STILL = LeaseTerms(lapse_s=0.0, holder="ada")


def host(device: Dispatcher) -> Board:
    return Board(MemoryTransport(DeviceEmulator(device).receive), address="fake:", holder="ada")


def pulse() -> Pulse:
    return Pulse.of(PulseFamily.SET, device=0, rows=range(6), cols=0, amplitude=1, width=1)


def test_a_device_that_was_killed_in_mid_program_knows_it_at_its_next_start(
    make_cells: MakeChip, tmp_path: Path
) -> None:
    path = tmp_path / "memory"
    inner = make_cells()
    memory = DeviceMemory(path)
    device = Dispatcher(inner, memory=memory)
    board = host(device)
    board.lock(STILL)
    board.chip().cores[0].program(pulse())
    killed = translate.pulse_to_wire(inner.cores[0].info, pulse(), token=board.token, mutation=2)
    device.submit(device._clients[0], 0, killed, wire.encode_body(killed), lambda _: None)
    device.work()  # the intent stands, no pulse yet
    with pytest.raises(RequestError, match="belongs to a running emulator"):
        DeviceMemory(path)
    memory.close()
    with path.open("ab") as file:
        file.write(b'{"mutation":{"id":3')  # torn by the kill

    kept = DeviceMemory(path)
    again = Dispatcher(inner, memory=kept)
    later = host(again)
    assert again.boot == device.boot + 1
    assert later.last_mutation == 2
    assert [later.reconcile(k).outcome for k in (1, 2, 3)] == [Outcome.DONE, Outcome.UNKNOWN, None]
    later.lock(STILL)
    assert later.token > board.token
    assert later.chip().cores[0].program(pulse()).outcome is Outcome.DONE
    assert again.ledger.last == 3
    kept.close()


def test_a_damaged_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    memory = DeviceMemory(path)
    memory.write({"token": 7})
    memory.write({"token": 8})
    memory.close()
    path.write_bytes(path.read_bytes().replace(b"7", b"9", 1))
    with pytest.raises(RecordError, match="line 1 is damaged"):
        DeviceMemory(path)
