"""Framing: bytes <-> frames. COBS, CRC-32 and a zero delimiter; no I/O, no clock, no messages.

A frame is COBS(header | payload | CRC-32) + 0x00. COBS removes every zero byte from a frame, so a
receiver that has lost its place skips to the next zero. See SPEC.md for the drawing.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_PAYLOAD_BYTES",
    "Flags",
    "Frame",
    "FrameDecoder",
    "Kind",
    "cobs_decode",
    "cobs_encode",
    "encode_frame",
]

MAX_FRAME_BYTES = 8192
"""Longest frame on the wire with its delimiter: CRC-32 keeps Hamming distance 4 up to 11 kB."""

_DELIMITER = b"\x00"
_HEADER = struct.Struct("<BBHHIH")  # kind << 5 | flags, opcode, epoch, core, sequence, credit
_CRC = struct.Struct("<I")
_BLOCK = 254  # most data bytes behind one COBS code
_FULL = 0xFF  # COBS code of a full block: no zero follows it
_CODES = tuple(bytes([n + 1]) for n in range(_BLOCK))  # code in front of n < 254 data bytes
_MAX_RAW_BYTES = (MAX_FRAME_BYTES - 2) * _BLOCK // (_BLOCK + 1)  # - delimiter - first code

MAX_PAYLOAD_BYTES = _MAX_RAW_BYTES - _HEADER.size - _CRC.size
"""Most payload bytes of one frame, however many zeros it holds."""


class Kind(IntEnum):
    """Top three bits of a frame: what it is. Others are reserved."""

    REQUEST = 0
    REPLY = 1


class Flags(IntFlag):
    """Low five bits of the first byte. Others are reserved and zero."""

    NONE = 0
    CHUNK = 1
    """The payload is a piece of a larger object: offset and total stand in front."""
    LAST = 2
    """Last piece: the SHA-256 of the whole object stands behind."""


_KNOWN_FLAGS = int(Flags.CHUNK | Flags.LAST)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame: header fields and payload; the units are in SPEC.md."""

    kind: Kind
    opcode: int
    epoch: int
    core: int
    sequence: int
    payload: bytes = b""
    flags: Flags = Flags.NONE
    credit: int = 0


def cobs_encode(data: bytes) -> bytes:
    """Encode without zero bytes; costs at most one byte in 254, plus one."""
    codes = _CODES
    runs = data.split(_DELIMITER)
    parts = [codes[len(run)] + run if len(run) < _BLOCK else _long_run(run) for run in runs]
    encoded = b"".join(parts)
    # A full block at the very end needs no code behind it.
    return encoded[:-1] if runs[-1] and len(runs[-1]) % _BLOCK == 0 else encoded


def _long_run(run: bytes) -> bytes:
    parts: list[bytes] = []
    while len(run) >= _BLOCK:
        parts += (b"\xff", run[:_BLOCK])
        run = run[_BLOCK:]
    return b"".join((*parts, _CODES[len(run)], run))


def cobs_decode(data: bytes) -> bytes:
    """Undo `cobs_encode`.

    A code byte stands where a zero was, so zeros are written in place; only the code behind a full
    block (which stands for no zero) is cut out.

    Raises:
        RemoteProtocolError: A zero byte within, no bytes, or a block runs past the end.
    """
    size = len(data)
    if size == 0 or 0 in data:
        raise RemoteProtocolError("a COBS frame is empty or holds a zero byte")
    out = bytearray(data)
    cuts = [0]
    at = 0
    while at < size:
        code = data[at]
        out[at] = 0
        at += code
        if code == _FULL and at < size:
            cuts.append(at)
    if at != size:
        raise RemoteProtocolError(f"a COBS block runs {at - size} bytes past the end of the frame")
    cuts.append(size)
    return b"".join(out[a + 1 : b] for a, b in pairwise(cuts))


def encode_frame(frame: Frame) -> bytes:
    """Encode one frame with its delimiter.

    Raises:
        LocalProtocolError: A field does not fit, or the payload is longer than MAX_PAYLOAD_BYTES.
    """
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(
            f"payload of {len(frame.payload)} bytes is longer than {MAX_PAYLOAD_BYTES}; chunk it"
        )
    try:
        header = _HEADER.pack(
            frame.kind << 5 | frame.flags,
            frame.opcode,
            frame.epoch,
            frame.core,
            frame.sequence,
            frame.credit,
        )
    except struct.error as error:
        raise LocalProtocolError(f"a header field of {frame} does not fit: {error}") from error
    crc = zlib.crc32(frame.payload, zlib.crc32(header))
    return cobs_encode(b"".join((header, frame.payload, _CRC.pack(crc)))) + _DELIMITER


class FrameDecoder:
    """Bytes in, frames out, in any split; resynchronises at the next zero byte after garbage."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame | RemoteProtocolError]:
        """Return what is complete now: frames, and an error value per piece that is none.

        Empty frames (zeros in a row) give nothing. Never holds more than one longest frame.
        """
        found: list[Frame | RemoteProtocolError] = []
        start = 0
        while (end := data.find(_DELIMITER, start)) >= 0:
            self._add(data[start:end], found)
            if self._buffer and not self._skipping:
                found.append(_parse(bytes(self._buffer)))
            self._buffer.clear()
            self._skipping = False
            start = end + 1
        self._add(data[start:], found)
        return found

    def _add(self, piece: bytes, found: list[Frame | RemoteProtocolError]) -> None:
        if self._skipping:
            return
        if len(self._buffer) + len(piece) >= MAX_FRAME_BYTES:
            found.append(
                RemoteProtocolError(
                    f"no delimiter within {MAX_FRAME_BYTES} bytes; skipping to the next one"
                )
            )
            self._buffer.clear()
            self._skipping = True
            return
        self._buffer += piece


def _parse(encoded: bytes) -> Frame | RemoteProtocolError:
    try:
        raw = cobs_decode(encoded)
    except RemoteProtocolError as error:
        return error
    if len(raw) < _HEADER.size + _CRC.size:
        return RemoteProtocolError(f"a frame of {len(raw)} bytes is shorter than header and CRC")
    (crc,) = _CRC.unpack_from(raw, len(raw) - _CRC.size)
    if zlib.crc32(memoryview(raw)[: -_CRC.size]) != crc:
        return RemoteProtocolError("the CRC of a frame does not match")
    first, opcode, epoch, core, sequence, credit = _HEADER.unpack_from(raw)
    flags = first & 0x1F
    if first >> 5 not in (Kind.REQUEST, Kind.REPLY) or flags & ~_KNOWN_FLAGS:
        return RemoteProtocolError(f"a frame begins with 0x{first:02x}: reserved kind or flag")
    return Frame(
        kind=Kind(first >> 5),
        flags=Flags(flags),
        opcode=opcode,
        epoch=epoch,
        core=core,
        sequence=sequence,
        credit=credit,
        payload=raw[_HEADER.size : -_CRC.size],
    )
