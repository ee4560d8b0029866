"""Framing: every split, every flipped bit, any garbage."""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire import cobs as cobs_module
from protocols.wire.cobs import cobs_decode, cobs_encode, pure_cobs_decode, pure_cobs_encode
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import (
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    Flags,
    Frame,
    FrameDecoder,
    Kind,
    encode_frame,
)

VECTORS = json.loads((Path(wire.__path__[0]) / "vectors.json").read_text(encoding="utf-8"))
FRAME = Frame(
    kind=Kind.REQUEST,
    flags=Flags.NONE,
    opcode=0x12,
    epoch=7,
    core=3,
    sequence=99,
    credit=16,
    payload=b"a\x00\xff\x00\x00b",
)

payloads = st.one_of(
    st.binary(max_size=600),
    st.lists(st.sampled_from([b"\x00", b"\x01", b"\xff" * 253, b"x" * 254, b"y" * 255])).map(
        b"".join
    ),
)
frames = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    flags=st.integers(0, 15),
    opcode=st.integers(0, 255),
    epoch=st.integers(0, 0xFFFF),
    core=st.integers(0, 0xFFFF),
    sequence=st.integers(0, 0xFFFFFFFF),
    credit=st.integers(0, 0xFFFF),
    payload=payloads,
)


@pytest.fixture(params=["pure", "in use"])
def codec(request):
    """The pure codec, and the compiled one where it is installed."""
    if request.param == "pure":
        return cobs_module.pure_cobs_encode, cobs_module.pure_cobs_decode
    return cobs_encode, cobs_decode


@pytest.mark.parametrize(("plain", "encoded"), VECTORS["cobs"])
def test_cobs_gives_the_published_examples(codec, plain, encoded):
    encode, decode = codec
    assert encode(bytes.fromhex(plain)).hex() == encoded
    assert decode(bytes.fromhex(encoded)).hex() == plain


@given(payloads)
def test_cobs_removes_every_zero_and_comes_back(data):
    encoded = pure_cobs_encode(data)
    assert encoded == cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert pure_cobs_decode(encoded) == cobs_decode(encoded) == data


@given(st.binary(max_size=64))
def test_both_codecs_decode_the_same_bytes_and_refuse_the_same(data):
    results = []
    for decode in (pure_cobs_decode, cobs_decode):
        try:
            results.append(decode(data))
        except RemoteProtocolError:
            results.append(None)
    assert results[0] == results[1]


@pytest.mark.parametrize("bad", [b"", b"\x02\x00", b"\x05abc", b"\xff" + b"a" * 253])
def test_cobs_refuses_what_no_encoder_makes(codec, bad):
    with pytest.raises(RemoteProtocolError):
        codec[1](bad)


@given(frames)
def test_a_frame_comes_back_whole(frame):
    assert FrameDecoder().feed(encode_frame(frame)) == [frame]


@given(frames, frames)
def test_frames_come_back_byte_by_byte(first, second):
    decoder, found = FrameDecoder(), []
    for byte in encode_frame(first) + encode_frame(second):
        found += decoder.feed(bytes([byte]))
    assert found == [first, second]


def test_frames_come_back_from_every_split():
    data = encode_frame(FRAME) + encode_frame(FRAME._replace(sequence=100))
    for cut in range(len(data) + 1):
        decoder = FrameDecoder()
        found = decoder.feed(data[:cut]) + decoder.feed(data[cut:])
        assert found == [FRAME, FRAME._replace(sequence=100)], cut


@given(st.binary(max_size=300))
def test_junk_before_and_behind_costs_no_delimited_frame(junk):
    found = FrameDecoder().feed(junk + b"\x00" + encode_frame(FRAME) + junk)
    assert FRAME in found
    assert all(isinstance(f, RemoteProtocolError) or f == FRAME for f in found)


def test_zeros_in_a_row_are_nothing():
    assert FrameDecoder().feed(bytes(100)) == []


def test_no_flipped_bit_gives_another_frame():
    data = encode_frame(FRAME)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        found = FrameDecoder().feed(bytes(broken) + b"\x00")
        assert found
        assert all(isinstance(f, RemoteProtocolError) for f in found), bit


def test_no_lost_byte_gives_another_frame():
    data = encode_frame(FRAME)
    for at in range(len(data)):
        found = FrameDecoder().feed(data[:at] + data[at + 1 :] + b"\x00")
        assert all(isinstance(f, RemoteProtocolError) for f in found) or at == len(data) - 1


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_garbage_gives_errors_or_nothing_and_the_next_frame_is_whole(pieces):
    decoder = FrameDecoder()
    for piece in pieces:
        assert all(isinstance(f, RemoteProtocolError) for f in decoder.feed(piece))
    assert decoder.feed(b"\x00" + encode_frame(FRAME))[-1] == FRAME


def test_a_line_without_delimiters_is_one_error_and_bounded_memory():
    decoder = FrameDecoder()
    found = [e for _ in range(100) for e in decoder.feed(b"boot text " * 1000)]
    assert len(found) == 1
    assert sum(map(len, decoder._parts)) < MAX_FRAME_BYTES
    assert decoder.feed(b"tail\x00" + encode_frame(FRAME)) == [FRAME]


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\xff"])
def test_the_longest_payload_fits_the_longest_frame(byte):
    frame = FRAME._replace(payload=byte * MAX_PAYLOAD_BYTES)
    data = encode_frame(frame)
    assert len(data) <= MAX_FRAME_BYTES
    assert FrameDecoder().feed(data) == [frame]
    with pytest.raises(LocalProtocolError, match="in pieces"):
        encode_frame(frame._replace(payload=frame.payload + b"x"))


@pytest.mark.parametrize(
    "field", [{"opcode": 256}, {"epoch": -1}, {"core": 65536}, {"sequence": 1 << 32}]
)
def test_a_header_field_that_does_not_fit_is_refused(field):
    with pytest.raises(LocalProtocolError, match="does not fit"):
        encode_frame(FRAME._replace(**field))


def test_reserved_kinds_and_flags_are_refused():
    raw = cobs_decode(encode_frame(FRAME)[:-1])[:-4]
    for first in range(256):
        body = bytes([first]) + raw[1:]
        data = cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\x00"
        (found,) = FrameDecoder().feed(data)
        known = first >> 5 in (0, 1, 2, 3) and first & 0x1F <= 15
        assert isinstance(found, Frame) == known, first


def test_a_frame_shorter_than_its_header_is_refused():
    (found,) = FrameDecoder().feed(cobs_encode(b"short") + b"\x00")
    assert isinstance(found, RemoteProtocolError)


def test_framing_costs_time_in_proportion_to_the_bytes():
    """One-byte codes, the usual payload: well above any serial or full-speed USB link."""
    data = bytes(1 + k % 255 for k in range(8000)) * 25
    began = time.perf_counter()
    for start in range(0, len(data), 8000):
        assert cobs_decode(cobs_encode(data[start : start + 8000])) == data[start : start + 8000]
    assert len(data) / (time.perf_counter() - began) > 5e6
