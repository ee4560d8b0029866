"""SCPI frames: bytes of the binary plane <-> the block of DIAG:FRAM? and back. The host's end.

For transports with message boundaries, whose devices stay in the control plane. Sans-io.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocols.wire.errors import RemoteProtocolError
from protocols.wire.scpi_data import MAX_BLOCK_DIGITS, encode_block
from protocols.wire.scpi_stream import MAX_MESSAGE_BYTES

__all__ = ["BlockReader", "frame_messages", "room_for_frames"]

_HEADER = b"DIAG:FRAM? "
_OVERHEAD = len(_HEADER) + 2 + len(str(MAX_MESSAGE_BYTES)) + 1  # header, #, n, length, newline


def room_for_frames(max_bytes: int = MAX_MESSAGE_BYTES) -> int:
    """Return how many bytes of frames a message of at most `max_bytes` carries."""
    return max_bytes - _OVERHEAD


def frame_messages(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Iterator[bytes]:
    """Yield the messages that carry `data`; each is answered by one block.

    Frames may be cut anywhere: the device joins the blocks. No data gives one message, which asks
    for what the device has to say.
    """
    room = room_for_frames(max_bytes)
    for at in range(0, max(len(data), 1), room):
        yield _HEADER + encode_block(data[at : at + room]) + b"\n"


class BlockReader:
    """Reads the response to one such message from bytes in any split: a block and a newline."""

    def __init__(self, max_bytes: int) -> None:
        """Refuse blocks that announce more than `max_bytes`."""
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Return the bytes in the block when it is complete, None before.

        The newline behind it may come along or not: some transports keep it.

        Raises:
            RemoteProtocolError: The response is no definite-length block, or longer than agreed.
        """
        self._buffer += data
        place = self._find_block()
        if place is None or len(self._buffer) < place[1]:
            return None
        start, end = place
        if self._buffer[end:].strip(b"\r\n"):
            raise RemoteProtocolError("more than a newline follows the block of a response")
        return bytes(self._buffer[start:end])

    def _find_block(self) -> tuple[int, int] | None:
        prefix = bytes(self._buffer[: 2 + MAX_BLOCK_DIGITS])
        mark, digit = prefix[:1], prefix[1:2]
        if mark not in (b"", b"#") or digit not in b"123456789":
            raise RemoteProtocolError(f"a response begins with {prefix[:2]!r}, no block does")
        start = 2 + int(digit or b"0")
        length = prefix[2:start]
        if length.strip(b"0123456789"):
            raise RemoteProtocolError(f"a response announces a block of {length!r} bytes")
        if not digit or len(prefix) < start:
            return None
        if int(length) > self._max_bytes:
            raise RemoteProtocolError(
                f"a response announces {int(length)} bytes, at most {self._max_bytes} are taken"
            )
        return start, start + int(length)
