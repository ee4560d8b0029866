"""Objects: bodies of any size <-> frames. Pieces in any order, each once; no session, no clock.

A body that fits one frame is its payload. A larger one crosses in pieces of equal size, so that a
piece is known by its index and any of them can be asked for again.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import MAX_PAYLOAD_BYTES, Flags, Frame, encode_frame

__all__ = [
    "MAX_OBJECT_BYTES",
    "PIECE_BYTES",
    "SEQUENCE_MODULUS",
    "Inbox",
    "encode_object",
    "object_frames",
    "want_payloads",
    "wanted",
]

MAX_OBJECT_BYTES = 1 << 28
"""Largest body, 256 MiB: a bound on what a peer can make us keep."""

SEQUENCE_MODULUS = 1 << 32
"""Sequence numbers are counted modulo this."""

_PIECE = struct.Struct("<II")  # offset, total bytes of the object
_DIGEST_BYTES = 32  # SHA-256

PIECE_BYTES = MAX_PAYLOAD_BYTES - _PIECE.size - _DIGEST_BYTES
"""Data bytes of every piece but the last."""

_INDICES_PER_WANT = 1024
_PIECE_FLAGS = Flags.PIECE | Flags.LAST


def object_frames(head: Frame) -> list[bytes]:
    """Encode the payload of `head`, of any size, as one frame or as pieces with a SHA-256.

    Raises:
        LocalProtocolError: The payload is larger than MAX_OBJECT_BYTES.
    """
    body = head.payload
    if len(body) <= MAX_PAYLOAD_BYTES:
        return [encode_frame(head)]
    if len(body) > MAX_OBJECT_BYTES:
        raise LocalProtocolError(
            f"a message of {len(body)} bytes is larger than {MAX_OBJECT_BYTES}; send it in parts"
        )
    total, view = len(body), memoryview(body)
    last = (total - 1) // PIECE_BYTES * PIECE_BYTES
    piece = head._replace(flags=head.flags | Flags.PIECE)
    frames = [
        encode_frame(piece._replace(payload=_PIECE.pack(at, total) + view[at : at + PIECE_BYTES]))
        for at in range(0, last, PIECE_BYTES)
    ]
    ending = b"".join((_PIECE.pack(last, total), view[last:], hashlib.sha256(body).digest()))
    frames.append(encode_frame(head._replace(flags=head.flags | _PIECE_FLAGS, payload=ending)))
    return frames


def encode_object(head: Frame) -> bytes:
    """Encode the payload of `head`, of any size, with all its frames in order."""
    return b"".join(object_frames(head))


def want_payloads(indices: list[int]) -> list[bytes]:
    """Return the payloads of WANT frames that ask for these pieces."""
    parts = (
        indices[at : at + _INDICES_PER_WANT] for at in range(0, len(indices), _INDICES_PER_WANT)
    )
    return [struct.pack(f"<{len(part)}I", *part) for part in parts]


def wanted(payload: bytes, pieces: int) -> list[int]:
    """Return the indices that a WANT asks for, of an object of so many pieces; empty: all of it.

    Raises:
        RemoteProtocolError: It is no list of indices, or one is outside the object.
    """
    if not payload:
        return list(range(pieces))
    if len(payload) % 4:
        raise RemoteProtocolError(f"{len(payload)} bytes are no list of pieces")
    indices = [index for (index,) in struct.iter_unpack("<I", payload)]
    if max(indices) >= pieces:
        raise RemoteProtocolError(f"piece {max(indices)} is outside 0...{pieces - 1}")
    return indices


class _Piece(NamedTuple):
    place: int
    total: int
    data: bytes
    digest: bytes | None


def _understand(frame: Frame) -> _Piece:
    """Return what a piece holds; RemoteProtocolError if its numbers contradict each other."""
    last = bool(frame.flags & Flags.LAST)
    end = len(frame.payload) - (_DIGEST_BYTES if last else 0)
    if not frame.flags & Flags.PIECE or end <= _PIECE.size:
        raise RemoteProtocolError("a piece holds no data, or a last piece is none")
    offset, total = _PIECE.unpack_from(frame.payload)
    size = end - _PIECE.size
    index, within = divmod(offset, PIECE_BYTES)
    if within or total > MAX_OBJECT_BYTES or last != (offset + size == total):
        raise RemoteProtocolError(f"a piece of {size} bytes at {offset} of {total} is none of ours")
    if size > PIECE_BYTES or (size < PIECE_BYTES and not last):
        raise RemoteProtocolError(f"a piece of {size} bytes is not the last; {PIECE_BYTES} are due")
    digest = frame.payload[end:] if last else None
    return _Piece(index, total, frame.payload[_PIECE.size : end], digest)


class _Assembly:
    """The pieces of one object so far, and which of the missing ones were asked for."""

    def __init__(self, head: Frame, total: int) -> None:
        self.head = head
        self.total = total
        self.count = -(-total // PIECE_BYTES)
        self.size = 0
        self._pieces: dict[int, bytes] = {}
        self._digest = b""
        self._seen = 0  # below it every piece is here or was asked for
        self._asked: dict[int, None] = {}  # in the order of asking

    @property
    def complete(self) -> bool:
        return len(self._pieces) == self.count

    def add(self, piece: _Piece) -> list[int]:
        """Keep a piece; return what to ask for now, since its successors show that it is lost."""
        index = piece.place
        if index in self._pieces:
            # The peer repeats its last piece when it has waited for long: it tells that no
            # other is under way.
            return self.missing() if index == self.count - 1 else []
        self._pieces[index] = piece.data
        self.size += len(piece.data)
        if piece.digest is not None:
            self._digest = piece.digest
        ask = self._overtaken(index) if index in self._asked else []
        if index >= self._seen:
            ask += [k for k in range(self._seen, index) if k not in self._pieces]
            self._seen = index + 1
        self._asked.update(dict.fromkeys(ask))
        return ask

    def _overtaken(self, index: int) -> list[int]:
        """Return what was asked for before `index` and has not come; forget that it was asked."""
        before: list[int] = []
        for asked in tuple(self._asked):
            del self._asked[asked]
            if asked == index:
                break
            before.append(asked)
        return before

    def missing(self) -> list[int]:
        """Return every missing piece, to be asked for now."""
        ask = [k for k in range(self.count) if k not in self._pieces]
        self._asked = dict.fromkeys(ask)
        self._seen = self.count
        return ask

    def rest(self) -> list[int]:
        """Return the missing pieces that were not asked for yet: none will come by itself."""
        ask = [k for k in range(self._seen, self.count) if k not in self._pieces]
        self._asked.update(dict.fromkeys(ask))
        self._seen = self.count
        return ask

    def body(self) -> bytes:
        """Return the whole; RemoteProtocolError if its SHA-256 is another."""
        body = b"".join(self._pieces[k] for k in range(self.count))
        if hashlib.sha256(body).digest() != self._digest:
            raise RemoteProtocolError("the SHA-256 of a message in pieces does not match")
        return body


class Inbox:
    """Objects in pieces by sequence, unfinished or waiting, within `limit` bytes altogether.

    When there is no room, the object that is due last makes it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._objects: dict[int, _Assembly] = {}
        self._size = 0

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._objects

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def add(self, frame: Frame, base: int) -> list[int]:
        """Keep a piece; return the indices of pieces to ask for. `base` is below what is due.

        Raises:
            RemoteProtocolError: The piece fits no object, or there is no room for it.
        """
        piece = _understand(frame)
        sequence = frame.sequence
        head = frame._replace(flags=frame.flags & ~_PIECE_FLAGS, credit=0, payload=b"")
        held = self._objects.get(sequence)
        if held is None:
            held = _Assembly(head, piece.total)
        elif (held.head, held.total) != (head, piece.total):
            raise RemoteProtocolError(f"a piece of {piece.total} bytes is of another object")
        if held.total > self._limit:
            raise RemoteProtocolError(f"an object of {held.total} bytes is above {self._limit}")
        self._make_room(len(piece.data), sequence, base)
        self._objects[sequence] = held
        self._size -= held.size
        ask = held.add(piece)
        self._size += held.size
        return ask

    def _make_room(self, size: int, sequence: int, base: int) -> None:
        while self._size + size > self._limit:
            latest = max(self._objects, key=lambda s: (s - base) % SEQUENCE_MODULUS)
            if (latest - base) % SEQUENCE_MODULUS <= (sequence - base) % SEQUENCE_MODULUS:
                raise RemoteProtocolError(f"{self._limit} bytes of unfinished objects are the most")
            self.drop(latest)

    def whole(self, sequence: int) -> Frame | None:
        """Return and forget a complete object as one frame without piece flags; None if it is not.

        Raises:
            RemoteProtocolError: Its SHA-256 is another; it is forgotten.
        """
        held = self._objects.get(sequence)
        if held is None or not held.complete:
            return None
        self.drop(sequence)
        return held.head._replace(payload=held.body())

    def rest(self, sequence: int) -> list[int]:
        """Return the missing pieces of an object that were not asked for yet."""
        return self._objects[sequence].rest()

    def missing(self, sequence: int) -> list[int]:
        """Return all missing pieces of an object, to ask for them once more."""
        return self._objects[sequence].missing()

    def drop(self, sequence: int) -> None:
        """Forget an object, if it is there."""
        held = self._objects.pop(sequence, None)
        if held is not None:
            self._size -= held.size

    def clear(self) -> None:
        """Forget all."""
        self._objects.clear()
        self._size = 0
