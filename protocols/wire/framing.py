"""Framing: bytes <-> frames. COBS, CRC-32 and a zero delimiter; no I/O, no clock, no messages.

A frame is COBS(header | payload | CRC-32) + 0x00. COBS removes every zero byte from a frame, so a
receiver that has lost its place skips to the next zero. See SPEC.md for the drawing.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

from protocols.wire.cobs import BLOCK_BYTES, cobs_decode, cobs_encode
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
_CRC_BYTES = 4
_RESIDUE = 0x2144DF1C  # CRC-32 of any bytes followed by their own CRC-32, little-endian
_MAX_RAW_BYTES = (MAX_FRAME_BYTES - 2) * BLOCK_BYTES // (BLOCK_BYTES + 1)  # - delimiter - code

MAX_PAYLOAD_BYTES = _MAX_RAW_BYTES - _HEADER.size - _CRC_BYTES
"""Most payload bytes of one frame, however many zeros it holds."""


class Kind(IntEnum):
    """Top three bits of a frame: what it is. Others are reserved."""

    REQUEST = 0
    REPLY = 1
    EVENT = 2
    CREDIT = 3
    """The link's own: credit, acknowledgement, and what an end misses."""


class Flags:
    """Low five bits of the first byte, plain numbers to be joined by |. Others are reserved."""

    NONE = 0
    PIECE = 1
    """The payload is a piece of a larger object: offset and total stand in front."""
    LAST = 2
    """Last piece: the SHA-256 of the whole object stands behind."""
    MUTATING = 4
    """The request changes cells or settings: token and mutation id stand in front."""
    URGENT = 8
    """Outside the window, with a sequence of its own; taken in any epoch."""


class Frame(NamedTuple):
    """One frame: header fields and payload; the units are in SPEC.md."""

    kind: Kind
    flags: int
    opcode: int
    epoch: int
    core: int
    sequence: int
    credit: int
    payload: bytes


_FIRST = {kind << 5 | flags: (kind, flags) for kind in Kind for flags in range(16)}


def encode_frame(frame: Frame) -> bytes:
    """Encode one frame with its delimiter.

    Raises:
        LocalProtocolError: A field does not fit, or the payload is longer than MAX_PAYLOAD_BYTES.
    """
    kind, flags, opcode, epoch, core, sequence, credit, payload = frame
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(
            f"payload of {len(payload)} bytes is longer than {MAX_PAYLOAD_BYTES}; send it in pieces"
        )
    try:
        header = _HEADER.pack(kind << 5 | flags, opcode, epoch, core, sequence, credit)
    except struct.error as error:
        raise LocalProtocolError(f"a header field of {frame} does not fit: {error}") from error
    raw = header + payload
    encoded: bytes = cobs_encode(raw + crc32(raw).to_bytes(_CRC_BYTES, "little"))
    return encoded + _DELIMITER


class FrameDecoder:
    """Bytes in, frames out, in any split; resynchronises at the next zero byte after garbage."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame | RemoteProtocolError]:
        """Return what is complete now: frames, and an error value per piece that is none.

        Empty frames (zeros in a row) give nothing. Never holds more than one longest frame.
        """
        found: list[Frame | RemoteProtocolError] = []
        find, start = data.find, 0  # bytes.split takes far longer over long frames
        while (end := find(0, start)) >= 0:
            encoded = self._ended(data[start:end], found)
            start = end + 1
            if encoded:
                found.append(_parse(encoded))
        self._hold(data[start:], found)
        return found

    def _ended(self, end: bytes, found: list[Frame | RemoteProtocolError]) -> bytes:
        if self._parts or self._skipping or len(end) >= MAX_FRAME_BYTES:
            self._hold(end, found)
            end = b"".join(self._parts)
            self._parts, self._size, self._skipping = [], 0, False
        return end

    def _hold(self, piece: bytes, found: list[Frame | RemoteProtocolError]) -> None:
        if self._skipping or not piece:
            return
        self._parts.append(piece)
        self._size += len(piece)
        if self._size >= MAX_FRAME_BYTES:
            found.append(
                RemoteProtocolError(
                    f"no delimiter within {MAX_FRAME_BYTES} bytes; skipping to the next one"
                )
            )
            self._parts, self._size, self._skipping = [], 0, True


def _parse(encoded: bytes) -> Frame | RemoteProtocolError:
    try:
        raw = cobs_decode(encoded)
    except RemoteProtocolError as error:
        return error
    if len(raw) < _HEADER.size + _CRC_BYTES:
        return RemoteProtocolError(f"a frame of {len(raw)} bytes is shorter than header and CRC")
    if crc32(raw) != _RESIDUE:
        return RemoteProtocolError("the CRC of a frame does not match")
    first, opcode, epoch, core, sequence, credit = _HEADER.unpack_from(raw)
    known = _FIRST.get(first)
    if known is None:
        return RemoteProtocolError(f"a frame begins with 0x{first:02x}: reserved kind or flag")
    payload = raw[_HEADER.size : -_CRC_BYTES]
    return Frame(*known, opcode, epoch, core, sequence, credit, payload)
