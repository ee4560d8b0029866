"""Session: what is urgent, events, HELLO, epochs, and how sessions end, example by example."""

from __future__ import annotations

from itertools import pairwise

import pytest

from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind, encode_frame
from protocols.wire.link import DeviceLink, DeviceState, Event, HostLink, HostState, Reply
from protocols.wire.link_states import DEVICE_TABLE, HOST_TABLE, Step

WINDOW = 4


def ask_now(host: HostLink) -> bytes:
    return host.request(0, wire.NowRequest())[1]


def frames(data: bytes) -> list[Frame]:
    found = FrameDecoder().feed(data)
    assert all(isinstance(f, Frame) for f in found)
    return found  # type: ignore[return-value]


def urgent_stop(host: HostLink, core: int = 0) -> tuple[int, bytes]:
    return host.request(core, wire.SafeStateRequest())


@pytest.mark.parametrize("state", ["closed", "another session", "open", "window full", "lost"])
def test_safe_state_is_taken_at_any_time(opened, state):
    host, device = opened()
    if state in {"closed", "another session"}:
        host = HostLink()
    if state == "closed":
        device = DeviceLink()
    for _ in range(WINDOW if state == "window full" else 0):
        ask_now(host)
    if state == "lost":
        host.forget()
    sequence, data = urgent_stop(host, wire.ALL_CORES)
    (incoming,) = device.receive(b"half a fra" + data)
    assert (incoming.urgent, incoming.core) == (True, wire.ALL_CORES)
    (reply,) = host.receive(device.reply(incoming, wire.SafeStateReply()))
    assert reply == Reply(sequence, wire.ALL_CORES, wire.SafeStateReply())


def test_safe_state_comes_before_the_requests_that_arrived_with_it(opened):
    host, device = opened()
    data = ask_now(host) + urgent_stop(host)[1]
    assert [i.urgent for i in device.receive(data)] == [True, False]


def test_urgent_replies_and_others_are_never_mixed_up(opened):
    host, device = opened()
    _, data = urgent_stop(host)
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, wire.SafeStateReply())
    assert len(host.receive(answer + answer)) == 1
    assert (host.dropped, host.open_sequences, device._replies) == (1, (), {})
    ask_now(host)
    (frame,) = frames(answer)
    assert host.receive(encode_frame(frame._replace(flags=Flags.NONE))) == []


def test_only_so_many_urgent_requests_are_remembered(opened):
    host, _ = opened()
    for _ in range(1000):
        urgent_stop(host)
    assert len(host._urgent) <= 64


def test_events_come_once_and_in_order_and_boot_whenever(opened):
    host, device = opened()
    hot = wire.TemperatureEvent(temperature_kelvin=351.0, text="hot")
    first, second = device.event(1, hot), device.event(0, wire.SafeEvent(text="rail"))
    found = host.receive(first + first + second + first)
    assert found == [
        Event(1, device.epoch, hot),
        Event(0, device.epoch, wire.SafeEvent(text="rail")),
    ]
    boot = wire.BootEvent(boot=2, text="power-on")
    assert host.receive(DeviceLink().event(0, boot)) == [Event(0, 0, boot)]
    foreign = frames(first)[0]._replace(epoch=host.epoch + 1)
    assert host.receive(encode_frame(foreign)) == []


def test_a_repeated_hello_is_answered_again_and_an_older_one_is_dropped(hello, hello_reply):
    host, device = HostLink(), DeviceLink()
    _, old = host.request(0, hello(1))
    (incoming,) = device.receive(old)
    device.reply(incoming, hello_reply(device.begin(incoming)))
    _, data = host.request(0, hello(2))
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, hello_reply(device.begin(incoming)))
    assert device.receive(data) == []
    assert device.take_output() == answer
    assert host.resend() == frames_bytes(data)
    epoch = device.epoch
    assert device.receive(old) == []
    assert (device.take_output(), device.epoch, device.dropped) == (b"", epoch, 1)


def frames_bytes(data: bytes) -> bytes:
    return data.lstrip(b"\x00")


def test_a_hello_that_comes_twice_at_once_begins_one_session(hello, hello_reply):
    device = DeviceLink()
    _, data = HostLink().request(0, hello())
    (incoming,) = device.receive(data + data)
    answer = device.reply(incoming, hello_reply(device.begin(incoming)))
    assert device.receive(data) == []
    assert device.take_output() == answer


def test_a_session_ends_the_one_before(hello, opened, serve):
    host, device = opened()
    stale = ask_now(host)
    _, data = host.request(0, hello(4))
    (incoming,) = device.receive(data)
    assert device.begin(incoming) != 0
    assert serve(device, stale, executed := []) == b""
    assert executed == []


def test_sessions_whose_number_is_0_open_like_any_other(hello):
    device = DeviceLink()
    (incoming,) = device.receive(HostLink().request(0, hello(0))[1])
    assert device.begin(incoming) != 0


def test_an_epoch_is_never_zero_nor_the_last_one(hello):
    device = DeviceLink()
    seen = [0]
    for session in (0, 0, 65_535, 65_534, 1, 65_535, 65_536 - 2):
        (incoming,) = device.receive(HostLink().request(0, hello(session))[1]) or [None]
        if incoming is not None:
            seen.append(device.begin(incoming))
        device.end()
    assert 0 not in seen[1:]
    assert all(a != b for a, b in pairwise(seen))


def test_after_giving_up_late_replies_are_dropped_and_only_hello_helps(hello, opened, serve):
    host, device = opened()
    late = serve(device, ask_now(host), [])
    host.forget()
    assert host.receive(late) == []
    assert (host.dropped, host.free) == (1, 0)
    with pytest.raises(LocalProtocolError, match="no session is open: the link is LOST"):
        ask_now(host)
    host.request(0, hello(9))
    assert host.state is HostState.HELLO_SENT


def test_a_closed_stream_takes_nothing_but_hello_and_what_is_urgent(hello, opened, serve):
    host, device = opened()
    device.end()
    assert device.state is DeviceState.IDLE
    assert serve(device, ask_now(host), []) == b""
    assert len(device.receive(urgent_stop(host)[1])) == 1
    assert len(device.receive(HostLink().request(0, hello(5))[1])) == 1


def test_the_tables_answer_every_state_that_a_step_may_meet(hello_reply):
    assert {s for s, _ in HOST_TABLE} | set(HOST_TABLE.values()) == set(HostState)
    assert {s for s, _ in DEVICE_TABLE} | set(DEVICE_TABLE.values()) == set(DeviceState)
    with pytest.raises(LocalProtocolError, match="BEGIN is not for a link that is CLOSED"):
        HostLink().begin(hello_reply(1))
    assert (DeviceState.IDLE, Step.FORGET) not in DEVICE_TABLE


@pytest.mark.parametrize("flags", [Flags.NONE, Flags.MUTATING])
def test_the_flag_of_a_mutation_must_say_what_the_opcode_says(opened, flags):
    host, device = opened()
    opcode = 0x31 if flags else 0x20
    frame = Frame(Kind.REQUEST, flags, opcode, host.epoch, 0, 2, 1, b"")
    (incoming,) = device.receive(encode_frame(frame))
    assert isinstance(incoming.message, RemoteProtocolError)
    assert "mutation" in str(incoming.message)
