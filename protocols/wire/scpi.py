"""SCPI program messages: bytes <-> commands (IEEE 488.2 / SCPI-1999). No stream, no tree, no I/O.

A message is commands with semicolons between them. A command without a leading colon stands on the
node of the one before it; a common command (*IDN?) leaves that node alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocols.wire.errors import LocalProtocolError
from protocols.wire.scpi_data import Data, Value, encode_value, read_data, skip_white
from protocols.wire.scpi_errors import ScpiError

__all__ = [
    "MAX_COMMANDS",
    "MAX_PARAMETERS",
    "Command",
    "encode_command",
    "encode_data",
    "encode_response",
    "parse_message",
    "parse_response",
]

MAX_COMMANDS = 256
"""Most commands in one message."""
MAX_PARAMETERS = 65_536
"""Most parameters of one command: one for each col of the largest core."""

_MAX_MNEMONIC = 12  # characters (IEEE 488.2, 7.6.1.4.1)
_MAX_DEPTH = 8  # nodes of a header; no standard tree is deeper
_HEADER = re.compile(rb"(:?)(\*?)([A-Za-z]\w*+(?::[A-Za-z]\w*+){0,15}+)(\??)", re.ASCII)
_BETWEEN = re.compile(rb"[\x01-\x09\x0b-\x20;]*+")  # commands: semicolons and white space


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command or query of a message.

    Attributes:
        path: Mnemonics from the root in capitals with their numbers, as sent; a common command is
            one mnemonic with its star.
        query: Whether a question mark ends the header.
        parameters: Its data.
    """

    path: tuple[str, ...]
    query: bool = False
    parameters: tuple[Data, ...] = ()

    @property
    def header(self) -> str:
        """The header from the root, for people."""
        return ":".join(self.path) + "?" * self.query


def parse_message(text: bytes) -> tuple[Command, ...]:
    """Return the commands of one message without its terminator; an empty message has none.

    Raises:
        ScpiError: -101 ... -178, -223: the first thing wrong in the message.
    """
    commands: list[Command] = []
    node: tuple[str, ...] = ()
    at = 0
    while (at := _skip_between(text, at)) < len(text):
        if len(commands) == MAX_COMMANDS:
            raise ScpiError(-223, f"more than {MAX_COMMANDS} commands in a message")
        path, query, at = _read_header(text, at, node)
        parameters, at = _read_parameters(text, at)
        commands.append(Command(path=path, query=query, parameters=tuple(parameters)))
        if not path[0].startswith("*"):
            node = path[:-1]
    return tuple(commands)


def _skip_between(text: bytes, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return at if found is None else found.end()


def _read_header(text: bytes, at: int, node: tuple[str, ...]) -> tuple[tuple[str, ...], bool, int]:
    found = _HEADER.match(text, at)
    if found is None:
        raise ScpiError(-101, f"byte 0x{text[at]:02x} begins no header")
    colon, star, names, mark = found.groups()
    path = tuple(names.decode("ascii").upper().split(":"))
    long = next((name for name in path if len(name) > _MAX_MNEMONIC), None)
    if long is not None:
        raise ScpiError(-112, f"{long[: 2 * _MAX_MNEMONIC]}: at most {_MAX_MNEMONIC} characters")
    if star:
        if colon or len(path) > 1:
            raise ScpiError(-102, f"a common command has no colon: *{names.decode('ascii')}")
        path = ("*" + path[0],)
    elif not colon:
        path = node + path
    if len(path) > _MAX_DEPTH:
        raise ScpiError(-113, f"a header of {len(path)} nodes")
    end = found.end()
    if end < len(text) and text[end] != ord(";") and skip_white(text, end) == end:
        raise ScpiError(-111, f"byte 0x{text[end]:02x} follows header {':'.join(path)}")
    return path, bool(mark), end


def _read_parameters(text: bytes, at: int) -> tuple[list[Data], int]:
    found: list[Data] = []
    at = skip_white(text, at)
    if at == len(text) or text[at] == ord(";"):
        return found, at
    while True:
        if len(found) == MAX_PARAMETERS:
            raise ScpiError(-223, f"more than {MAX_PARAMETERS} parameters")
        datum, at = read_data(text, at)
        found.append(datum)
        at = skip_white(text, at)
        if at == len(text) or text[at] == ord(";"):
            return found, at
        if text[at] != ord(","):
            raise ScpiError(-103, f"byte 0x{text[at]:02x} stands between two parameters")
        at = skip_white(text, at + 1)


def encode_command(header: str, *parameters: Value) -> bytes:
    """Return a command without terminator, for a host: header, a blank, parameters with commas.

    Raises:
        LocalProtocolError: The header is none, or a parameter cannot be carried.
    """
    name = header.encode("ascii", "replace")
    found = _HEADER.fullmatch(name)
    if found is None or (found[2] and (found[1] or b":" in found[3])):
        raise LocalProtocolError(f"{header!r} is no header")
    return b" ".join(filter(None, (name, encode_data(parameters))))


def encode_data(values: Iterable[Value]) -> bytes:
    """Return values with commas between them."""
    return b",".join(map(encode_value, values))


def encode_response(answers: Sequence[bytes]) -> bytes:
    """Return a response message: the answers of one message's queries, semicolons, a newline."""
    return b";".join(answers) + b"\n" if answers else b""


def parse_response(text: bytes) -> tuple[tuple[Data, ...], ...]:
    """Return the data of each answer in a response message, with or without its newline.

    Raises:
        ScpiError: It is no response message.
    """
    body = text[:-1] if text.endswith(b"\n") else text
    answers: list[tuple[Data, ...]] = []
    at = skip_white(body, 0)
    while at < len(body):
        found, at = _read_parameters(body, at)
        answers.append(tuple(found))
        at = skip_white(body, at + 1)
    return tuple(answers)
