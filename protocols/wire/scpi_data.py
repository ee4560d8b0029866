"""SCPI data: numbers, words, strings and blocks <-> bytes. Knows no command and no stream.

IEEE 488.2 allows the same four kinds in a command and in a response, so one lexer reads both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from protocols.wire.errors import LocalProtocolError
from protocols.wire.scpi_errors import ScpiError

__all__ = [
    "INFINITY",
    "MAX_BLOCK_DIGITS",
    "NOT_A_NUMBER",
    "Block",
    "Data",
    "Numeric",
    "Quoted",
    "Value",
    "Word",
    "encode_block",
    "encode_value",
    "read_data",
    "skip_white",
    "value_of",
]

MAX_BLOCK_DIGITS = 9
"""One digit tells how many digits the length of a block has (IEEE 488.2, 7.7.6)."""
INFINITY = 9.9e37  # stands for infinity (SCPI-1999, volume 1, 7.2.1.4)
NOT_A_NUMBER = 9.91e37  # stands for "no number" (the same place)

_MAX_DIGITS = 255  # mantissa, leading zeros not counted (IEEE 488.2, 7.7.2.4.1)
_MAX_EXPONENT = 32_000  # magnitude (the same place)
_MAX_WORD = 12  # characters of a word or a unit (IEEE 488.2, 7.7.1.4 and 7.7.3.4)
_MAX_INTEGER = (1 << 64) - 1

# Possessive quantifiers (*+): a megabyte of anything is read once, without a stack to go back.
_WHITE = re.compile(rb"[\x01-\x09\x0b-\x20]*+")
_NUMBER = re.compile(
    rb"([+-]?)(\d++\.?\d*+|\.\d++)"
    rb"(?:[\x01-\x09\x0b-\x20]*+[Ee][\x01-\x09\x0b-\x20]*+([+-]?\d++))?"
)
_SUFFIX = re.compile(rb"[A-Za-z/][A-Za-z0-9/.^-]*")
_WORD = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_QUOTED = {
    ord('"'): re.compile(rb'"([^"\x00\x0a\x80-\xff]*+(?:""[^"\x00\x0a\x80-\xff]*+)*+)"'),
    ord("'"): re.compile(rb"'([^'\x00\x0a\x80-\xff]*+(?:''[^'\x00\x0a\x80-\xff]*+)*+)'"),
}
_RADIX = {
    ord("H"): (16, re.compile(rb"[0-9A-Fa-f]+")),
    ord("Q"): (8, re.compile(rb"[0-7]+")),
    ord("B"): (2, re.compile(rb"[01]+")),
}


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """A number, exact, with its unit in capitals ("" if there is none)."""

    value: Decimal
    suffix: str = ""


@dataclass(frozen=True)
class Word:
    """Character data in capitals, for example BIN."""

    text: str


@dataclass(frozen=True)
class Quoted:
    """A string without its quotes."""

    text: str


@dataclass(frozen=True)
class Block:
    """The bytes of a definite-length block."""

    data: bytes


Data = Numeric | Word | Quoted | Block
Value = bool | int | float | str | bytes | Word
"""What is sent: a str crosses in quotes, bytes as a block, a Word as it stands."""


def skip_white(text: bytes, at: int) -> int:
    """Return the place of the first byte from `at` that is no white space."""
    found = _WHITE.match(text, at)
    return at if found is None else found.end()


def read_data(text: bytes, at: int) -> tuple[Data, int]:
    """Return the datum at `at` and the place behind it.

    Raises:
        ScpiError: -101 ... -178: what stands there is no datum.
    """
    if at >= len(text):
        raise ScpiError(-109, "nothing stands behind a separator")
    first = text[at]
    if first in b"+-.0123456789":
        return _read_number(text, at)
    if first in _QUOTED:
        return _read_quoted(text, at)
    if first == ord("#"):
        return _read_hash(text, at)
    if first == ord("("):
        raise ScpiError(-178, "expressions and lists in brackets are not taken")
    word = _WORD.match(text, at)
    if word is None:
        raise ScpiError(-102 if first in b",;" else -101, f"byte 0x{first:02x} begins no datum")
    if len(word[0]) > _MAX_WORD:
        raise ScpiError(-144, f"a word of {len(word[0])} characters; at most {_MAX_WORD}")
    return Word(word[0].decode("ascii").upper()), word.end()


def _read_number(text: bytes, at: int) -> tuple[Numeric, int]:
    found = _NUMBER.match(text, at)
    if found is None:
        raise ScpiError(-121, "a sign or a point without digits")
    sign, mantissa, exponent = found.groups()
    if len(mantissa.lstrip(b"0")) > _MAX_DIGITS:
        raise ScpiError(-124, f"more than {_MAX_DIGITS} digits")
    power = (exponent or b"").lstrip(b"+-").lstrip(b"0") or b"0"
    if len(power) > len(str(_MAX_EXPONENT)) or int(power) > _MAX_EXPONENT:
        raise ScpiError(-123, f"the exponent is beyond {_MAX_EXPONENT}")
    number = (sign + mantissa).decode("ascii")
    if exponent is not None:
        number += f"E{'-' * exponent.startswith(b'-')}{int(power)}"
    value = Decimal(number)
    end = found.end()
    unit = _SUFFIX.match(text, skip_white(text, end))
    if unit is None:
        return Numeric(value=value), end
    if len(unit[0]) > _MAX_WORD:
        raise ScpiError(-134, f"a unit of {len(unit[0])} characters; at most {_MAX_WORD}")
    return Numeric(value=value, suffix=unit[0].decode("ascii").upper()), unit.end()


def _read_quoted(text: bytes, at: int) -> tuple[Quoted, int]:
    found = _QUOTED[text[at]].match(text, at)
    if found is None:
        raise ScpiError(-151, "a string is not closed, or holds a newline or no ASCII")
    mark = chr(text[at])
    return Quoted(found[1].decode("ascii").replace(mark + mark, mark)), found.end()


def _read_hash(text: bytes, at: int) -> tuple[Numeric | Block, int]:
    kind = text[at + 1 : at + 2].upper()
    if kind and kind[0] in _RADIX:
        base, digits = _RADIX[kind[0]]
        found = digits.match(text, at + 2)
        if found is None or len(found[0]) > _MAX_DIGITS:
            raise ScpiError(-121, f"#{kind.decode()} without digits of base {base}, or too many")
        return Numeric(value=Decimal(int(found[0], base))), found.end()
    if kind == b"0":
        raise ScpiError(-161, "blocks of indefinite length are not taken; send #<n><length>")
    if not kind.isdigit():
        raise ScpiError(-161, "# is followed by neither a digit nor H, Q or B")
    start = at + 2 + int(kind)
    length = text[at + 2 : start]
    if len(length) != int(kind) or not length.isdigit():
        raise ScpiError(-161, f"a block length has {int(kind)} digits, {len(length)} are there")
    end = start + int(length)
    if end > len(text):
        raise ScpiError(-161, f"a block of {int(length)} bytes has {len(text) - start}")
    return Block(text[start:end]), end


def encode_block(data: bytes) -> bytes:
    """Return #<n><length><data>.

    Raises:
        LocalProtocolError: The length has more than nine digits.
    """
    length = b"%d" % len(data)
    if len(length) > MAX_BLOCK_DIGITS:
        raise LocalProtocolError(f"a block of {len(data)} bytes is longer than 999999999")
    return b"#%d%s%s" % (len(length), length, data)


def encode_value(value: Value) -> bytes:
    """Return the bytes of one value; floats come back exactly, true is 1.

    Raises:
        LocalProtocolError: A string is not printable ASCII, a Word is none, an integer has more
            than 64 bits.
    """
    match value:
        case bool():
            return b"1" if value else b"0"
        case int():
            if abs(value) > _MAX_INTEGER:
                raise LocalProtocolError(f"{value} has more than 64 bits")
            return b"%d" % value
        case float():
            return _encode_float(value)
        case bytes():
            return encode_block(value)
        case str():
            if not all(" " <= c <= "~" for c in value):
                raise LocalProtocolError(f"{value!r} holds more than printable ASCII")
            return b'"' + value.replace('"', '""').encode("ascii") + b'"'
    text = value.text.encode("ascii", "replace")
    if not _WORD.fullmatch(text) or len(text) > _MAX_WORD:
        raise LocalProtocolError(f"{value.text!r} is no word of 1 ... {_MAX_WORD} characters")
    return text.upper()


def _encode_float(value: float) -> bytes:
    if math.isnan(value):
        value = NOT_A_NUMBER
    elif math.isinf(value):
        value = math.copysign(INFINITY, value)
    return repr(value).upper().encode("ascii")


def value_of(data: Data) -> Value:
    """Return a datum without unit as what `encode_value` was given; whole numbers as int.

    Raises:
        ScpiError: -138: a number has a unit.
    """
    match data:
        case Block():
            return data.data
        case Quoted():
            return data.text
        case Word():
            return data
    if data.suffix:
        raise ScpiError(-138, f"{data.value} {data.suffix}")
    if data.value.as_tuple().exponent == 0 and -_MAX_INTEGER <= data.value <= _MAX_INTEGER:
        return int(data.value)
    number = float(data.value)
    if number == NOT_A_NUMBER:
        return math.nan
    return math.copysign(math.inf, number) if abs(number) == INFINITY else number
