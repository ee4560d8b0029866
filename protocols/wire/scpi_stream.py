"""SCPI streams: bytes in any split -> program messages, or bytes of the binary plane. Sans-io.

A newline ends a message, except within a definite-length block, where every byte is data. A zero
byte outside a block hands the stream to the binary plane. At most one message is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from protocols.wire.scpi_errors import ScpiError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "BinaryData",
    "MessageSplitter",
    "Plane",
    "PlaneDemultiplexer",
    "ProgramText",
]

MAX_MESSAGE_BYTES = 1 << 20
"""Longest program message, blocks included: 1 MiB holds a trim register of 65,536 cols as text."""

_NEWLINE, _ZERO, _HASH = b"\n\x00#"
_DIGITS = b"0123456789"
_BEFORE_DATUM = bytes(range(1, 0x21)) + b","  # white space or a comma: a parameter may begin
_SPECIAL = {
    0: re.compile(rb"[\n\x00\"'#]"),
    ord('"'): re.compile(rb"[\n\x00\"]"),
    ord("'"): re.compile(rb"[\n\x00']"),
}  # what ends a run of plain bytes, outside and inside of quotes


class Plane(Enum):
    """Who reads a byte stream."""

    TEXT = auto()
    BINARY = auto()


@dataclass(frozen=True)
class ProgramText:
    """One program message without its newline."""

    text: bytes


@dataclass(frozen=True)
class BinaryData:
    """Bytes for the binary plane, in any split."""

    data: bytes


class _State(Enum):
    TEXT = auto()
    DIGIT = auto()  # behind #: how many digits the length has
    LENGTH = auto()
    BLOCK = auto()


class MessageSplitter:
    """Finds the end of each program message; looks at quotes and blocks, at no command.

    A newline ends a message also within quotes, so that a lost quote costs one message. A message
    beyond the limit is read to its end, blocks included, and kept by nobody: its bytes are never
    taken for commands.
    """

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._state = _State.TEXT
        self._quote = 0  # the open one, or 0
        self._digits = 0  # of a block's length that are to come
        self._length = 0  # of a block, bytes that are to come
        self._overrun = False
        self._may_begin = False  # whether # here begins a parameter

    @property
    def kept_bytes(self) -> int:
        """Bytes of the unfinished message."""
        return len(self._buffer)

    def take(self, data: bytes, at: int) -> tuple[ProgramText | ScpiError | Plane | None, int]:
        """Read `data` from `at` on, up to the end of one message.

        Returns:
            The message, the error in its place, `Plane.BINARY` behind a zero byte, or None if the
            data ended first; and the place behind what was read.
        """
        while at < len(data):
            if self._state is _State.BLOCK:
                at = self._take_block(data, at)
                continue
            if self._state is not _State.TEXT:
                at += self._take_length(data[at])
                continue
            special = _SPECIAL[self._quote].search(data, at)
            end = len(data) if special is None else special.start()
            if end > at:
                self._keep(data[at:end])
                self._may_begin = data[end - 1] in _BEFORE_DATUM
            if special is None:
                return None, end
            at = end + 1
            byte = data[end]
            if byte == _ZERO:
                self._reset()
                return Plane.BINARY, at
            if byte == _NEWLINE:
                found = self.end()
                if found is not None:
                    return found, at
                continue
            self._keep(data[end:at])
            if byte != _HASH:
                self._quote = 0 if self._quote else byte
            elif self._may_begin:
                self._state = _State.DIGIT
            self._may_begin = False
        return None, at

    def end(self) -> ProgramText | ScpiError | None:
        """Return what is there as a message: its end came by other means than a newline."""
        text, overrun = bytes(self._buffer), self._overrun
        self._reset()
        if overrun:
            return ScpiError(-363, f"a message is longer than {self._max_bytes} bytes")
        return ProgramText(text) if text.strip() else None

    @property
    def within_block(self) -> bool:
        """Whether more bytes of a block must come."""
        return self._state is _State.BLOCK

    def drop(self) -> None:
        """Forget an unfinished message."""
        self._reset()

    def _reset(self) -> None:
        self._buffer.clear()
        self._state = _State.TEXT
        self._quote = 0
        self._digits = 0
        self._length = 0
        self._overrun = False
        self._may_begin = False

    def _keep(self, data: bytes) -> None:
        if self._overrun or len(self._buffer) + len(data) > self._max_bytes:
            self._overrun = True
            self._buffer.clear()
        else:
            self._buffer += data

    def _take_block(self, data: bytes, at: int) -> int:
        end = min(at + self._length, len(data))
        self._keep(data[at:end])
        self._length -= end - at
        if self._length == 0:
            self._state = _State.TEXT
        return end

    def _take_length(self, byte: int) -> int:
        if byte not in _DIGITS or (self._state is _State.DIGIT and byte == _DIGITS[0]):
            self._state = _State.TEXT  # no block: #H1F, #0, or an error that the parser names
            return 0
        self._keep(bytes([byte]))
        number = byte - _DIGITS[0]
        if self._state is _State.DIGIT:
            self._state, self._digits, self._length = _State.LENGTH, number, 0
        else:
            self._digits -= 1
            self._length = 10 * self._length + number
            if self._digits == 0:
                self._state = _State.BLOCK if self._length else _State.TEXT
        return 1


class PlaneDemultiplexer:
    """One byte stream of a device: text after power-up, binary behind a zero byte.

    Attributes:
        plane: Who reads the bytes that were not yet taken; a command may set it.
    """

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.plane = Plane.TEXT
        self._splitter = MessageSplitter(max_bytes)
        self._data = b""
        self._at = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept: the unfinished message and what was not yet taken."""
        return self._splitter.kept_bytes + len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Add bytes as they came; then `take` until it returns None."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def take(self) -> ProgramText | ScpiError | BinaryData | None:
        """Return what is complete next, one item at a time, so that each may set `plane`."""
        if self.plane is Plane.TEXT:
            found, self._at = self._splitter.take(self._data, self._at)
            if not isinstance(found, Plane):
                return found
            self.plane = found
        rest, self._data, self._at = self._data[self._at :], b"", 0
        return BinaryData(rest) if rest else None

    def lapse(self) -> ScpiError | None:
        """Drop a message whose block is unfinished: its sender has been silent for too long.

        A message that is no more than text stays: a person may be typing it.

        Returns:
            The error to queue, if there was such a message.
        """
        if not self._splitter.within_block:
            return None
        self._splitter.drop()
        return ScpiError(-365, "the rest of a block did not come; its message was dropped")
