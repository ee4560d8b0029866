"""The host's end of the link beside an instant device in another process: sessions and exchanges.

Protocol only: no driver above the link, no chip behind it. Every reply is compared with what the
core must answer.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, final

from drivers.bench.instant_device import OUTPUT_BITS, ideal_answer
from drivers.ports import DescriptorTransport
from drivers.transport import Transport
from hil.errors import CoreTimeoutError, DeviceFaultError
from protocols.wire import messages as wire
from protocols.wire.link import HostLink, Reply
from protocols.wire.vocabulary import Direction, Mode

__all__ = [
    "VECTOR_BYTES",
    "DeviceTimes",
    "HostParts",
    "SocketHost",
    "device_process",
    "mvm_request",
]

VECTOR_BYTES = 256
"""Codes of one vector, 8 bits each, in and out."""

_REQUESTS_PER_BLOCK = 8
_MOST_BLOCK = 1 << 16
_PATIENCE_S = 30.0


@dataclass
class DeviceTimes:
    """What the device process says when it ends: processor time and its parts, s."""

    requests: int = 0
    cpu_s: float = 0.0
    parts_s: tuple[float, ...] = ()


class HostParts(NamedTuple):
    """Times of a run of lock-step requests at the host, and of all of it, s."""

    encode_s: float
    decode_s: float
    total_s: float


def mvm_request(input_codes: bytes) -> wire.MvmRequest:
    """Return a product of vectors of `VECTOR_BYTES` codes."""
    return wire.MvmRequest(
        batch=len(input_codes) // VECTOR_BYTES,
        inputs=VECTOR_BYTES,
        row=0,
        col=0,
        rows=VECTOR_BYTES,
        cols=VECTOR_BYTES,
        direction=Direction.FORWARD,
        mode=Mode.FASTEST,
        bits=OUTPUT_BITS,
        input_codes=input_codes,
    )


@final
class SocketHost:
    """A session with an instant device.

    Attributes:
        link: The host's end of the protocol.
    """

    def __init__(self, transport: Transport, *, block: int) -> None:
        """Open a session over `transport`, of which `block` bytes are read at a time."""
        self.link = HostLink()
        self._transport = transport
        self._block = block
        hello = wire.HelloRequest(
            lowest_version=wire.PROTOCOL_VERSION,
            highest_version=wire.PROTOCOL_VERSION,
            session=secrets.randbits(64),
            holder="hil bench link",
        )
        _, data = self.link.request(0, hello)
        transport.write(data)
        (reply,) = self._replies()
        if not isinstance(reply.message, wire.HelloReply):
            raise DeviceFaultError(f"the device process answered HELLO with {reply.message}")
        self.link.begin(reply.message)

    def exchange(self, requests: Sequence[wire.MvmRequest], *, window: int) -> float:
        """Send every request, `window` at a time, and check every reply; return the time, s.

        Raises:
            DeviceFaultError: A reply is not what the core must answer.
            CoreTimeoutError: No reply comes.
        """
        answers = [ideal_answer(request.input_codes) for request in requests]
        link, send = self.link, self._transport.write
        place: dict[int, int] = {}
        following, left = 0, len(requests)
        began = time.perf_counter()
        while left:
            end = min(len(requests), following + window - len(place))
            parts = []
            for index in range(following, end):
                sequence, data = link.request(0, requests[index])
                place[sequence] = index
                parts.append(data)
            following = end
            if parts:
                send(parts[0] if len(parts) == 1 else b"".join(parts))
            for reply in self._replies():
                _check(reply, answers[place.pop(reply.sequence)])
                left -= 1
        return time.perf_counter() - began

    def exchange_timed(self, requests: Sequence[wire.MvmRequest]) -> HostParts:
        """Do the same in lock-step and return where the time goes."""
        answers = [ideal_answer(request.input_codes) for request in requests]
        link, clock = self.link, time.perf_counter
        read = self._transport.read
        encode_s = decode_s = 0.0
        began = clock()
        for request, answer in zip(requests, answers, strict=True):
            start = clock()
            _, data = link.request(0, request)
            encoded = clock()
            encode_s += encoded - start
            self._transport.write(data)
            found: list[Reply] = []
            while not found:
                came = read(self._block, time.monotonic() + _PATIENCE_S)
                start = clock()
                found = [item for item in link.receive(came) if isinstance(item, Reply)]
                decode_s += clock() - start
                _require(came)
            _check(found[0], answer)
        return HostParts(encode_s, decode_s, clock() - began)

    def _replies(self) -> list[Reply]:
        """Wait for bytes and return the replies in them, possibly none."""
        came = self._transport.read(self._block, time.monotonic() + _PATIENCE_S)
        _require(came)
        found = [item for item in self.link.receive(came) if isinstance(item, Reply)]
        wanted = self.link.take_output()
        if wanted:
            self._transport.write(wanted)
        return found


def _require(came: bytes) -> None:
    if not came:
        raise CoreTimeoutError(f"the device process said nothing for {_PATIENCE_S:g} s")


def _check(reply: Reply, answer: bytes) -> None:
    message = reply.message
    if not isinstance(message, wire.MvmReply) or message.output_codes != answer:
        raise DeviceFaultError(f"request {reply.sequence} got a wrong reply")


def _block_bytes(window: int, batch: int) -> int:
    """Bytes to read at a time: half of what is under way, so that both ends have work."""
    reply_bytes = batch * VECTOR_BYTES + 64
    return min(_MOST_BLOCK, max(1, min(window // 2, _REQUESTS_PER_BLOCK)) * reply_bytes)


@contextmanager
def device_process(
    *, window: int, batch: int, timed: bool = False
) -> Iterator[tuple[SocketHost, DeviceTimes]]:
    """Start a device process and a session with it, for requests of `batch` vectors.

    Yields the session, and the device's times, which are there once the block has ended (parts
    are zeros unless `timed`).
    """
    times = DeviceTimes()
    block = _block_bytes(window, batch)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        listener.settimeout(_PATIENCE_S)
        numbers = (listener.getsockname()[1], window, block)
        command = [sys.executable, "-m", "drivers.bench.device_process", *map(str, numbers)]
        with subprocess.Popen(
            command + ["timed"] * timed, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                line, _ = listener.accept()
            except OSError as error:
                process.kill()
                raise CoreTimeoutError("the device process did not come up") from error
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = DescriptorTransport(
                line.fileno(), description="the device process", release=line.close
            )
            try:
                yield SocketHost(transport, block=block), times
            finally:
                transport.close()
                told, _ = process.communicate(timeout=_PATIENCE_S)
            for name, value in json.loads(told).items():
                setattr(times, name, value)
