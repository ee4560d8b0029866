"""Link: requests and replies of one session, matched by sequence and epoch. Sans-io, no clock.

An object (the body of one message) that is larger than one frame crosses in pieces and is put
together before anyone sees it: a request is the unit of execution. Both ends work in lock-step; a
window of several open requests would widen `HostLink` and `DeviceLink` and nothing else.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import (
    MAX_PAYLOAD_BYTES,
    Flags,
    Frame,
    FrameDecoder,
    Kind,
    encode_frame,
)
from protocols.wire.messages import (
    ERROR_OPCODE,
    MUTATING,
    REPLIES,
    REQUESTS,
    URGENT,
    HelloRequest,
    Message,
    decode_body,
    encode_body,
    opcode_of,
)

__all__ = [
    "MAX_OBJECT_BYTES",
    "Assembler",
    "DeviceLink",
    "HostLink",
    "Incoming",
    "Reply",
    "encode_object",
]

MAX_OBJECT_BYTES = 1 << 28
"""Largest body, 256 MiB: a bound on what a peer can make us keep."""

_PIECE = struct.Struct("<II")  # offset, total bytes of the object
_DIGEST_BYTES = 32  # SHA-256
_PIECE_BYTES = MAX_PAYLOAD_BYTES - _PIECE.size - _DIGEST_BYTES
_SEQUENCE_MODULUS = 1 << 32
_LAST_EPOCH = 0xFFFF
_DELIMITER = b"\x00"
_PIECE_FLAGS = Flags.PIECE | Flags.LAST


def _flags(message: Message) -> Flags:
    opcode = opcode_of(message)
    if opcode in URGENT:
        return Flags.URGENT
    return Flags.MUTATING if opcode in MUTATING else Flags.NONE


def encode_object(head: Frame) -> bytes:
    """Encode the payload of `head`, of any size, as one frame or as pieces with a SHA-256.

    Raises:
        LocalProtocolError: The payload is larger than MAX_OBJECT_BYTES.
    """
    body = head.payload
    if len(body) > MAX_OBJECT_BYTES:
        raise LocalProtocolError(
            f"a message of {len(body)} bytes is larger than {MAX_OBJECT_BYTES}; send it in parts"
        )
    if len(body) <= MAX_PAYLOAD_BYTES:
        return encode_frame(head)
    return b"".join(encode_frame(piece) for piece in _pieces(head))


def _pieces(head: Frame) -> Iterator[Frame]:
    body, total = head.payload, len(head.payload)
    for offset in range(0, total, _PIECE_BYTES):
        data = _PIECE.pack(offset, total) + body[offset : offset + _PIECE_BYTES]
        if offset + _PIECE_BYTES < total:
            yield head._replace(flags=head.flags | Flags.PIECE, payload=data)
        else:
            digest = hashlib.sha256(body).digest()
            yield head._replace(flags=head.flags | Flags.PIECE | Flags.LAST, payload=data + digest)


class Assembler:
    """Bytes in, whole objects out: frames without flags, their payload the body of one message.

    Keeps one unfinished object; a frame that does not continue it drops it with an error value.
    """

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self._head: Frame | None = None
        self._data = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> list[Frame | RemoteProtocolError]:
        """Return what is complete now: objects, and an error value per piece that is none."""
        found: list[Frame | RemoteProtocolError] = []
        for frame in self._decoder.feed(data):
            if isinstance(frame, RemoteProtocolError):
                found.append(frame)
                continue
            try:
                whole = self._add(frame)
            except RemoteProtocolError as error:
                self._drop()
                found.append(error)
            else:
                if whole is not None:
                    found.append(whole)
        return found

    def _add(self, frame: Frame) -> Frame | None:
        if not frame.flags & Flags.PIECE:
            if frame.flags & Flags.LAST:
                raise RemoteProtocolError("a frame is a last piece but no piece")
            self._drop()
            return frame
        last = bool(frame.flags & Flags.LAST)
        end = len(frame.payload) - (_DIGEST_BYTES if last else 0)
        if end <= _PIECE.size:
            raise RemoteProtocolError("a piece holds no data")
        offset, total = _PIECE.unpack_from(frame.payload)
        head = frame._replace(flags=frame.flags & ~_PIECE_FLAGS, payload=b"")
        if offset == 0:
            self._drop()
            self._head, self._total = head, total
        if head != self._head or (offset, total) != (len(self._data), self._total):
            raise RemoteProtocolError(f"a piece at {offset} of {total} bytes was not expected")
        self._data += memoryview(frame.payload)[_PIECE.size : end]
        size = len(self._data)
        if size > min(total, MAX_OBJECT_BYTES) or last != (size == total):
            raise RemoteProtocolError(f"pieces give {size} bytes, {total} are announced")
        if not last:
            return None
        body = bytes(self._data)
        self._drop()
        if hashlib.sha256(body).digest() != frame.payload[end:]:
            raise RemoteProtocolError("the SHA-256 of a message in pieces does not match")
        return head._replace(payload=body)

    def _drop(self) -> None:
        self._head = None
        self._data = bytearray()
        self._total = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A reply to the request `sequence`: its message, or what was wrong with it."""

    sequence: int
    message: Message | RemoteProtocolError


class HostLink:
    """The host's end: numbers requests, knows which are open, drops replies to any other.

    Attributes:
        epoch: Set from the reply to HELLO; every later frame carries it.
        dropped: Frames and replies that fitted nothing, so far.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.dropped = 0
        self._assembler = Assembler()
        self._sequence = 0
        self._open: dict[int, Frame] = {}

    def request(self, core: int, message: Message) -> tuple[int, bytes]:
        """Register a request; return its sequence and the bytes to send.

        Raises:
            LocalProtocolError: A value does not fit, or the message is too large.
        """
        sequence = (self._sequence + 1) % _SEQUENCE_MODULUS
        head = Frame(
            kind=Kind.REQUEST,
            opcode=opcode_of(message),
            epoch=self.epoch,
            core=core,
            sequence=sequence,
            credit=0,
            flags=_flags(message),
            payload=encode_body(message),
        )
        data = encode_object(head)
        self._sequence = sequence
        self._open[sequence] = head._replace(payload=b"")
        # A leading delimiter ends whatever noise or broken frame stands before a new session.
        return sequence, _DELIMITER + data if isinstance(message, HelloRequest) else data

    def receive(self, data: bytes) -> list[Reply]:
        """Return the replies that are complete now and answer an open request."""
        replies = []
        for found in self._assembler.feed(data):
            head = None if isinstance(found, RemoteProtocolError) else self._match(found)
            if isinstance(found, RemoteProtocolError) or head is None:
                self.dropped += 1
                continue
            del self._open[found.sequence]
            replies.append(Reply(sequence=found.sequence, message=_decode_reply(head, found)))
        return replies

    def _match(self, frame: Frame) -> Frame | None:
        head = self._open.get(frame.sequence)
        if head is None or frame.kind is not Kind.REPLY:
            return None
        return head if (frame.epoch, frame.core) == (head.epoch, head.core) else None


def _decode_reply(head: Frame, frame: Frame) -> Message | RemoteProtocolError:
    if frame.opcode not in (head.opcode, ERROR_OPCODE):
        return RemoteProtocolError(f"0x{frame.opcode:02x} answers a request 0x{head.opcode:02x}")
    try:
        return decode_body(REPLIES, frame.opcode, frame.payload)
    except RemoteProtocolError as error:
        return error


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A request as the device sees it.

    Attributes:
        core: Core it is for.
        message: The request, or what was wrong with it.
        cached: The bytes already answered, if this is the last request once more.
        head: Its frame without payload; `DeviceLink.reply` answers it.
    """

    core: int
    message: Message | RemoteProtocolError
    cached: bytes | None
    head: Frame


class DeviceLink:
    """The device's end: hands out each request once, answers the last one again from its cache.

    Attributes:
        epoch: Epoch of the session in force; 0 before the first HELLO.
        dropped: Frames that were none, of another epoch, or out of sequence, so far.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.dropped = 0
        self._assembler = Assembler()
        self._sequence = 0
        self._reply = b""

    def receive(self, data: bytes) -> list[Incoming]:
        """Return the requests that are complete now; HELLO is taken at any time."""
        requests = []
        for found in self._assembler.feed(data):
            incoming = None if isinstance(found, RemoteProtocolError) else self._accept(found)
            if incoming is None:
                self.dropped += 1
            else:
                requests.append(incoming)
        return requests

    def begin(self, hello: Incoming) -> int:
        """Begin a session in answer to `hello`; return its epoch. Older frames count no more."""
        self.epoch = 1 + self.epoch % _LAST_EPOCH
        self._sequence = hello.head.sequence
        self._reply = b""
        return self.epoch

    def reply(self, incoming: Incoming, message: Message) -> bytes:
        """Encode the answer and keep it for a repetition of the request.

        Raises:
            LocalProtocolError: A value does not fit, or the message is too large.
        """
        data = encode_object(
            incoming.head._replace(
                kind=Kind.REPLY,
                opcode=opcode_of(message),
                payload=encode_body(message),
            )
        )
        if incoming.head.epoch == self.epoch:
            self._sequence, self._reply = incoming.head.sequence, data
        return data

    def _accept(self, frame: Frame) -> Incoming | None:
        if frame.kind is not Kind.REQUEST:
            return None
        head = frame._replace(payload=b"")
        if frame.epoch == 0 and REQUESTS.get(frame.opcode) is HelloRequest:
            return Incoming(core=frame.core, message=_decode(frame), cached=None, head=head)
        ahead = (frame.sequence - self._sequence) % _SEQUENCE_MODULUS
        if frame.epoch == 0 or frame.epoch != self.epoch or ahead >= _SEQUENCE_MODULUS // 2:
            return None
        # `ahead` is 0 for the last request once more, also for HELLO's number, which is used up.
        cached = self._reply if ahead == 0 else None
        return Incoming(core=frame.core, message=_decode(frame), cached=cached, head=head)


def _decode(frame: Frame) -> Message | RemoteProtocolError:
    try:
        return decode_body(REQUESTS, frame.opcode, frame.payload)
    except RemoteProtocolError as error:
        return error
