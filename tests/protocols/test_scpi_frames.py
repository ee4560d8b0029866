"""Frames in blocks: what goes into a message comes out of it, in any split, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.wire.errors import RemoteProtocolError
from protocols.wire.scpi import encode_data, encode_response, parse_message
from protocols.wire.scpi_data import Block
from protocols.wire.scpi_frames import BlockReader, frame_messages
from protocols.wire.scpi_stream import MessageSplitter, ProgramText


@given(st.binary(max_size=300), st.integers(40, 400))
def test_messages_carry_the_bytes_in_order_within_their_bound(data, max_bytes):
    carried = b""
    for message in frame_messages(data, max_bytes):
        assert len(message) <= max_bytes
        text, end = MessageSplitter().take(message, 0)
        assert isinstance(text, ProgramText)
        assert end == len(message)
        (command,) = parse_message(text.text)
        assert command.header == "DIAG:FRAM?"
        (block,) = command.parameters
        assert isinstance(block, Block)
        carried += block.data
    assert carried == data


def test_nothing_to_say_is_one_message():
    assert list(frame_messages(b"")) == [b"DIAG:FRAM? #10\n"]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_a_response_is_read_in_any_split(data, step):
    response = encode_response([encode_data([data])])
    reader = BlockReader(200)
    parts = [response[at : at + step] for at in range(0, len(response), step)]
    found = [reader.feed(part) for part in parts]
    assert found[-1] == data
    assert all(value in (None, data) for value in found)
    assert found[0] is None or len(response) <= step + 1


@pytest.mark.parametrize("response", [b"1\n", b"\n", b"#0abc\n", b"#A", b"#2x", b"#15abcdefg\n"])
def test_what_is_no_block_is_refused(response):
    with pytest.raises(RemoteProtocolError):
        BlockReader(100).feed(response)


def test_an_announced_length_beyond_the_bound_is_refused_before_it_comes():
    with pytest.raises(RemoteProtocolError, match="at most 100"):
        BlockReader(100).feed(b"#3101")
    assert BlockReader(100).feed(b"#3100") is None


@given(st.binary(max_size=30))
def test_any_bytes_are_a_block_or_a_remote_error(data):
    reader = BlockReader(10)
    try:
        for at in range(len(data)):
            reader.feed(data[at : at + 1])
    except RemoteProtocolError:
        return
    assert len(reader._buffer) <= len(data)
