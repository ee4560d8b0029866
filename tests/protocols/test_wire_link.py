"""Link: each request executes once, each reply reaches its request, whatever the line does."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire import link as link_module
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import MAX_PAYLOAD_BYTES, Flags, Frame, Kind, encode_frame
from protocols.wire.link import (
    MAX_OBJECT_BYTES,
    Assembler,
    DeviceLink,
    HostLink,
    Incoming,
    Reply,
    encode_object,
)
from protocols.wire.messages import (
    CapabilitiesReply,
    CapabilitiesRequest,
    HelloReply,
    HelloRequest,
    NowReply,
    NowRequest,
    SafeStateReply,
    WaitReply,
    WaitRequest,
)

VECTORS = json.loads((Path(wire.__path__[0]) / "vectors.json").read_text(encoding="utf-8"))
HEAD = Frame(kind=Kind.REPLY, opcode=0x02, epoch=1, core=0, sequence=5)
HELLO = HelloRequest(lowest_version=1, highest_version=1, session=3)


def pieces(body: bytes) -> list[bytes]:
    return [p + b"\x00" for p in encode_object(replace(HEAD, payload=body)).split(b"\x00")[:-1]]


def opened() -> tuple[HostLink, DeviceLink]:
    host, device = HostLink(), DeviceLink()
    _, data = host.request(0, HELLO)
    (hello,) = device.receive(data)
    epoch = device.begin(hello)
    answer = device.reply(hello, HelloReply(version=1, epoch=epoch, session=3, boot=1))
    (reply,) = host.receive(answer)
    assert isinstance(reply.message, HelloReply)
    host.epoch = reply.message.epoch
    return host, device


def serve(device: DeviceLink, data: bytes, executed: list[object]) -> bytes:
    """Answer requests the way a device does: from the cache, or by executing once."""
    out = b""
    for incoming in device.receive(data):
        if incoming.cached is None:
            executed.append(incoming.message)
            out += device.reply(incoming, NowReply(now_s=float(len(executed))))
        else:
            out += incoming.cached
    return out


@given(st.integers(0, 3 * MAX_PAYLOAD_BYTES), st.integers(1, 9000), st.integers(0, 255))
def test_an_object_of_any_size_comes_back_from_any_split(size, step, fill):
    body = (bytes(range(256)) * (size // 256 + 1))[fill:][:size]
    data, assembler, found = encode_object(replace(HEAD, payload=body)), Assembler(), []
    for start in range(0, len(data), step):
        found += assembler.feed(data[start : start + step])
    assert found == [replace(HEAD, payload=body)]


@pytest.mark.parametrize("vector", VECTORS["objects"], ids=lambda v: v["pattern"])
def test_a_golden_object_is_chunked_to_the_byte(vector):
    head = Frame(
        kind=Kind.REQUEST,
        opcode=vector["opcode"],
        epoch=vector["epoch"],
        core=vector["core"],
        sequence=vector["sequence"],
        payload=bytes.fromhex(vector["pattern"]) * vector["repeat"],
    )
    data = encode_object(head)
    assert (data.count(0), len(data)) == (vector["frames"], vector["bytes"])
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert Assembler().feed(data) == [head]


def test_pieces_lost_doubled_or_swapped_give_no_object_and_the_next_is_whole():
    body = bytes(range(256)) * 150
    parts = pieces(body)
    assert len(parts) == 5
    whole = [replace(HEAD, payload=body)]
    last = len(parts) - 1
    for k in range(len(parts)):
        lost = parts[:k] + parts[k + 1 :]
        doubled = parts[: k + 1] + parts[k:]
        swapped = parts[:k] + parts[k : k + 2][::-1] + parts[k + 2 :]
        for damaged in (lost, doubled, swapped):
            if damaged == parts:
                continue
            assembler = Assembler()
            found = [f for f in assembler.feed(b"".join(damaged)) if isinstance(f, Frame)]
            # The first piece twice begins anew; the last one twice comes after the whole.
            harmless = damaged is doubled and k in (0, last)
            assert found == (whole if harmless else [])
            assert assembler.feed(b"".join(parts)) == whole


def test_an_object_is_dropped_when_another_frame_comes_between():
    parts, small = pieces(bytes(20_000)), replace(HEAD, payload=b"small")
    assembler = Assembler()
    assert assembler.feed(parts[0] + encode_frame(small)) == [small]
    assert all(isinstance(f, RemoteProtocolError) for f in assembler.feed(b"".join(parts[1:])))


def test_pieces_of_two_objects_are_never_joined():
    mine, other = pieces(bytes(20_000)), replace(HEAD, sequence=6, payload=bytes(20_000))
    foreign = [p + b"\x00" for p in encode_object(other).split(b"\x00")[:-1]]
    found = Assembler().feed(mine[0] + foreign[1] + mine[2])
    assert found
    assert all(isinstance(f, RemoteProtocolError) for f in found)


def crafted(offset: int, total: int, data: bytes, flags: Flags = Flags.CHUNK) -> bytes:
    payload = struct.pack("<II", offset, total) + data
    return encode_frame(replace(HEAD, flags=flags, payload=payload))


@pytest.mark.parametrize(
    "data",
    [
        crafted(0, 4, b"abcd" + bytes(32), Flags.CHUNK | Flags.LAST),  # wrong digest
        crafted(0, 4, b"abcd"),  # complete, but not marked as the last piece
        crafted(0, 2, b"abcd"),  # more than announced
        crafted(0, 9, b"abcd" + bytes(32), Flags.CHUNK | Flags.LAST),  # less than announced
        crafted(0, MAX_OBJECT_BYTES + 1, b"abcd") + crafted(4, 5, b"e"),  # total changes
        crafted(4, 8, b"abcd"),  # begins in the middle
        crafted(0, 0, b""),  # no data
        encode_frame(replace(HEAD, flags=Flags.CHUNK, payload=b"abc")),  # no piece header
        encode_frame(replace(HEAD, flags=Flags.LAST)),  # last piece of nothing
    ],
)
def test_lying_pieces_are_refused(data):
    found = Assembler().feed(data)
    assert found
    assert all(isinstance(f, RemoteProtocolError) for f in found)


def test_an_object_is_kept_only_up_to_the_limit(monkeypatch):
    monkeypatch.setattr(link_module, "MAX_OBJECT_BYTES", 10_000)
    with pytest.raises(LocalProtocolError, match="larger than 10000"):
        encode_object(replace(HEAD, payload=bytes(10_001)))
    assembler = Assembler()
    found = assembler.feed(crafted(0, 50_000, bytes(6000)) + crafted(6000, 50_000, bytes(6000)))
    assert [type(f) for f in found] == [RemoteProtocolError]
    assert assembler._data == b""


def test_a_request_is_answered_and_the_numbers_rise():
    host, device = opened()
    executed: list[object] = []
    for k in range(3):
        sequence, data = host.request(2, WaitRequest(seconds=float(k)))
        (reply,) = host.receive(
            b"".join(
                device.reply(i, WaitReply(now_s=1.0)) for i in device.receive(data) if i.core == 2
            )
        )
        assert reply == Reply(sequence=sequence, message=WaitReply(now_s=1.0))
        executed.append(sequence)
    assert executed == [2, 3, 4]


def test_a_repeated_request_is_answered_from_the_cache_and_executed_once():
    host, device = opened()
    executed: list[object] = []
    _, data = host.request(0, WaitRequest(seconds=1.0))
    first, again = serve(device, data, executed), serve(device, data, executed)
    assert first == again != b""
    assert executed == [WaitRequest(seconds=1.0)]
    assert len(host.receive(first + again)) == 1
    assert host.dropped == 1


def test_an_older_request_is_dropped_not_executed():
    host, device = opened()
    executed: list[object] = []
    _, old = host.request(0, WaitRequest(seconds=1.0))
    _, new = host.request(0, NowRequest())
    serve(device, old + new, executed)
    assert serve(device, old, executed) == b""
    assert len(executed) == 2
    assert device.dropped == 1


def test_before_hello_and_from_an_older_epoch_nothing_is_executed():
    host, device = HostLink(), DeviceLink()
    executed: list[object] = []
    for epoch in (0, 1, 9):
        host.epoch = epoch
        assert serve(device, host.request(0, NowRequest())[1], executed) == b""
    _, fresh = opened()
    (hello,) = fresh.receive(HostLink().request(0, HELLO)[1])
    fresh.begin(hello)
    host.epoch = 1
    assert serve(fresh, host.request(0, NowRequest())[1], executed) == b""
    assert executed == []


def test_epochs_wrap_past_the_last_and_never_are_zero():
    device = DeviceLink()
    (hello,) = device.receive(HostLink().request(0, HELLO)[1])
    device.epoch = 0xFFFF
    assert device.begin(hello) == 1


def test_sequence_numbers_wrap():
    host, device = opened()
    executed: list[object] = []
    host._sequence = device._sequence = (1 << 32) - 2
    for _ in range(4):
        assert host.receive(serve(device, host.request(0, NowRequest())[1], executed))
    assert len(executed) == 4


def test_a_late_reply_reaches_no_other_request():
    host, device = opened()
    first, data = host.request(0, NowRequest())
    (incoming,) = device.receive(data)
    late = device.reply(incoming, NowReply(now_s=1.0))
    host.epoch = 2  # the host has begun another session meanwhile
    second, _ = host.request(0, NowRequest())
    assert [r.sequence for r in host.receive(late)] == [first]
    assert host.receive(late) == []
    assert second not in {first}


@pytest.mark.parametrize("change", [{"epoch": 9}, {"core": 1}, {"kind": Kind.REQUEST}])
def test_a_reply_of_another_session_core_or_kind_is_dropped(change):
    host, device = opened()
    _, data = host.request(0, NowRequest())
    (incoming,) = device.receive(data)
    head = replace(incoming.head, kind=Kind.REPLY, payload=struct.pack("<d", 1.0))
    assert host.receive(encode_frame(replace(head, **change))) == []
    assert len(host.receive(encode_frame(head))) == 1


def test_a_reply_of_another_verb_or_a_malformed_one_is_the_peers_error():
    host, device = opened()
    for payload, opcode in ((b"", 0x40), (b"short", 0x31)):
        _, data = host.request(0, NowRequest())
        (incoming,) = device.receive(data)
        head = replace(incoming.head, kind=Kind.REPLY, payload=payload, opcode=opcode)
        (reply,) = host.receive(encode_frame(head))
        assert isinstance(reply.message, RemoteProtocolError)


def test_a_malformed_request_is_handed_out_to_be_refused():
    host, device = opened()
    _, data = host.request(0, NowRequest())
    head = Frame(kind=Kind.REQUEST, opcode=0x30, epoch=1, core=0, sequence=2, payload=b"?")
    (incoming,) = device.receive(encode_frame(head))
    assert isinstance(incoming, Incoming)
    assert isinstance(incoming.message, RemoteProtocolError)
    assert data


def test_a_device_ignores_replies_and_noise():
    _, device = opened()
    assert device.receive(encode_frame(HEAD) + b"noise\x00") == []
    assert device.dropped == 2


def test_a_request_that_cannot_be_encoded_is_not_registered():
    host, _ = opened()
    with pytest.raises(LocalProtocolError):
        host.request(0, WaitRequest(seconds=float("nan")))
    assert host._open == {}


def test_noise_before_hello_costs_nothing():
    _, data = HostLink().request(0, HELLO)
    (incoming,) = DeviceLink().receive(b"half a frame" + data)
    assert incoming.message == HELLO


def test_a_large_reply_comes_back_in_one_piece():
    host, device = opened()
    _, data = host.request(0, CapabilitiesRequest())
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, CapabilitiesReply(json=b"[0]" * 10_000))
    assert answer.count(0) > 1
    (reply,) = host.receive(answer)
    assert reply.message == CapabilitiesReply(json=b"[0]" * 10_000)
    assert device.reply(incoming, SafeStateReply()) != answer
