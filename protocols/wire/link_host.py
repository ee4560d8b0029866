"""Link, the host's end: a window of open requests, and what is missing of them. Sans-io, no clock.

Requests are numbered; the device executes each at most once and in order, and keeps its reply until
the host has acknowledged it. Whatever is repeated is harmless.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError, WindowFullError
from protocols.wire.framing import (
    MAX_PAYLOAD_BYTES,
    Flags,
    Frame,
    FrameDecoder,
    Kind,
    encode_frame,
)
from protocols.wire.link_states import HOST_TABLE, HostState, Step, after
from protocols.wire.messages import (
    ERROR_OPCODE,
    EVENTS,
    MUTATING,
    REPLIES,
    URGENT,
    HelloReply,
    HelloRequest,
    Message,
    decode_body,
    encode_body,
    opcode_of,
)
from protocols.wire.objects import (
    MAX_OBJECT_BYTES,
    SEQUENCE_MODULUS,
    Inbox,
    object_frames,
    want_payloads,
    wanted,
)

__all__ = ["GRANT", "MAX_WINDOW", "WANT", "Event", "HostLink", "Reply"]

MAX_WINDOW = 64
"""Most requests that a host keeps open, whatever the device offers."""

GRANT = 0
"""Opcode of a frame of kind CREDIT that tells a window, in its header."""

WANT = 1
"""Opcode of a frame of kind CREDIT that asks for missing pieces of an object."""

_DELIMITER = b"\x00"
_PIECE_FLAGS = Flags.PIECE | Flags.LAST
_MOST_URGENT = 64  # urgent requests whose reply is still listened for
_DUE = SEQUENCE_MODULUS // 2


class Reply(NamedTuple):
    """A reply to the request `sequence`: its message, or what was wrong with it."""

    sequence: int
    core: int
    message: Message | RemoteProtocolError


class Event(NamedTuple):
    """What the device says unasked; `epoch` 0 is outside any session."""

    core: int
    epoch: int
    message: Message


class _Open:
    """A request without its reply."""

    __slots__ = ("asked", "core", "frames", "opcode", "size")

    def __init__(self, opcode: int, core: int, frames: list[bytes], size: int) -> None:
        self.opcode = opcode
        self.core = core
        self.frames = frames
        self.size = size
        self.asked = False  # for a reply of which nothing came


class HostLink:
    """The host's end: numbers requests, knows which are open, drops replies to any other.

    Attributes:
        state: Where the session stands.
        epoch: Number of the session, in every frame; 0 outside one.
        window: Requests that may be open at a time.
        max_object_bytes: Largest request, and most bytes of open ones, that the device buffers.
        dropped: Frames that were none or fitted nothing, so far.
    """

    def __init__(self) -> None:
        self.state = HostState.CLOSED
        self.epoch = 0
        self.window = 0
        self.max_object_bytes = MAX_OBJECT_BYTES
        self.dropped = 0
        self._decoder = FrameDecoder()
        self._sequence = 0
        self._open: dict[int, _Open] = {}  # oldest first
        self._open_bytes = 0
        self._urgent: dict[int, Frame] = {}
        self._urgent_sequence = SEQUENCE_MODULUS
        self._inbox = Inbox(MAX_OBJECT_BYTES)
        self._last_event = 0
        self._output: dict[tuple[int, int], bytes] = {}

    @property
    def free(self) -> int:
        """Requests that may be sent now."""
        if self.state is not HostState.OPEN:
            return 0
        return max(0, self.window - (self._sequence - self._acknowledged) % SEQUENCE_MODULUS)

    @property
    def open_sequences(self) -> tuple[int, ...]:
        """Requests without their reply, oldest first; urgent ones are not among them."""
        return tuple(self._open)

    @property
    def _acknowledged(self) -> int:
        """Every reply up to this sequence has arrived."""
        for oldest in self._open:
            return (oldest - 1) % SEQUENCE_MODULUS
        return self._sequence

    def request(self, core: int, message: Message) -> tuple[int, bytes]:
        """Register a request; return its sequence and the bytes to send.

        Raises:
            WindowFullError: As many requests or bytes as the device takes are open.
            LocalProtocolError: No session, a value does not fit, or the message is too large.
        """
        opcode = opcode_of(message)
        if opcode in URGENT:
            return self._request_urgent(core, opcode, encode_body(message))
        if type(message) is HelloRequest:
            return self._request_hello(opcode, encode_body(message))
        acknowledged = self._acknowledged
        if self.state is not HostState.OPEN:
            raise LocalProtocolError(f"no session is open: the link is {self.state.name}")
        if (self._sequence - acknowledged) % SEQUENCE_MODULUS >= self.window:
            raise WindowFullError(f"{len(self._open)} requests are open, {self.window} are taken")
        body = encode_body(message)
        if len(body) > self.max_object_bytes:
            raise LocalProtocolError(
                f"a message of {len(body)} bytes is larger than the {self.max_object_bytes} that "
                "the device takes; send it in parts"
            )
        if self._open and self._open_bytes + len(body) > self.max_object_bytes:
            raise WindowFullError(f"the device takes {self.max_object_bytes} bytes of requests")
        flags = Flags.MUTATING if opcode in MUTATING else Flags.NONE
        sequence = (self._sequence + 1) % SEQUENCE_MODULUS
        credit = acknowledged & 0xFFFF
        return self._register(
            Frame(Kind.REQUEST, flags, opcode, self.epoch, core, sequence, credit, body)
        )

    def _register(self, head: Frame) -> tuple[int, bytes]:
        frames = object_frames(head)
        sequence, size = head.sequence, len(head.payload)
        self._sequence = sequence
        self._open[sequence] = _Open(head.opcode, head.core, frames, size)
        self._open_bytes += size
        return sequence, frames[0] if len(frames) == 1 else b"".join(frames)

    def _request_hello(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        state = after(HOST_TABLE, self.state, Step.HELLO)
        self._drop_session()
        self.state = state
        following = (self._sequence + 1) % SEQUENCE_MODULUS
        credit = self._acknowledged & 0xFFFF
        head = Frame(Kind.REQUEST, Flags.NONE, opcode, 0, 0, following, credit, body)
        sequence, data = self._register(head)
        # A leading delimiter ends whatever noise or broken frame stands before a new session.
        return sequence, _DELIMITER + data

    def _request_urgent(self, core: int, opcode: int, body: bytes) -> tuple[int, bytes]:
        sequence = self._urgent_sequence - 1
        head = Frame(Kind.REQUEST, Flags.URGENT, opcode, self.epoch, core, sequence, 0, body)
        data = encode_frame(head)
        self._urgent_sequence = sequence
        self._urgent[sequence] = head
        if len(self._urgent) > _MOST_URGENT:
            del self._urgent[next(iter(self._urgent))]
        return sequence, _DELIMITER + data

    def begin(self, answer: HelloReply) -> None:
        """Open the session that the device granted; its numbers are bounded, not believed."""
        self.state = after(HOST_TABLE, self.state, Step.BEGIN)
        self.epoch = answer.epoch
        self.window = min(max(answer.window, 1), MAX_WINDOW)
        self.max_object_bytes = min(
            max(answer.max_object_bytes, MAX_PAYLOAD_BYTES), MAX_OBJECT_BYTES
        )

    def forget(self) -> None:
        """Give up every open request; their replies will be dropped. Only HELLO helps now."""
        self.state = after(HOST_TABLE, self.state, Step.FORGET)
        self._drop_session()

    def _drop_session(self) -> None:
        self.epoch = 0
        self.window = 0
        self._last_event = 0
        self._open.clear()
        self._open_bytes = 0
        self._inbox.clear()
        self._output.clear()

    def receive(self, data: bytes) -> list[Reply | Event]:
        """Return the replies that are complete now and answer an open request, and the events."""
        found: list[Reply | Event] = []
        for frame in self._decoder.feed(data):
            if isinstance(frame, RemoteProtocolError):
                self.dropped += 1
                continue
            try:
                taken = self._take(frame)
            except RemoteProtocolError:
                self.dropped += 1
                continue
            if taken is not None:
                found.append(taken)
        return found

    def _take(self, frame: Frame) -> Reply | Event | None:
        kind = frame.kind
        if frame.epoch == self.epoch and kind is not Kind.REQUEST and self.epoch:
            self.window = min(frame.credit, MAX_WINDOW)
        if kind is Kind.REPLY:
            return (
                self._take_urgent(frame) if frame.flags & Flags.URGENT else self._take_reply(frame)
            )
        if kind is Kind.EVENT:
            return self._take_event(frame)
        if kind is not Kind.CREDIT or frame.epoch != self.epoch or self.epoch == 0:
            raise RemoteProtocolError("no frame of this session")
        if frame.opcode == WANT:
            self._repeat(frame)
        return None

    def _take_reply(self, frame: Frame) -> Reply | None:
        sequence = frame.sequence
        request = self._open.get(sequence)
        if request is None or (frame.epoch, frame.core) != (self.epoch, request.core):
            raise RemoteProtocolError("a reply to no open request")
        if frame.flags & _PIECE_FLAGS:
            self._want(sequence, self._inbox.add(frame, self._acknowledged))
            whole = self._inbox.whole(sequence)
        else:
            self._inbox.drop(sequence)
            whole = frame
        # Replies come in the order of the requests: older ones that are not here were lost.
        for older, other in self._open.items():
            if older == sequence:
                break
            self._want_older(older, other)
        if whole is None:
            return None
        del self._open[sequence]
        self._open_bytes -= request.size
        return Reply(sequence, whole.core, _decode_reply(request.opcode, whole))

    def _want_older(self, sequence: int, request: _Open) -> None:
        if sequence in self._inbox:
            self._want(sequence, self._inbox.rest(sequence))
        elif not request.asked:
            request.asked = True
            self._send_want(sequence, b"")

    def _take_urgent(self, frame: Frame) -> Reply:
        head = self._urgent.get(frame.sequence)
        if head is None or (frame.epoch, frame.core) != (head.epoch, head.core):
            raise RemoteProtocolError("a reply to no urgent request")
        del self._urgent[frame.sequence]
        return Reply(frame.sequence, frame.core, _decode_reply(head.opcode, frame))

    def _take_event(self, frame: Frame) -> Event:
        ahead = (frame.sequence - self._last_event) % SEQUENCE_MODULUS
        if frame.epoch and (frame.epoch != self.epoch or not 0 < ahead < _DUE):
            raise RemoteProtocolError("an event of another session, or once more")
        event = Event(frame.core, frame.epoch, decode_body(EVENTS, frame.opcode, frame.payload))
        if frame.epoch:
            self._last_event = frame.sequence
        return event

    def _repeat(self, frame: Frame) -> None:
        request = self._open.get(frame.sequence)
        if request is None:
            raise RemoteProtocolError("a request was asked for that is not open")
        for index in wanted(frame.payload, len(request.frames)):
            self._output[frame.sequence, index] = request.frames[index]

    def _want(self, sequence: int, indices: list[int]) -> None:
        for payload in want_payloads(indices):
            self._send_want(sequence, payload)

    def _send_want(self, sequence: int, payload: bytes) -> None:
        credit = self._acknowledged & 0xFFFF
        frame = Frame(Kind.CREDIT, Flags.NONE, WANT, self.epoch, 0, sequence, credit, payload)
        self._output[sequence, -1 - len(self._output)] = encode_frame(frame)

    def take_output(self) -> bytes:
        """Return what the link wants to be sent now; call it after every `receive`."""
        if not self._output:
            return b""
        data = b"".join(self._output.values())
        self._output.clear()
        return data

    def resend(self, *, skip: Container[int] = ()) -> bytes:
        """Return what finds out about every open request: the driver has waited long enough.

        The last frame of a request tells the device that it was sent; the device answers from its
        cache or asks for what it misses. Of a reply that came in part, the rest is asked for.

        Args:
            skip: Sequences to leave alone, for example those that may still be executing.
        """
        if self.state is HostState.OPEN and not self._open:
            self.window = max(self.window, 1)  # a window that stays shut would be a lost GRANT
        for sequence, request in self._open.items():
            if sequence in skip:
                continue
            if sequence in self._inbox:
                self._want(sequence, self._inbox.missing(sequence))
            else:
                self._output[sequence, len(request.frames) - 1] = request.frames[-1]
        return self.take_output()


def _decode_reply(asked: int, frame: Frame) -> Message | RemoteProtocolError:
    if frame.opcode not in (asked, ERROR_OPCODE):
        return RemoteProtocolError(f"0x{frame.opcode:02x} answers a request 0x{asked:02x}")
    try:
        return decode_body(REPLIES, frame.opcode, frame.payload)
    except RemoteProtocolError as error:
        return error
