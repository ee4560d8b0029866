"""Recorded bytes of a link -> requests with their replies, in the order of execution. No I/O.

Reads both directions as the two ends did: repetitions, losses and pieces are gone when a request
comes out here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from protocols.wire.errors import RemoteProtocolError
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind
from protocols.wire.link import DeviceLink, Incoming
from protocols.wire.messages import (
    REPLIES,
    HelloReply,
    HelloRequest,
    Message,
    decode_body,
)
from protocols.wire.objects import MAX_OBJECT_BYTES, Inbox

__all__ = ["Exchange", "exchanges_of"]

_MOST_OPEN = 4096
"""Requests that wait for a reply while later ones have theirs; the oldest then counts as lost."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request as the device took it, and its reply; None where none came.

    Attributes:
        core, opcode, body: The request.
        request: What it says; RemoteProtocolError where it was malformed.
        reply: What the device answered.
    """

    core: int
    opcode: int
    body: bytes
    request: Message | RemoteProtocolError
    reply: Message | None


def exchanges_of(traffic: Iterable[tuple[bool, bytes]]) -> Iterator[Exchange]:
    """Yield the exchanges in recorded bytes: pairs of (sent by the host, bytes), in order."""
    reader = _Reader()
    for sent, data in traffic:
        if sent:
            reader.take_sent(data)
        else:
            reader.take_received(data)
        yield from reader.finished()
    yield from reader.rest()


class _Reader:
    def __init__(self) -> None:
        self._device = DeviceLink()
        self._replies = FrameDecoder()
        self._pieces = Inbox(MAX_OBJECT_BYTES)
        self._open: deque[Incoming] = deque()
        self._answers: dict[tuple[int, int, bool], Message] = {}

    def take_sent(self, data: bytes) -> None:
        for incoming in self._device.receive(data):
            if isinstance(incoming.message, HelloRequest):
                self._device.begin(incoming)
            self._open.append(incoming)
        self._device.take_output()

    def take_received(self, data: bytes) -> None:
        for frame in self._replies.feed(data):
            if isinstance(frame, RemoteProtocolError):
                continue
            self._device.window = frame.credit
            if frame.kind is not Kind.REPLY:
                continue
            try:
                self._answer(frame)
            except RemoteProtocolError:
                continue  # damaged on its way: its repetition follows

    def _answer(self, frame: Frame) -> None:
        whole: Frame | None = frame
        if frame.flags & (Flags.PIECE | Flags.LAST):
            self._pieces.add(frame, frame.sequence)
            whole = self._pieces.whole(frame.sequence)
        if whole is None:
            return
        message = decode_body(REPLIES, whole.opcode, whole.payload)
        if isinstance(message, HelloReply):
            self._device.epoch = message.epoch
            self._pieces.clear()
        key = (whole.epoch, whole.sequence, bool(whole.flags & Flags.URGENT))
        self._answers.setdefault(key, message)

    def finished(self) -> Iterator[Exchange]:
        while self._open:
            reply = self._answers.pop(_key(self._open[0]), None)
            if reply is None and len(self._open) < _MOST_OPEN:
                return
            yield _exchange(self._open.popleft(), reply)

    def rest(self) -> Iterator[Exchange]:
        while self._open:
            first = self._open.popleft()
            yield _exchange(first, self._answers.pop(_key(first), None))


def _key(incoming: Incoming) -> tuple[int, int, bool]:
    return incoming.head.epoch, incoming.head.sequence, incoming.urgent


def _exchange(incoming: Incoming, reply: Message | None) -> Exchange:
    return Exchange(
        core=incoming.core,
        opcode=incoming.head.opcode,
        body=incoming.head.payload,
        request=incoming.message,
        reply=reply,
    )
