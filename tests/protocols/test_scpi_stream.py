"""SCPI streams: the same messages in any split, blocks whole, memory bounded, planes switched."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire.scpi_data import encode_block
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_exchange import MessageExchange
from protocols.wire.scpi_stream import (
    BinaryData,
    MessageSplitter,
    Plane,
    PlaneDemultiplexer,
    ProgramText,
)

VECTORS = json.loads((Path(wire.__path__[0]) / "scpi_vectors.json").read_text(encoding="utf-8"))

pieces = st.sampled_from(
    [b"\n", b"\x00", b" ", b",", b"#", b"#1", b"3", b"#13", b'"', b"'", b";", b"*CLS", b"\r\n"]
) | st.binary(max_size=12)


def read(parts: list[bytes], max_bytes: int = 1 << 20) -> tuple[list[bytes | int], bytes]:
    """Messages, or error numbers in their place, and the bytes of the binary plane."""
    planes = PlaneDemultiplexer(max_bytes)
    found: list[bytes | int] = []
    binary = b""
    for part in parts:
        planes.feed(part)
        while (item := planes.take()) is not None:
            if isinstance(item, BinaryData):
                binary += item.data
            else:
                found.append(item.number if isinstance(item, ScpiError) else item.text)
        assert planes.kept_bytes <= max_bytes
    return found, binary


@pytest.mark.parametrize("vector", VECTORS["streams"], ids=lambda v: v["name"])
def test_a_golden_stream_is_split(vector):
    data = bytes.fromhex(vector["hex"])
    expected = [bytes.fromhex(m) for m in vector["messages"]], bytes.fromhex(vector["binary"] or "")
    assert read([data]) == expected
    assert read([data[k : k + 1] for k in range(len(data))]) == expected


@given(st.lists(pieces, max_size=12), st.data())
def test_any_split_gives_the_same(parts, data):
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    ends = [0, *cuts, len(stream)]
    split = [stream[a:b] for a, b in pairwise(ends)]
    assert read(split, 20) == read([stream], 20)


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_every_byte_of_a_block_is_data(block, junk):
    message = b"DIAG:FRAM? " + encode_block(block)
    (first, *_), _ = read([message + b"\n" + junk])
    assert first == message


def test_a_message_too_long_is_read_to_its_end_and_its_block_never_taken_for_commands():
    long = b"DIAG:FRAM? " + encode_block(b"\n\x00OUTP:SAFE\n" * 100)
    assert read([long + b"\n*IDN?\n"], 64) == ([-363, b"*IDN?"], b"")


def test_an_endless_line_keeps_nothing():
    splitter = MessageSplitter(100)
    for _ in range(1000):
        assert splitter.take(b"A" * 99, 0) == (None, 99)
        assert splitter.kept_bytes <= 100
    found, _ = splitter.take(b"\n", 0)
    assert isinstance(found, ScpiError)
    assert splitter.take(b"B\n", 0) == (ProgramText(b"B"), 2)


def test_an_announced_length_is_not_allocated():
    planes = PlaneDemultiplexer()
    planes.feed(b"A #9999999999")
    assert planes.take() is None
    assert planes.kept_bytes < 20


def test_a_sender_that_died_within_a_block_costs_a_lapse():
    planes = PlaneDemultiplexer()
    planes.feed(b"A #3999abc")
    assert planes.take() is None
    error = planes.lapse()
    assert error is not None
    assert error.number == -365
    assert planes.lapse() is None
    planes.feed(b"*CL")
    assert planes.take() is None
    assert planes.lapse() is None  # somebody is typing
    planes.feed(b"S\n")
    assert planes.take() == ProgramText(b"*CLS")


def test_a_command_hands_the_rest_of_the_same_bytes_to_the_binary_plane():
    planes = PlaneDemultiplexer()
    planes.feed(b"SYST:COMM:MODE BIN\n\x01\x02\n*CLS\n")
    assert planes.take() == ProgramText(b"SYST:COMM:MODE BIN")
    planes.plane = Plane.BINARY
    assert planes.take() == BinaryData(b"\x01\x02\n*CLS\n")
    assert planes.take() is None
    planes.plane = Plane.TEXT
    planes.feed(b"*CLS\n")
    assert planes.take() == ProgramText(b"*CLS")


def test_a_zero_byte_drops_the_noise_before_it():
    assert read([b"boot text without end \x00frame"]) == ([], b"frame")


class Echo:
    """Answers every message with itself, counts errors."""

    def __init__(self) -> None:
        self.errors: list[int] = []
        self.exchange = MessageExchange(lambda text: text + b"\n", self.report, 32)

    def report(self, error: ScpiError) -> None:
        self.errors.append(error.number)


def test_an_exchange_gives_a_response_in_parts():
    echo = Echo()
    echo.exchange.write(b"abc", end=False)
    echo.exchange.write(b"def", end=True)
    assert echo.exchange.message_available
    assert echo.exchange.read(4) == (b"abcd", False)
    assert echo.exchange.read(4) == (b"ef\n", True)
    assert not echo.errors


def test_a_response_that_nobody_read_is_dropped_and_an_empty_read_is_an_error():
    echo = Echo()
    echo.exchange.write(b"one", end=True)
    echo.exchange.write(b"two\nthree\n", end=True)
    assert echo.exchange.read(100) == (b"three\n", True)
    assert echo.exchange.read(100) == (b"", True)
    assert echo.errors == [-410, -410, -420]


def test_an_exchange_refuses_what_is_too_long_or_binary_and_clears():
    echo = Echo()
    echo.exchange.write(b"x" * 40, end=True)
    echo.exchange.write(b"a\x00", end=True)
    assert echo.errors == [-363, -101]
    echo.exchange.write(b"half", end=False)
    echo.exchange.clear()
    echo.exchange.write(b"whole", end=True)
    assert echo.exchange.read(100) == (b"whole\n", True)


def test_a_message_that_ends_within_a_block_or_a_string_is_handed_on_as_it_is():
    echo = Echo()
    for text in (b"A #15ab", b'A "b'):
        echo.exchange.write(text, end=True)
        assert echo.exchange.read(100) == (text + b"\n", True)
