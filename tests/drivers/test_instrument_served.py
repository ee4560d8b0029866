"""The control plane as a laboratory meets it: PyVISA at a socket, a terminal at a serial line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from drivers.serving import BoardServer
from drivers.serving_board import EmulatedBoard
from drivers.serving_line import LineSettings
from hil import Chip, open_chip


@pytest.fixture
def server(make_cells: Callable[[], Chip]) -> Iterator[BoardServer]:
    """Serves the chip with known answers from another thread."""
    server = BoardServer(EmulatedBoard(make_cells()), LineSettings())
    yield server
    server.close()


@pytest.fixture
def serve(server: BoardServer) -> Iterator[Callable[[], None]]:
    threads: list[threading.Thread] = []

    def start() -> None:
        def run() -> None:
            while not ended.is_set():
                server.step(0.01)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[0].start()

    ended = threading.Event()
    yield start
    ended.set()
    threads[0].join(10.0)


def test_pyvisa_works_with_the_socket_of_a_board_and_shares_it_with_the_binary_plane(server, serve):
    host, port = server.listen("127.0.0.1", 0)
    serve()
    pyvisa = pytest.importorskip("pyvisa")
    manager = pyvisa.ResourceManager("@py")
    name = f"TCPIP::{host}::{port}::SOCKET"
    lab = manager.open_resource(name, read_termination="\n", write_termination="\n")
    lab.timeout = 10_000
    assert lab.query("*IDN?").startswith("AIMC-HIL sim,integer-cells,CELLS-1,")
    assert lab.query('SYST:LOCK:REQ? "the lab";OWN?') == '1;"the lab",1'
    lab.write("CORE2:CONF:RANG 1;GAIN 7")
    assert lab.query("CORE2:CONF:RANG?;GAIN?;:SYST:ERR?") == '1;7,7,7,7,7;0,"No error"'
    assert json.loads(lab.query_binary_values("SYST:CAP?", "B", container=bytes)) is not None
    with pytest.raises(ConnectionError, match="the lab"):
        open_chip(f"tcp:{host}:{port}")
    lab.write("SYST:LOCK:REL")
    assert lab.query("*OPC?") == "1"
    with open_chip(f"tcp:{host}:{port}") as chip:
        assert chip.serial == "CELLS-1"
        assert chip.cores[1].settings().output_range == 1
        lab.write("CONF:RANG 1")
        assert lab.query("SYST:ERR?").startswith("-203,")
    lab.close()
    manager.close()


def test_a_terminal_and_the_binary_plane_take_turns_at_one_line(server, serve):
    path = server.open_terminal()
    serve()
    line = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.write(line, b"*OPC?;:DIAG:TIME?\r\n")
    assert os.read(line, 100) == b"1;0.0\n"
    os.write(line, b"half a comm")
    os.close(line)
    with open_chip(f"serial:{path}") as chip:
        chip.cores[0].wait(2.0)
        assert chip.cores[0].now_s() == 2.0
