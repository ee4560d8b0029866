"""SCPI fuzzing: bytes from anywhere against the laws of the control plane's decoder. No I/O.

`check_scpi` judges one input and is what a fuzzer calls; `fuzz_scpi` feeds it inputs that reach
deep, repeated by their seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from protocols.wire.errors import LocalProtocolError
from protocols.wire.scpi import encode_command, encode_data, parse_message, parse_response
from protocols.wire.scpi_data import Value, Word, value_of
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_stream import (
    BinaryData,
    PlaneDemultiplexer,
    ProgramText,
)

__all__ = ["ScpiFuzzReport", "check_scpi", "fuzz_scpi", "scpi_inputs"]

_MAX_BYTES = 256  # small, so that inputs reach the limit
_HEADERS = ("*IDN?", "*ESE", ":SYST:ERR?", "CORE2:CONF:GAIN", "DIAG:FRAM?", "x", "SYSTem:LOCK:REQ?")
_SCRAPS = (
    *(b"\n", b"\x00", b";", b":", b"?", b",", b" ", b"(", b"-", b".", b"\r\n", b"'", b"''", b'"'),
    *(b"#", b"#0", b"#12ab", b"#3999", b"#9999999999", b"#HFF", b"1E", b"1E99999", b"5 CEL"),
)


@dataclass(frozen=True, kw_only=True)
class ScpiFuzzReport:
    """What a run has seen.

    Attributes:
        cases: Inputs fed, each whole and byte by byte.
        fed_bytes: Their bytes.
        messages: Program messages that came out.
        peak_bytes: Most bytes that the decoder held.
    """

    cases: int
    fed_bytes: int
    messages: int
    peak_bytes: int


def fuzz_scpi(
    *, seed: int, cases: int | None = None, until: Callable[[], bool] | None = None
) -> ScpiFuzzReport:
    """Fuzz the decoder of the control plane; return what was seen.

    Args:
        seed: The same seed feeds the same inputs.
        cases: How many inputs to feed, unless `until` says when to stop.
        until: Asked after every input whether to stop (a clock, for example).

    Raises:
        AssertionError: A law is broken, see `check_scpi`.
        Exception: Whatever the decoder let out: that is a finding.
    """
    count = fed = messages = peak = 0
    for data in islice(scpi_inputs(seed), cases):
        seen = check_scpi(data)
        count, fed, messages = count + 1, fed + len(data), messages + seen.messages
        peak = max(peak, seen.peak_bytes)
        if until is not None and until():
            break
    return ScpiFuzzReport(cases=count, fed_bytes=fed, messages=messages, peak_bytes=peak)


def check_scpi(data: bytes) -> ScpiFuzzReport:
    """Feed `data` whole and byte by byte, parse every message; return what was seen.

    Raises:
        AssertionError: A law is broken: another result for another split, more memory than one
            message, or a message that does not come back.
        Exception: Any other than ScpiError is a finding.
    """
    whole, _ = _read(data, len(data))
    again, peak = _read(data, 1)
    if again != whole:
        raise AssertionError("another split gave other messages")
    messages = [item.text for item in whole if isinstance(item, ProgramText)]
    for text in messages:
        _check_message(text)
    return ScpiFuzzReport(cases=1, fed_bytes=len(data), messages=len(messages), peak_bytes=peak)


def _read(data: bytes, step: int) -> tuple[list[ProgramText | BinaryData | str], int]:
    planes = PlaneDemultiplexer(_MAX_BYTES)
    found: list[ProgramText | BinaryData | str] = []
    binary, peak = b"", 0
    for at in range(0, len(data), max(step, 1)):
        planes.feed(data[at : at + max(step, 1)])
        while (item := planes.take()) is not None:
            if isinstance(item, BinaryData):
                binary += item.data
            else:
                found.append(item.text if isinstance(item, ScpiError) else item)
        peak = max(peak, planes.kept_bytes)
        if peak > _MAX_BYTES:
            raise AssertionError(f"{peak} bytes are kept")
    return [*found, BinaryData(binary)], peak


def _check_message(text: bytes) -> None:
    try:
        commands = parse_message(text)
    except ScpiError:
        return
    for command in commands:
        try:
            values = [value_of(datum) for datum in command.parameters]
            again = encode_command(":" * (command.path[0][0] != "*") + command.header, *values)
        except (ScpiError, LocalProtocolError):
            continue  # a number with a unit; a control character in a string
        (same,) = parse_message(again)
        came_back = [value_of(datum) for datum in same.parameters]
        if same.path != command.path or encode_data(came_back) != encode_data(values):
            raise AssertionError(f"{text!r} came back as {again!r}")
    for answer in _answers(text):
        encode_data(answer)


def _answers(text: bytes) -> list[list[Value]]:
    try:
        return [[value_of(datum) for datum in answer] for answer in parse_response(text)]
    except ScpiError:
        return []


def scpi_inputs(seed: int) -> Iterator[bytes]:
    """Yield inputs without end: messages, scraps of syntax and noise, cut and joined at random."""
    generator = random.Random(seed)
    while True:
        parts = (generator.choice(_PARTS)(generator) for _ in range(generator.randint(1, 12)))
        text = bytearray(b"".join(parts))
        for _ in range(generator.randint(0, 3)):
            if text:
                text[generator.randrange(len(text))] = generator.randrange(256)
        yield bytes(text)


def _message(generator: random.Random) -> bytes:
    values = (generator.choice(_VALUES)(generator) for _ in range(generator.randint(0, 4)))
    end = generator.choice(("\n", ";", "\r\n", "")).encode()
    return encode_command(generator.choice(_HEADERS), *values) + end


def _scrap(generator: random.Random) -> bytes:
    return generator.choice(_SCRAPS)


def _noise(generator: random.Random) -> bytes:
    return generator.randbytes(generator.randint(0, 20))


def _integer(generator: random.Random) -> Value:
    return generator.randint(-(1 << 40), 1 << 40)


def _real(generator: random.Random) -> Value:
    return generator.uniform(-1, 1) * 10.0 ** generator.randint(-300, 300)


def _word(generator: random.Random) -> Value:
    return Word(generator.choice(("ON", "OFF", "BIN", "MAX", "DEFAULT_1")))


def _string(generator: random.Random) -> Value:
    return "".join(generator.choice("aB1 \"';,#:\\") for _ in range(generator.randint(0, 12)))


def _block(generator: random.Random) -> Value:
    return generator.randbytes(generator.randint(0, 30))


_VALUES = (_integer, _real, _word, _string, _block)
_PARTS = (_message, _message, _scrap, _noise)
