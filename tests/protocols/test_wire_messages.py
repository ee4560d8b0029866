"""Messages: golden vectors, every type there and back, every malformed body refused."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire import messages
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.fields import FLAG, Array, Blob, Codes, Fixed, Maybe, Text
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind, encode_frame
from protocols.wire.layout import Layout
from protocols.wire.messages import (
    REPLIES,
    REQUESTS,
    Message,
    decode_body,
    encode_body,
    opcode_of,
)

VECTORS = json.loads((Path(wire.__path__[0]) / "vectors.json").read_text(encoding="utf-8"))
BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}
TABLES = {Kind.REQUEST: REQUESTS, Kind.REPLY: REPLIES, Kind.EVENT: messages.EVENTS}


def codec_of(kind: type[Message]) -> dict[str, Any]:
    return Layout(kind).codecs


def values_of(codec: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one line a codec
    match codec:
        case Fixed(format="d"):
            return st.floats(allow_nan=False, allow_infinity=False)
        case Fixed(format="32s"):
            return st.binary(min_size=32, max_size=32)
        case Fixed(format="i"):
            return st.integers(-(2**31), 2**31 - 1)
        case Fixed(members=members) if members is not None:
            return st.sampled_from(members)
        case Fixed() if codec is FLAG:
            return st.booleans()
        case Fixed():
            return st.integers(0, 2 ** BITS[codec.format] - 1)
        case Maybe():
            return st.none() | values_of(codec.inner)
        case Text():
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        case Blob():
            return st.binary(max_size=20)
        case Array():
            return st.sampled_from([1, 2, 4]).flatmap(
                lambda size: st.integers(0, 5).flatmap(
                    lambda n: st.binary(min_size=n * size, max_size=n * size).map(
                        lambda data: Codes(item_bytes=size, data=data)
                    )
                )
            )
    raise AssertionError(codec)


def message_strategy(table: dict[int, type[Message]]) -> st.SearchStrategy[Message]:
    return st.sampled_from(list(table.values())).flatmap(
        lambda kind: st.builds(kind, **{k: values_of(c) for k, c in codec_of(kind).items()})
    )


def from_json(codec: Any, value: Any) -> Any:
    match codec, value:
        case Maybe(), _:
            return None if value is None else from_json(codec.inner, value)
        case Fixed(members=members), str() if members is not None:
            return members[value]
        case _, {"hex": digits}:
            return bytes.fromhex(digits)
        case Array(), _:
            size = value["item_bytes"]
            items = [v.to_bytes(size, "little", signed=True) for v in value["values"]]
            return Codes(item_bytes=size, data=b"".join(items))
    return value


def golden(vector: dict[str, Any]) -> tuple[Message, Frame]:
    kind = getattr(messages, vector["message"])
    codecs = codec_of(kind)
    message = kind(**{k: from_json(codecs[k], v) for k, v in vector["fields"].items()})
    frame = Frame(
        kind=Kind[vector["kind"]],
        flags=vector["flags"],
        opcode=opcode_of(message),
        epoch=vector["epoch"],
        core=vector["core"],
        sequence=vector["sequence"],
        credit=vector["credit"],
        payload=bytes.fromhex(vector["body"]),
    )
    return message, frame


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["name"])
def test_a_golden_frame_is_made_and_understood(vector):
    message, frame = golden(vector)
    assert encode_body(message).hex() == vector["body"]
    assert encode_frame(frame).hex() == vector["frame"]
    assert FrameDecoder().feed(bytes.fromhex(vector["frame"])) == [frame]
    assert decode_body(TABLES[frame.kind], frame.opcode, frame.payload) == message
    mutating = frame.kind is Kind.REQUEST and frame.opcode in messages.MUTATING
    urgent = frame.kind is not Kind.EVENT and frame.opcode in messages.URGENT
    assert bool(frame.flags & Flags.MUTATING) == mutating
    assert bool(frame.flags & Flags.URGENT) == urgent


def test_every_message_has_a_golden_frame():
    named = {v["message"] for v in VECTORS["messages"]}
    assert named == {k.__name__ for table in TABLES.values() for k in table.values()}


def test_every_request_has_the_reply_of_its_name_and_opcode():
    for opcode, kind in REQUESTS.items():
        assert REPLIES[opcode].__name__ == kind.__name__.replace("Request", "Reply")
    assert set(REPLIES) == {*REQUESTS, messages.ERROR_OPCODE}


@given(st.data(), st.sampled_from(list(TABLES.values())))
def test_a_message_comes_back(data, table):
    message = data.draw(message_strategy(table))
    assert decode_body(table, opcode_of(message), encode_body(message)) == message


@given(st.data(), st.sampled_from(list(TABLES.values())))
def test_a_body_too_short_or_too_long_is_refused(data, table):
    message = data.draw(message_strategy(table))
    body = encode_body(message)
    cut = data.draw(st.integers(0, max(len(body) - 1, 0)))
    for bad in ([body[:cut]] if body else []) + [body + b"\x00"]:
        with pytest.raises(RemoteProtocolError):
            decode_body(table, opcode_of(message), bad)


@given(st.sampled_from(list(TABLES.values())), st.integers(0, 255), st.binary(max_size=80))
def test_any_body_is_refused_or_is_the_one_encoding_of_a_message(table, opcode, body):
    try:
        message = decode_body(table, opcode, body)
    except RemoteProtocolError:
        return
    assert encode_body(message) == body


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_never_crosses(value):
    with pytest.raises(LocalProtocolError, match=r"seconds.*not finite"):
        encode_body(messages.WaitRequest(seconds=value))
    with pytest.raises(RemoteProtocolError, match="not finite"):
        decode_body(REQUESTS, 0x30, struct.pack("<d", value))


@pytest.mark.parametrize("field", [{"averages": 2**32}, {"averages": -1}, {"averages": 1.5}])
def test_a_value_that_does_not_fit_its_field_is_refused(field):
    codes = Codes(item_bytes=1, data=b"")
    request = messages.ReadRequest(averages=1, device=codes, rows=codes, cols=codes)
    with pytest.raises(LocalProtocolError, match=r"ReadRequest\.averages"):
        encode_body(replace(request, **field))


def test_a_digest_has_32_bytes_and_a_word_is_a_member():
    hello = golden(next(v for v in VECTORS["messages"] if v["name"] == "hello_reply"))[0]
    with pytest.raises(LocalProtocolError, match="no SHA-256"):
        encode_body(replace(hello, capabilities_sha256=b"short"))
    reply = messages.ProgramReply(outcome=9, pulses=0, at_s=0.0)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="9 is no Outcome"):
        encode_body(reply)


def test_a_flag_is_0_or_1():
    body = encode_body(
        messages.LockReply(granted=True, token=1, holder="", last_mutation=0),
    )
    with pytest.raises(RemoteProtocolError, match="2 is neither 0 nor 1"):
        decode_body(REPLIES, 0x03, b"\x02" + body[1:])


@pytest.mark.parametrize(("size", "data"), [(3, b""), (0, b""), (2, b"abc"), (4, b"ab")])
def test_an_array_holds_whole_integers_of_1_2_or_4_bytes(size, data):
    with pytest.raises(LocalProtocolError, match="no array"):
        Codes(item_bytes=size, data=data)


def test_an_announced_length_is_never_allocated_before_the_bytes_are_there():
    with pytest.raises(RemoteProtocolError, match="are announced"):
        Array().read(b"\x04\xff\xff\xff\xff", 0)
    with pytest.raises(RemoteProtocolError, match="none of"):
        Array().read(b"\x03\x00\x00\x00\x00", 0)


def test_a_text_that_is_no_utf8_is_refused_and_a_lone_surrogate_replaced():
    with pytest.raises(RemoteProtocolError, match="no UTF-8"):
        Text().read(b"\x01\x00\x00\x00\xff", 0)
    out: list[bytes] = []
    Text().write("a\ud800b", out)
    assert Text().read(b"".join(out), 0)[0] == "a?b"


def test_an_unknown_word_is_refused():
    with pytest.raises(RemoteProtocolError, match="9 is no Outcome"):
        decode_body(REPLIES, 0x10, b"\x09" + bytes(16))
    with pytest.raises(RemoteProtocolError, match="opcode 0x77 is unknown"):
        decode_body(REQUESTS, 0x77, b"")
