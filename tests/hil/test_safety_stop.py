"""H5, the emergency stop: SAFE reaches a board whoever holds it, twice, and proves what it did."""

import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import tty

import pytest

from hil.errors import CoreTimeoutError, CoreUnavailableError, DeviceFaultError, RequestError
from hil.lease_lock import OwnerLock
from hil.urgent import make_board_safe
from protocols.wire import messages as wire
from protocols.wire.link import DeviceLink

SERIAL = "SIM-HERMES-0000003"


class Board:
    """A board of two driven cores: `deaf` frames are lost, `stuck` never becomes safe."""

    def __init__(self, *, deaf=0, stuck=False, silent=False):
        self.safe = [False, False]
        self.taken = []
        self._deaf, self._stuck, self._silent = deaf, stuck, silent
        self._said = json.dumps({"serial": SERIAL, "cores": [{}, {}]}).encode()

    def serve(self, read, write):
        link = DeviceLink()
        while data := read():
            for incoming in link.receive(data):
                self.taken.append(type(incoming.message).__name__)
                if self._silent or self._deaf:
                    self._deaf = max(0, self._deaf - 1)
                    continue
                if isinstance(incoming.message, wire.HelloRequest):
                    epoch = link.begin(incoming)
                write(link.reply(incoming, self._answer(incoming, locals().get("epoch", 0))))
            write(link.take_output())

    def _answer(self, incoming, epoch):
        message = incoming.message
        if isinstance(message, wire.SafeStateRequest):
            assert incoming.urgent
            assert incoming.core == 0xFFFF
            self.safe = [not self._stuck, True]
            return wire.SafeStateReply()
        if isinstance(message, wire.HelloRequest):
            return wire.HelloReply(
                version=wire.PROTOCOL_VERSION,
                epoch=epoch,
                session=message.session,
                boot=1,
                window=16,
                max_object_bytes=1 << 20,
                capabilities_sha256=bytes(32),
                last_mutation=0,
            )
        if isinstance(message, wire.CapabilitiesRequest):
            return wire.CapabilitiesReply(json=self._said)
        if isinstance(message, wire.OwnerRequest):
            return wire.OwnerReply(holder="ann@lab", token=3)
        assert isinstance(message, wire.StatusRequest)
        return wire.StatusReply(
            now_s=0.0,
            temperature_kelvin=300.0,
            pulses=0,
            reads=0,
            mvms=0,
            last_pulse_at_s=None,
            generation=0,
            safe=self.safe[incoming.core],
        )


@pytest.fixture
def on_pty():
    """Serve a board on a pseudo-terminal: its device file."""
    made = []

    def serve(board):
        master, slave = pty.openpty()
        tty.setraw(slave)
        stop, stopped = os.pipe()

        def read():
            ready, _, _ = select.select([master, stop], [], [])
            return b"" if stop in ready else os.read(master, 65536)

        thread = threading.Thread(target=board.serve, args=(read, lambda d: os.write(master, d)))
        thread.start()
        made.append((thread, stopped, (master, slave, stop, stopped)))
        return os.ttyname(slave)

    yield serve
    for thread, stopped, files in made:
        os.write(stopped, b"x")
        thread.join()
        for file in files:
            os.close(file)


@pytest.fixture
def on_tcp():
    """Serve a board to any number of connections: its port."""
    made = []

    def serve(board):
        server = socket.create_server(("127.0.0.1", 0))

        def talk(connection):
            with connection:
                board.serve(lambda: connection.recv(65536), connection.sendall)

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        made.append((server, thread))
        return server.getsockname()[1]

    yield serve
    for server, thread in made:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize("deaf", [0, 1, 3])
def test_safe_is_sent_until_it_is_heard_and_read_back(on_pty, deaf):
    board = Board(deaf=deaf)
    proof = make_board_safe(f"serial:{on_pty(board)}?baud=3000000")
    assert (proof.serial, proof.cores, proof.owner) == (SERIAL, 2, "ann@lab")
    assert board.safe == [True, True]
    assert board.taken[: deaf + 1] == ["SafeStateRequest"] * (deaf + 1)  # before anything else
    assert board.taken.count("StatusRequest") == 2


@pytest.mark.parametrize("scheme", ["tcp:127.0.0.1:{}", "visa:TCPIP::127.0.0.1::{}::SOCKET"])
def test_safe_over_a_socket_twice_and_while_the_host_holds_the_lock(on_tcp, hil, scheme):
    board = Board()
    address = scheme.format(on_tcp(board))
    with OwnerLock.acquire(SERIAL):
        for _ in range(2):
            code, out, err = hil("safe", address)
            said = json.loads(out)
            assert (code, said["serial"], said["cores"], said["logged"]) == (0, SERIAL, 2, True)
            assert "2 core(s) read back as safe; its lease is still that of ann@lab" in err
    _, out, _ = hil("audit", "show", SERIAL)
    assert [line["event"] for line in json.loads(out)["lines"]] == ["made safe"] * 2


HANG = """
import serial, sys, os, signal
port = serial.Serial(sys.argv[1], exclusive=True)
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_safe_reaches_a_board_whose_owner_hangs_with_the_port_in_its_hands(on_pty):
    board = Board()
    device = on_pty(board)
    owner = subprocess.Popen([sys.executable, "-c", HANG, device], stdout=subprocess.PIPE)
    try:
        assert owner.stdout.readline() == b"held\n"
        os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
        make_board_safe(f"serial:{device}")
        assert board.safe == [True, True]
    finally:
        owner.kill()
        owner.communicate()


def test_board_that_does_not_read_back_as_safe_is_a_failure(on_tcp, hil):
    board = Board(stuck=True)
    port = on_tcp(board)
    with pytest.raises(DeviceFaultError, match="core 0 is driven again"):
        make_board_safe(f"tcp:127.0.0.1:{port}")
    code, out, err = hil("safe", f"tcp:127.0.0.1:{port}")
    assert (code, out) == (3, "")
    assert "driven again" in err


def test_board_that_does_not_answer_is_a_failure_with_the_next_step(on_tcp, monkeypatch):
    monkeypatch.setattr("drivers.urgent.FIRST_WAIT_S", 0.002)
    with pytest.raises(CoreTimeoutError, match="cut its programming supply"):
        make_board_safe(f"tcp:127.0.0.1:{on_tcp(Board(silent=True))}")


def test_nothing_there_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CoreUnavailableError, match="nothing answers"):
        make_board_safe(f"tcp:127.0.0.1:{port}")
    with pytest.raises(CoreUnavailableError, match="cannot be opened"):
        make_board_safe(f"serial:{tmp_path}/none")
    (tmp_path / "file").write_text("")
    with pytest.raises(CoreUnavailableError, match="no serial port"):
        make_board_safe(f"serial:{tmp_path}/file")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sim:hermes", "lives in the process that opened it"),
        ("loopback:sim:hermes", "lives in the process that opened it"),
        ("usb:1", "unknown scheme"),
        ("tcp:host", "is not tcp:HOST:PORT"),
    ],
)
def test_address_without_a_board_gets_a_sentence(address, words):
    with pytest.raises(RequestError, match=words):
        make_board_safe(address)
