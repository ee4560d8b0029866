"""Fuzzing of both decoders: mutated traffic in, documented answers out. Repeated by its seed.

Every case is a short stream of bytes made of true frames of both directions, mutated and joined
with garbage, and fed to both ends in the middle of a session. Anything but a value that comes out
of them, or memory above the announced bounds, is a finding.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from protocols.wire.errors import RemoteProtocolError
from protocols.wire.framing import MAX_FRAME_BYTES, Flags, Frame, Kind
from protocols.wire.layout import Layout
from protocols.wire.link import DeviceLink, HostLink, Reply
from protocols.wire.messages import (
    EVENTS,
    MUTATING,
    REPLIES,
    REQUESTS,
    ErrorReply,
    HelloReply,
    HelloRequest,
    Message,
    NowRequest,
    ScpiReply,
    ScpiRequest,
    StatusRequest,
    decode_body,
    encode_body,
)
from protocols.wire.objects import PIECE_BYTES, object_frames
from protocols.wire.vocabulary import Effect, ErrorClass, Status

__all__ = ["FuzzReport", "fuzz_decoders"]

WINDOW = 8
BUFFER_BYTES = 4 * PIECE_BYTES
_NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True)
class FuzzReport:
    """What a run has seen.

    Attributes:
        cases: Streams fed to both ends.
        fed_bytes: Their bytes, at each end.
        decoded: Requests, replies and events that came out.
        dropped: Frames that the ends dropped.
        peak_bytes: Most bytes that one end held of unfinished objects, early requests and replies.
    """

    cases: int
    fed_bytes: int
    decoded: int
    dropped: int
    peak_bytes: int


def fuzz_decoders(
    *, seed: int, cases: int | None = None, until: Callable[[], bool] | None = None
) -> FuzzReport:
    """Fuzz both ends; return what was seen.

    Args:
        seed: The same seed feeds the same streams.
        cases: How many streams to feed, unless `until` says when to stop.
        until: Asked after every stream whether to stop (a clock, for example).

    Raises:
        AssertionError: Memory above its bound, or a message that does not encode to its bytes.
        Exception: Whatever a decoder let out: that is a finding.
    """
    rng = random.Random(seed)
    count = fed = decoded = dropped = peak = 0
    while count != cases:
        stream = _stream(rng)
        for found in (_feed_device(rng, stream), _feed_host(rng, stream)):
            decoded += found.decoded
            dropped += found.dropped
            peak = max(peak, found.peak_bytes)
        count += 1
        fed += len(stream)
        if until is not None and until():
            break
    return FuzzReport(cases=count, fed_bytes=fed, decoded=decoded, dropped=dropped, peak_bytes=peak)


@dataclass(frozen=True)
class _Found:
    decoded: int
    dropped: int
    peak_bytes: int


def _open_ends() -> tuple[HostLink, DeviceLink]:
    host, device = HostLink(), DeviceLink(window=WINDOW, max_object_bytes=BUFFER_BYTES)
    hello = HelloRequest(lowest_version=2, highest_version=2, session=0, holder="fuzz")
    (incoming,) = device.receive(host.request(0, hello)[1])
    answer = HelloReply(
        version=2,
        epoch=device.begin(incoming),
        session=0,
        boot=1,
        window=WINDOW,
        max_object_bytes=BUFFER_BYTES,
        capabilities_sha256=bytes(32),
        last_mutation=0,
    )
    (reply,) = host.receive(device.reply(incoming, answer))
    assert isinstance(reply, Reply)  # noqa: S101 - the ends are ours
    host.begin(answer)
    return host, device


def _feed_device(rng: random.Random, stream: bytes) -> _Found:
    _, device = _open_ends()
    decoded = peak = 0
    for part in _split(rng, stream):
        for incoming in device.receive(part):
            decoded += 1
            _check(REQUESTS, incoming.message, incoming.head)
            if isinstance(incoming.message, HelloRequest) and rng.random() < 0.5:
                device.begin(incoming)
            device.reply(incoming, _answer(rng))
        device.take_output()
        held = device._inbox.size  # noqa: SLF001 - the bound is what is fuzzed
        early = sum(len(f.payload) for f in device._early.values())  # noqa: SLF001
        replies = len(device._replies)  # noqa: SLF001
        assert held <= BUFFER_BYTES  # noqa: S101
        assert early <= WINDOW * MAX_FRAME_BYTES  # noqa: S101
        assert replies <= WINDOW  # noqa: S101
        peak = max(peak, held + early)
    return _Found(decoded, device.dropped, peak)


def _feed_host(rng: random.Random, stream: bytes) -> _Found:
    host, _ = _open_ends()
    for message in (NowRequest(), StatusRequest(), ScpiRequest(text="x" * 9000)):
        host.request(0, message)
    decoded = peak = 0
    for part in _split(rng, stream):
        for found in host.receive(part):
            decoded += 1
            if not isinstance(found.message, RemoteProtocolError):
                encode_body(found.message)
        host.take_output()
        peak = max(peak, host._inbox.size)  # noqa: SLF001
    host.resend()
    return _Found(decoded, host.dropped, peak)


def _check(table: dict[int, type[Message]], message: object, frame: Frame) -> None:
    """What decodes is the one encoding of its message."""
    if isinstance(message, Message):
        assert encode_body(message) == frame.payload  # noqa: S101
        assert decode_body(table, frame.opcode, frame.payload) == message  # noqa: S101


def _answer(rng: random.Random) -> Message:
    if rng.random() < 0.8:
        return ScpiReply(data=bytes(rng.choice((0, 10, 20_000))))
    return ErrorReply(
        error_class=ErrorClass.REQUEST,
        status=Status.BAD_MESSAGE,
        effect=Effect.NONE,
        text="no",
        fields=b"{}",
    )


def _split(rng: random.Random, stream: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(6)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _stream(rng: random.Random) -> bytes:
    parts = [_mutated(rng, _frame(rng, k)) for k in range(rng.randrange(1, 12))]
    if rng.random() < 0.3:
        rng.shuffle(parts)
    return b"".join(parts)


def _frame(rng: random.Random, place: int) -> bytes:
    """Return a frame (or all those of an object) of right form with any content."""
    kind = rng.choice((Kind.REQUEST, Kind.REQUEST, Kind.REPLY, Kind.REPLY, Kind.EVENT, Kind.CREDIT))
    table = {Kind.REQUEST: REQUESTS, Kind.REPLY: REPLIES, Kind.EVENT: EVENTS}.get(kind, REQUESTS)
    opcode = rng.choice((*table, 0, 1, 0x77))
    sequence = 2 + place
    if kind is Kind.REPLY and rng.random() < 0.7:
        opcode, sequence = rng.choice(((0x31, 2), (0x22, 3), (0x50, 4)))  # what the host has open
    flags = Flags.MUTATING * (kind is Kind.REQUEST and opcode in MUTATING)
    if rng.random() < 0.1:
        flags = rng.randrange(16)
    if rng.random() < 0.2:
        sequence = rng.choice((rng.randrange(14), 0xFFFFFFFF, 0x80000001))
    head = Frame(
        kind,
        flags,
        opcode,
        1 if rng.random() < 0.9 else rng.choice((0, 2, 0xFFFF)),
        0 if rng.random() < 0.9 else rng.choice((1, 0xFFFF)),
        sequence,
        rng.choice((0, 1, 8, 8, rng.randrange(16), 0xFFFF)),
        _body(rng, table, opcode),
    )
    frames = object_frames(head)
    if len(frames) > 1 and rng.random() < 0.7:
        frames = [f for f in frames if rng.random() < 0.8]
        rng.shuffle(frames)
    return b"".join(frames)


def _body(rng: random.Random, table: dict[int, type[Message]], opcode: int) -> bytes:
    if opcode not in table or rng.random() < 0.2:
        return rng.randbytes(rng.choice((0, 4, 8, 60, 9_000, 30_000)))
    out: list[bytes] = []
    for codec in Layout(table[opcode]).codecs.values():
        size = struct.calcsize("<" + getattr(codec, "format", ""))
        if size:
            out.append(rng.choice(_NUMBERS).to_bytes(8, "little")[:size].ljust(size, b"\0"))
        else:
            length = rng.choice((0, 1, 5, 300))
            announced = rng.choice((length, length, length, *_NUMBERS))
            out.append(announced.to_bytes(4, "little") + rng.randbytes(length))
    return b"".join(out)


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes as they are, or damaged in one of the ways of a bad line."""
    if not data or rng.random() < 0.7:
        return data
    at = rng.randrange(len(data))
    damaged = (
        data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        data[:at] + data[at + 1 :],
        data[:at] + rng.randbytes(rng.randrange(1, 20)) + data[at:],
        data + data,
        data[:at],
        data[:at] + b"\x00" + data[at:],
    )
    return rng.choice(damaged)
