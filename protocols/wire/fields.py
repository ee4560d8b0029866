"""Field codecs: one value <-> its bytes. The building blocks of a message; knows no message.

All numbers are little-endian; floats are IEEE-754 doubles and finite.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "Array",
    "Blob",
    "Choice",
    "Codes",
    "FieldCodec",
    "Flag",
    "Maybe",
    "Number",
    "Numbers",
    "Text",
]

_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct("<BI")  # bytes per item, items
_ITEM_BYTES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class Codes:
    """An array of signed integers as it crosses: little-endian, `item_bytes` (1, 2, 4) each."""

    item_bytes: int
    data: bytes

    def __post_init__(self) -> None:
        if self.item_bytes not in _ITEM_BYTES or len(self.data) % self.item_bytes:
            raise LocalProtocolError(
                f"{len(self.data)} bytes are no array of {self.item_bytes}-byte integers"
            )

    def __len__(self) -> int:
        return len(self.data) // self.item_bytes


class FieldCodec(Protocol):
    """Turns one field's value to bytes and back."""

    def write(self, value: Any) -> bytes:  # noqa: ANN401 - each codec has its own value type
        """Return the bytes of `value`; LocalProtocolError if it cannot be carried."""

    def read(self, body: memoryview, at: int) -> tuple[Any, int]:
        """Return the value at `at` and the place behind it; RemoteProtocolError if malformed."""


@dataclass(frozen=True)
class Number:
    """One number of a struct format, for example "<I"."""

    format: str

    def write(self, value: float) -> bytes:
        """Pack; out of range and not finite are refused."""
        _require_finite(value, LocalProtocolError)
        try:
            return struct.pack(self.format, value)
        except (struct.error, OverflowError) as error:
            raise LocalProtocolError(f"{value!r} does not fit format {self.format}") from error

    def read(self, body: memoryview, at: int) -> tuple[Any, int]:
        """Unpack; not finite is refused."""
        end = _end(body, at, struct.calcsize(self.format))
        (value,) = struct.unpack_from(self.format, body, at)
        _require_finite(value, RemoteProtocolError)
        return value, end


@dataclass(frozen=True)
class Numbers:
    """A fixed tuple of numbers, each with the same format."""

    each: Number
    count: int

    def write(self, value: tuple[float, ...]) -> bytes:
        """Pack all."""
        if len(value) != self.count:
            raise LocalProtocolError(f"{value!r} has not {self.count} numbers")
        return b"".join(self.each.write(v) for v in value)

    def read(self, body: memoryview, at: int) -> tuple[Any, int]:
        """Unpack all."""
        values = []
        for _ in range(self.count):
            value, at = self.each.read(body, at)
            values.append(value)
        return tuple(values), at


@dataclass(frozen=True)
class Choice:
    """One byte that names a member of an enum."""

    members: type[IntEnum]

    def write(self, value: IntEnum) -> bytes:
        """Pack the member's number."""
        return bytes([self.members(value)])

    def read(self, body: memoryview, at: int) -> tuple[Any, int]:
        """Unpack a member; an unknown number is refused."""
        end = _end(body, at, 1)
        try:
            return self.members(body[at]), end
        except ValueError as error:
            raise RemoteProtocolError(f"{body[at]} is no {self.members.__name__}") from error


class _Truth(IntEnum):
    NO = 0
    YES = 1


_TRUTH = Choice(_Truth)


class Flag:
    """One byte, 0 or 1."""

    def write(self, value: bool) -> bytes:
        """Pack."""
        return _TRUTH.write(_Truth(value))

    def read(self, body: memoryview, at: int) -> tuple[bool, int]:
        """Unpack; another number than 0 and 1 is refused."""
        value, end = _TRUTH.read(body, at)
        return value is _Truth.YES, end


@dataclass(frozen=True)
class Maybe:
    """A byte 0 (absent) or 1 and the value."""

    inner: FieldCodec

    def write(self, value: object) -> bytes:
        """Pack; None is absent."""
        return b"\x00" if value is None else b"\x01" + self.inner.write(value)

    def read(self, body: memoryview, at: int) -> tuple[Any, int]:
        """Unpack; None is absent."""
        present, at = _TRUTH.read(body, at)
        return self.inner.read(body, at) if present else (None, at)


class Blob:
    """Bytes with their length (u32) in front."""

    def write(self, value: bytes) -> bytes:
        """Pack."""
        return _LENGTH.pack(len(value)) + value

    def read(self, body: memoryview, at: int) -> tuple[bytes, int]:
        """Unpack; a length past the end is refused."""
        start = _end(body, at, _LENGTH.size)
        (length,) = _LENGTH.unpack_from(body, at)
        end = _end(body, start, length)
        return bytes(body[start:end]), end


class Text:
    """UTF-8 text with its length in bytes (u32) in front."""

    def write(self, value: str) -> bytes:
        """Pack; what is no Unicode text is replaced."""
        return Blob().write(value.encode("utf-8", "replace"))

    def read(self, body: memoryview, at: int) -> tuple[str, int]:
        """Unpack; invalid UTF-8 is refused."""
        raw, end = Blob().read(body, at)
        try:
            return raw.decode("utf-8"), end
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a text is no UTF-8: {error}") from error


class Array:
    """`Codes`: bytes per item (u8), items (u32), then the integers."""

    def write(self, value: Codes) -> bytes:
        """Pack."""
        return _ARRAY.pack(value.item_bytes, len(value)) + value.data

    def read(self, body: memoryview, at: int) -> tuple[Codes, int]:
        """Unpack; unknown item size or a length past the end is refused."""
        start = _end(body, at, _ARRAY.size)
        item_bytes, items = _ARRAY.unpack_from(body, at)
        if item_bytes not in _ITEM_BYTES:
            raise RemoteProtocolError(f"{item_bytes} bytes per integer is none of {_ITEM_BYTES}")
        end = _end(body, start, item_bytes * items)
        return Codes(item_bytes=item_bytes, data=bytes(body[start:end])), end


def _end(body: memoryview, at: int, size: int) -> int:
    if at + size > len(body):
        raise RemoteProtocolError(
            f"a message ends after {len(body)} bytes, {at + size} are announced"
        )
    return at + size


def _require_finite(value: float, error: type[Exception]) -> None:
    if not math.isfinite(value):
        raise error(f"{value} is not finite")
