"""Field codecs: one value <-> its bytes. The building blocks of a message; knows no message.

All numbers are little-endian; floats are IEEE-754 doubles and finite. Codecs of a fixed size name
their struct format, so that a run of them is packed at once (`protocols.wire.layout`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Protocol

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "DIGEST",
    "F64",
    "FLAG",
    "I32",
    "REAL",
    "U8",
    "U16",
    "U32",
    "U64",
    "Array",
    "Blob",
    "Bool",
    "Bytes",
    "Codes",
    "FieldCodec",
    "Fixed",
    "Ints",
    "Maybe",
    "Sentence",
    "Sha256",
    "Text",
    "choice",
    "number",
]

_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct("<BI")  # bytes per item, items
_ITEM_BYTES = (1, 2, 4)
_DIGEST_BYTES = 32


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

    def write(self, value: Any, out: list[bytes]) -> None:  # noqa: ANN401 - a type per codec
        """Append the bytes of `value`; LocalProtocolError if it cannot be carried."""

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        """Return the value at `at` and the place behind it; RemoteProtocolError if malformed."""


Check = Callable[[Any], None]
Understand = Callable[[Any], Any]


@dataclass(frozen=True)
class Fixed:
    """A codec whose values have one struct format.

    Attributes:
        format: Struct format of one value, without byte order.
        check: Refuses a value that struct would pack and a peer would not take.
        understand: Makes the value of what struct unpacked, or refuses it.
        members: The enum, where the value is a member of one.
    """

    format: str
    check: Check | None = None
    understand: Understand | None = None
    members: type[IntEnum] | None = None

    def write(self, value: Any, out: list[bytes]) -> None:  # noqa: ANN401 - a type per codec
        """Append the packed value."""
        if self.check is not None:
            self.check(value)
        try:
            out.append(struct.pack("<" + self.format, value))
        except (struct.error, OverflowError) as error:
            raise LocalProtocolError(f"{value!r} does not fit format {self.format}") from error

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        """Unpack a value at `at`."""
        end = _end(body, at, struct.calcsize("<" + self.format))
        (value,) = struct.unpack_from("<" + self.format, body, at)
        return value if self.understand is None else self.understand(value), end


def number(format_: str) -> Fixed:
    """One integer of a struct format, for example "I"."""
    return Fixed(format_)


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise LocalProtocolError(f"{value} is not finite")


def _understand_finite(raw: float) -> float:
    if not math.isfinite(raw):
        raise RemoteProtocolError(f"{raw} is not finite")
    return raw


REAL = Fixed("d", _check_finite, _understand_finite)
"""A finite IEEE double."""


def choice(members: type[IntEnum]) -> Fixed:
    """One byte that names a member of an enum."""
    table = {int(member): member for member in members}

    def check(value: IntEnum) -> None:
        if value not in table:
            raise LocalProtocolError(f"{value!r} is no {members.__name__}")

    def understand(raw: int) -> IntEnum:
        try:
            return table[raw]
        except KeyError as error:
            raise RemoteProtocolError(f"{raw} is no {members.__name__}") from error

    return Fixed("B", check, understand, members)


def _understand_flag(raw: int) -> bool:
    if raw > 1:
        raise RemoteProtocolError(f"{raw} is neither 0 nor 1")
    return raw == 1


FLAG = Fixed("B", None, _understand_flag)
"""One byte, 0 or 1."""


def _check_digest(value: bytes) -> None:
    if len(value) != _DIGEST_BYTES:
        raise LocalProtocolError(f"{len(value)} bytes are no SHA-256")


DIGEST = Fixed(f"{_DIGEST_BYTES}s", _check_digest)
"""A SHA-256, 32 bytes; struct alone would pad or cut."""


@dataclass(frozen=True)
class Maybe:
    """A byte 0 (absent) or 1 and the value."""

    inner: FieldCodec

    def write(self, value: object, out: list[bytes]) -> None:
        """Append; None is absent."""
        out.append(b"\x00" if value is None else b"\x01")
        if value is not None:
            self.inner.write(value, out)

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        """Unpack; None is absent."""
        present, at = FLAG.read(body, at)
        return self.inner.read(body, at) if present else (None, at)


class Blob:
    """Bytes with their length (u32) in front."""

    def write(self, value: bytes, out: list[bytes]) -> None:
        """Append length and bytes."""
        out.append(_LENGTH.pack(len(value)))
        out.append(value)

    def read(self, body: bytes, at: int) -> tuple[bytes, int]:
        """Unpack; a length past the end is refused."""
        start = at + 4
        if start > len(body):
            raise _short(body, start)
        end = start + _LENGTH.unpack_from(body, at)[0]
        if end > len(body):
            raise _short(body, end)
        return body[start:end], end


class Text:
    """UTF-8 text with its length in bytes (u32) in front."""

    def write(self, value: str, out: list[bytes]) -> None:
        """Append; what is no Unicode text is replaced."""
        Blob().write(value.encode("utf-8", "replace"), out)

    def read(self, body: bytes, at: int) -> tuple[str, int]:
        """Unpack; invalid UTF-8 is refused."""
        raw, end = Blob().read(body, at)
        try:
            return raw.decode("utf-8"), end
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a text is no UTF-8: {error}") from error


class Array:
    """`Codes`: bytes per item (u8), items (u32), then the integers."""

    def write(self, value: Codes, out: list[bytes]) -> None:
        """Append prefix and integers."""
        out += (_ARRAY.pack(value.item_bytes, len(value)), value.data)

    def read(self, body: bytes, at: int) -> tuple[Codes, int]:
        """Unpack; unknown item size or a length past the end is refused."""
        start = _end(body, at, _ARRAY.size)
        item_bytes, items = _ARRAY.unpack_from(body, at)
        if item_bytes not in _ITEM_BYTES:
            raise RemoteProtocolError(f"{item_bytes} bytes per integer is none of {_ITEM_BYTES}")
        end = _end(body, start, item_bytes * items)
        return Codes(item_bytes=item_bytes, data=body[start:end]), end


def _short(body: bytes, needed: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"a message ends after {len(body)} bytes, {needed} are announced")


def _end(body: bytes, at: int, size: int) -> int:
    if at + size > len(body):
        raise _short(body, at + size)
    return at + size


U8 = Annotated[int, number("B")]
U16 = Annotated[int, number("H")]
U32 = Annotated[int, number("I")]
U64 = Annotated[int, number("Q")]
I32 = Annotated[int, number("i")]
F64 = Annotated[float, REAL]
Bool = Annotated[bool, FLAG]
Sha256 = Annotated[bytes, DIGEST]
Bytes = Annotated[bytes, Blob()]
Sentence = Annotated[str, Text()]
Ints = Annotated[Codes, Array()]
