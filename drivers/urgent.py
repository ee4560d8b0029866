"""SAFE without a session: an urgent frame to any board, then proof by reading back. Needs no lease.

It works while the owner of the board hangs or is dead, because the device takes the frame at any
time and out of the window. Knows neither locks nor records, so that nothing of them can stop it.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import termios
import time
from typing import TYPE_CHECKING, TypeVar

from drivers.capabilities_seen import cores_of
from drivers.transport import Transport
from drivers.urgent_messages import safe_by_messages
from drivers.visa_transport import open_channel
from hil.backends import check_address
from hil.errors import CoreTimeoutError, CoreUnavailableError, DeviceFaultError, RequestError
from hil.urgent import SafeProof
from protocols.wire import messages as wire
from protocols.wire.link import HostLink, Reply

if TYPE_CHECKING:
    from hil.address import Address

__all__ = ["make_safe", "open_stream", "safe_board"]

ReplyT = TypeVar("ReplyT", bound=wire.Message)

EVERY_CORE = 0xFFFF
"""Core number of a SAFE_STATE request that means all of them."""
FIRST_WAIT_S = 0.1
"""Wait for a reply before SAFE is sent again; doubled each time, s."""
TRIES = 6
_READ_BYTES = 1 << 16
_CONNECT_S = 5.0
_BAUD = 3_000_000  # as `serial:` has it: another one would cut the owner off


def safe_board(address: Address) -> SafeProof:
    """Put every core of the board at `address` into its safe state, and prove it.

    Raises:
        RequestError: Nothing outside this process is behind the address.
        CoreUnavailableError: Nothing can be reached there.
        CoreTimeoutError: It does not answer.
        DeviceFaultError: It answers, but does not show that it is safe.
    """
    if address.scheme == "visa" and not _is_stream(address.target):
        channel = open_channel(address)
        try:
            return safe_by_messages(channel, address.text)
        finally:
            channel.close()
    stream = open_stream(address)
    try:
        return make_safe(stream, address.text)
    finally:
        stream.close()


def make_safe(stream: Transport, name: str) -> SafeProof:
    """Send SAFE over an open stream until it is answered, then read every core's status back.

    The reading opens a session of its own on this stream, without a lease: an owner on the same
    serial line loses its session, one on another stream is left alone. Raises as `safe_board`.
    """
    asker = _Asker(stream, name)
    asker.ask(EVERY_CORE, wire.SafeStateRequest(), wire.SafeStateReply)
    hello = wire.HelloRequest(
        lowest_version=wire.PROTOCOL_VERSION,
        highest_version=wire.PROTOCOL_VERSION,
        session=secrets.randbits(64),
        holder="hil safe",
    )
    answer = asker.ask(0, hello, wire.HelloReply)
    asker.link.begin(answer)
    serial, cores = cores_of(asker.ask(0, wire.CapabilitiesRequest(), wire.CapabilitiesReply).json)
    safe = tuple(asker.ask(k, wire.StatusRequest(), wire.StatusReply).safe for k in range(cores))
    if not all(safe):
        # An owner that is alive may have configured a core again in between: once more, last.
        asker.ask(EVERY_CORE, wire.SafeStateRequest(), wire.SafeStateReply)
        safe = tuple(
            asker.ask(k, wire.StatusRequest(), wire.StatusReply).safe for k in range(cores)
        )
    if not all(safe):
        bad = ", ".join(str(k) for k, is_safe in enumerate(safe) if not is_safe)
        raise DeviceFaultError(
            f"chip {serial} at {name} took SAFE, but core {bad} is driven again: end its owner "
            "(hil list names it), then try again",
            serial=serial,
        )
    owner = asker.ask(0, wire.OwnerRequest(), wire.OwnerReply)
    return SafeProof(serial=serial, cores=cores, owner=owner.holder)


class _Asker:
    """Sends a request until its reply is there; every request it knows may be sent again."""

    def __init__(self, stream: Transport, name: str) -> None:
        self.link = HostLink()
        self._stream = stream
        self._name = name

    def ask(self, core: int, message: wire.Message, expected: type[ReplyT]) -> ReplyT:
        """Return the reply. Raises as `safe_board`."""
        wait_s = FIRST_WAIT_S
        wanted: set[int] = set()
        urgent = isinstance(message, wire.SafeStateRequest)
        for attempt in range(TRIES):
            if attempt == 0 or urgent:
                sequence, data = self.link.request(core, message)
                wanted.add(sequence)
            else:
                data = self.link.resend()
            self._stream.write(data)
            reply = self._listen(wanted, time.monotonic() + wait_s)
            if reply is not None:
                return self._checked(reply, expected)
            wait_s *= 2
        raise CoreTimeoutError(
            f"{self._name} does not answer {type(message).__name__}; whether it is safe is not "
            "known: cut its programming supply",
        )

    def _listen(self, wanted: set[int], deadline_s: float) -> Reply | None:
        while time.monotonic() < deadline_s:
            data = self._stream.read(_READ_BYTES, deadline_s)
            if not data:
                return None
            for found in self.link.receive(data):
                if isinstance(found, Reply) and found.sequence in wanted:
                    return found
            output = self.link.take_output()
            if output:
                self._stream.write(output)
        return None

    def _checked(self, reply: Reply, expected: type[ReplyT]) -> ReplyT:
        if isinstance(reply.message, expected):
            return reply.message
        raise DeviceFaultError(f"{self._name} answered with {reply.message}")


def _is_stream(resource: str) -> bool:
    """Say whether a VISA resource is a byte stream: a socket or a serial port."""
    first, *_, last = resource.upper().split("::")
    return last == "SOCKET" or first.startswith("ASRL")


def open_stream(address: Address) -> Transport:
    """Open a byte stream to the board at an address, shared with whoever has it open.

    Raises:
        RequestError: Nothing outside this process is behind the address.
        CoreUnavailableError: Nothing can be reached there.
    """
    if address.scheme == "tcp":
        host, _, port = address.target.rpartition(":")
        return _connect(address.text, host, port)
    if address.scheme == "serial":
        return _Serial(address.target, address.integer("baud", _BAUD, 1, 1_000_000_000))
    if address.scheme == "visa":
        parts = address.target.split("::")
        if parts[0].upper().startswith("TCPIP") and parts[-1].upper() == "SOCKET":
            return _connect(address.text, parts[1], parts[2])
        if parts[0].upper().startswith("ASRL") and len(parts[0]) > 4:
            return _Serial(parts[0][4:], address.integer("baud", _BAUD, 1, 1_000_000_000))
        raise RequestError(
            f"address {address.text!r}: SAFE needs a byte stream of its own; give serial:, tcp:, "
            "or a VISA resource TCPIP::HOST::PORT::SOCKET or ASRL"
        )
    check_address(address.text)
    raise RequestError(
        f"address {address.text!r}: what it names lives in the process that opened it and nowhere "
        "else; interrupt that process, and it goes to its safe state"
    )


def _connect(name: str, host: str, port: str) -> Transport:
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise RequestError(f"address {name!r} is not tcp:HOST:PORT")
    try:
        return _Socket(socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S))
    except OSError as error:
        raise CoreUnavailableError(f"nothing answers at {name}: {error}") from error


class _Socket:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self, data: bytes) -> None:
        try:
            self._connection.settimeout(_CONNECT_S)
            self._connection.sendall(data)
        except OSError as error:
            raise CoreUnavailableError(f"the board is gone: {error}") from error

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return b""
        self._connection.settimeout(left_s)
        try:
            data = self._connection.recv(max_bytes)
        except TimeoutError:
            return b""
        except OSError as error:
            raise CoreUnavailableError(f"the board is gone: {error}") from error
        if not data:
            raise CoreUnavailableError("the board has closed the connection")
        return data

    def close(self) -> None:
        self._connection.close()


class _Serial:
    """A port that somebody else may hold open: not exclusive, DTR and RTS as they are.

    Not through pyserial, which sets DTR and RTS whenever it opens: that resets some boards.
    """

    def __init__(self, device: str, baud: int) -> None:
        speed = getattr(termios, f"B{baud}", None)  # unknown to the system: as the owner set it
        try:
            self._port = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise CoreUnavailableError(f"port {device} cannot be opened: {error}") from error
        try:
            _make_raw(self._port, speed)
        except (OSError, termios.error) as error:
            os.close(self._port)
            raise CoreUnavailableError(f"{device} is no serial port: {error}") from error

    def write(self, data: bytes) -> None:
        deadline_s = time.monotonic() + _CONNECT_S
        while data:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([], [self._port], [], left_s)[1]:
                raise CoreUnavailableError("the port takes no bytes: flow control, or no board")
            try:
                data = data[os.write(self._port, data) :]
            except OSError as error:
                raise CoreUnavailableError(f"the port is gone: {error}") from error

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        left_s = max(0.0, deadline_s - time.monotonic())
        if not select.select([self._port], [], [], left_s)[0]:
            return b""
        try:
            return os.read(self._port, max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise CoreUnavailableError(f"the port is gone: {error}") from error

    def close(self) -> None:
        os.close(self._port)


def _make_raw(port: int, speed: int | None) -> None:
    """Bytes as they are, 8 bits, no parity; closing drops no line."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(port)
    cflag = (cflag & ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.HUPCL)) | (
        termios.CS8 | termios.CLOCAL | termios.CREAD
    )
    if speed is not None:
        ispeed = ospeed = speed
    lflag &= ~(termios.ICANON | termios.ECHO | termios.ECHONL | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(
        port, termios.TCSANOW, [0 * iflag, oflag & ~termios.OPOST, cflag, lflag, ispeed, ospeed, cc]
    )
