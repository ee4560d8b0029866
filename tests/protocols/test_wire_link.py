"""Link: the window, the reply cache, what is urgent, and the session, example by example."""

from __future__ import annotations

from itertools import pairwise

import pytest

from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError, WindowFullError
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind, encode_frame
from protocols.wire.link import DeviceLink, DeviceState, Event, HostLink, HostState, Reply
from protocols.wire.link_states import DEVICE_TABLE, HOST_TABLE, Step

WINDOW = 4


def hello(session: int = 3) -> wire.HelloRequest:
    return wire.HelloRequest(lowest_version=2, highest_version=2, session=session, holder="ada")


def hello_reply(epoch: int, **changes: int) -> wire.HelloReply:
    values = {"window": WINDOW, "max_object_bytes": 1 << 20, "last_mutation": 0, **changes}
    return wire.HelloReply(
        version=2, epoch=epoch, session=3, boot=1, capabilities_sha256=bytes(32), **values
    )


def opened(**changes: int) -> tuple[HostLink, DeviceLink]:
    host, device = HostLink(), DeviceLink(window=WINDOW, max_object_bytes=1 << 20)
    _, data = host.request(0, hello())
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, hello_reply(device.begin(incoming), **changes))
    (reply,) = host.receive(answer)
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, wire.HelloReply)
    host.begin(reply.message)
    return host, device


def serve(device: DeviceLink, data: bytes, executed: list[object]) -> bytes:
    """Execute what is due and answer it; a NOW tells how many were executed."""
    out = []
    for incoming in device.receive(data):
        executed.append(incoming.message)
        out.append(device.reply(incoming, wire.NowReply(now_s=float(len(executed)))))
    return b"".join((device.take_output(), *out))


def ask_now(host: HostLink) -> bytes:
    return host.request(0, wire.NowRequest())[1]


def times(replies: list[Reply | Event]) -> list[object]:
    return [r.message.now_s for r in replies if isinstance(r.message, wire.NowReply)]


def frames(data: bytes) -> list[Frame]:
    found = FrameDecoder().feed(data)
    assert all(isinstance(f, Frame) for f in found)
    return found  # type: ignore[return-value]


def test_as_many_requests_as_the_window_holds_are_open_and_no_more():
    host, device = opened()
    executed: list[object] = []
    data = [ask_now(host) for _ in range(WINDOW)]
    assert host.free == 0
    with pytest.raises(WindowFullError, match="4 requests are open, 4 are taken"):
        ask_now(host)
    assert times(host.receive(serve(device, b"".join(data), executed))) == [1.0, 2.0, 3.0, 4.0]
    assert host.free == WINDOW


def test_the_window_begins_behind_the_oldest_open_request():
    host, device = opened()
    data = [ask_now(host) for _ in range(3)]
    answers = serve(device, b"".join(data), []).split(b"\x00")
    host.receive(answers[1] + b"\x00" + answers[2] + b"\x00")
    assert (host.free, len(host.open_sequences)) == (1, 1)


@pytest.mark.parametrize(("told", "taken"), [(0, 1), (1, 1), (64, 64), (65_535, 64)])
def test_an_advertised_window_is_bounded(told, taken):
    assert opened(window=told)[0].window == taken


def test_a_shut_window_is_opened_by_a_grant_or_tried_after_a_while():
    host, device = opened()
    host.receive(device.grant(0))
    assert host.free == 0
    with pytest.raises(WindowFullError):
        ask_now(host)
    host.receive(device.grant(2))
    assert host.free == 2
    host.receive(device.grant(0))
    host.resend()
    assert host.free == 1


def test_a_request_beyond_the_window_is_not_executed_until_it_is_open():
    host, device = opened()
    executed: list[object] = []
    device.grant(0)
    data = ask_now(host)
    assert serve(device, data, executed) == b""
    assert (executed, device.dropped) == ([], 1)
    device.grant(1)
    assert times(host.receive(serve(device, host.resend(), executed))) == [1.0]


def test_a_repeated_request_is_answered_by_the_same_bytes_and_executed_once():
    host, device = opened()
    executed: list[object] = []
    data = ask_now(host)
    first, again = serve(device, data, executed), serve(device, data, executed)
    assert first == again != b""
    assert len(executed) == 1
    assert len(host.receive(first + again)) == 1
    assert host.dropped == 1


def test_a_request_that_is_being_executed_is_not_executed_again():
    host, device = opened()
    data = ask_now(host)
    assert len(device.receive(data)) == 1
    assert device.receive(data + host.resend()) == []
    assert device.take_output() == b""


def test_replies_are_forgotten_once_they_are_acknowledged():
    host, device = opened()
    executed: list[object] = []
    first = ask_now(host)
    host.receive(serve(device, first, executed))
    assert len(device._replies) == 1
    host.receive(serve(device, ask_now(host), executed))
    assert len(device._replies) == 1
    assert serve(device, first, executed) == b""
    assert len(executed) == 2


def test_a_lost_request_is_asked_for_and_those_behind_it_wait():
    host, device = opened()
    executed: list[object] = []
    data = [ask_now(host) for _ in range(3)]
    (want,) = frames(serve(device, data[1] + data[2], executed))
    assert (want.kind, want.opcode, want.sequence, executed) == (Kind.CREDIT, 1, 2, [])
    assert host.receive(encode_frame(want)) == []
    assert times(host.receive(serve(device, host.take_output(), executed))) == [1.0, 2.0, 3.0]


def test_a_lost_reply_is_asked_for():
    host, device = opened()
    executed: list[object] = []
    answers = frames(serve(device, ask_now(host) + ask_now(host), executed))
    assert times(host.receive(encode_frame(answers[1]))) == [2.0]
    assert times(host.receive(serve(device, host.take_output(), executed))) == [1.0]
    assert len(executed) == 2


def test_only_the_missing_piece_of_a_request_crosses_again():
    host, device = opened()
    message = wire.ScpiRequest(text="x" * 50_000)
    parts = host.request(0, message)[1].split(b"\x00")[:-1]
    del parts[2]
    assert device.receive(b"\x00".join(parts) + b"\x00") == []
    host.receive(device.take_output())
    repeated = host.take_output()
    assert repeated.count(0) == 1
    assert [i.message for i in device.receive(repeated)] == [message]


def test_only_the_missing_piece_of_a_reply_crosses_again():
    host, device = opened()
    (incoming,) = device.receive(ask_now(host))
    answer = wire.CapabilitiesReply(json=bytes(50_000))
    parts = device.reply(incoming, answer).split(b"\x00")[:-1]
    head = frames(parts[0] + b"\x00")[0]
    assert head.flags == Flags.PIECE
    assert host.receive(b"\x00".join(parts[:3] + parts[4:]) + b"\x00") == []
    assert device.receive(host.take_output()) == []
    repeated = device.take_output()
    assert repeated.count(0) == 1
    (reply,) = host.receive(repeated)
    assert isinstance(reply.message, RemoteProtocolError)  # capabilities do not answer NOW


def test_after_a_while_the_last_piece_finds_out_what_is_missing():
    host, device = opened()
    message = wire.ScpiRequest(text="x" * 50_000)
    sent = host.request(0, message)[1]
    assert device.receive(sent[:9000]) == []
    assert device.receive(b"\x00" + host.resend()) == []
    host.receive(device.take_output())
    assert [i.message for i in device.receive(host.take_output())] == [message]


def test_after_a_while_the_rest_of_a_reply_is_asked_for():
    host, device = opened()
    sent = host.request(0, wire.CapabilitiesRequest())[1]
    (incoming,) = device.receive(sent)
    answer = wire.CapabilitiesReply(json=bytes(50_000))
    host.receive(device.reply(incoming, answer)[:20_000])
    assert device.receive(host.resend()) == []
    (reply,) = host.receive(b"\x00" + device.take_output())
    assert reply.message == answer


def test_a_request_that_the_driver_skips_is_not_repeated():
    host, _ = opened()
    first, data = host.request(0, wire.NowRequest())
    _, second = host.request(0, wire.NowRequest())
    assert host.resend() == data + second
    assert host.resend(skip={first}) == second


def test_the_bytes_of_open_requests_stay_within_the_buffer_of_the_device():
    host, _ = opened(max_object_bytes=20_000)
    with pytest.raises(LocalProtocolError, match="larger than the 20000 that the device takes"):
        host.request(0, wire.ScpiRequest(text="x" * 20_001))
    host.request(0, wire.ScpiRequest(text="x" * 15_000))
    with pytest.raises(WindowFullError, match="takes 20000 bytes"):
        host.request(0, wire.ScpiRequest(text="x" * 15_000))
    host.request(0, wire.NowRequest())


def test_a_request_that_cannot_be_encoded_is_not_registered():
    host, _ = opened()
    with pytest.raises(LocalProtocolError):
        host.request(0, wire.WaitRequest(seconds=float("nan")))
    with pytest.raises(LocalProtocolError):
        host.request(65_536, wire.NowRequest())
    assert host.open_sequences == ()


def test_sequence_numbers_and_acknowledgements_wrap():
    host, device = opened()
    executed: list[object] = []
    host._sequence = device._taken = device._acknowledged = (1 << 32) - 3
    for _ in range(4):
        data = ask_now(host) + ask_now(host)
        assert len(host.receive(serve(device, data, executed))) == 2
    assert len(executed) == 8
    assert len(device._replies) == 2


def urgent_stop(host: HostLink, core: int = 0) -> tuple[int, bytes]:
    return host.request(core, wire.SafeStateRequest())


@pytest.mark.parametrize("state", ["closed", "another session", "open", "window full", "lost"])
def test_safe_state_is_taken_at_any_time(state):
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


def test_safe_state_comes_before_the_requests_that_arrived_with_it():
    host, device = opened()
    data = ask_now(host) + urgent_stop(host)[1]
    assert [i.urgent for i in device.receive(data)] == [True, False]


def test_urgent_replies_and_others_are_never_mixed_up():
    host, device = opened()
    _, data = urgent_stop(host)
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, wire.SafeStateReply())
    assert len(host.receive(answer + answer)) == 1
    assert (host.dropped, host.open_sequences, device._replies) == (1, (), {})
    ask_now(host)
    (frame,) = frames(answer)
    assert host.receive(encode_frame(frame._replace(flags=Flags.NONE))) == []


def test_only_so_many_urgent_requests_are_remembered():
    host, _ = opened()
    for _ in range(1000):
        urgent_stop(host)
    assert len(host._urgent) <= 64


def test_events_come_once_and_in_order_and_boot_whenever():
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


def test_a_repeated_hello_is_answered_again_and_an_older_one_is_dropped():
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


def test_a_hello_that_comes_twice_at_once_begins_one_session():
    device = DeviceLink()
    _, data = HostLink().request(0, hello())
    (incoming,) = device.receive(data + data)
    answer = device.reply(incoming, hello_reply(device.begin(incoming)))
    assert device.receive(data) == []
    assert device.take_output() == answer


def test_a_session_ends_the_one_before():
    host, device = opened()
    stale = ask_now(host)
    _, data = host.request(0, hello(4))
    (incoming,) = device.receive(data)
    assert device.begin(incoming) != 0
    assert serve(device, stale, executed := []) == b""
    assert executed == []


def test_sessions_whose_number_is_0_open_like_any_other():
    device = DeviceLink()
    (incoming,) = device.receive(HostLink().request(0, hello(0))[1])
    assert device.begin(incoming) != 0


def test_an_epoch_is_never_zero_nor_the_last_one():
    device = DeviceLink()
    seen = [0]
    for session in (0, 0, 65_535, 65_534, 1, 65_535, 65_536 - 2):
        (incoming,) = device.receive(HostLink().request(0, hello(session))[1]) or [None]
        if incoming is not None:
            seen.append(device.begin(incoming))
        device.end()
    assert 0 not in seen[1:]
    assert all(a != b for a, b in pairwise(seen))


def test_after_giving_up_late_replies_are_dropped_and_only_hello_helps():
    host, device = opened()
    late = serve(device, ask_now(host), [])
    host.forget()
    assert host.receive(late) == []
    assert (host.dropped, host.free) == (1, 0)
    with pytest.raises(LocalProtocolError, match="no session is open: the link is LOST"):
        ask_now(host)
    host.request(0, hello(9))
    assert host.state is HostState.HELLO_SENT


def test_a_closed_stream_takes_nothing_but_hello_and_what_is_urgent():
    host, device = opened()
    device.end()
    assert device.state is DeviceState.IDLE
    assert serve(device, ask_now(host), []) == b""
    assert len(device.receive(urgent_stop(host)[1])) == 1
    assert len(device.receive(HostLink().request(0, hello(5))[1])) == 1


def test_the_tables_answer_every_state_that_a_step_may_meet():
    assert {s for s, _ in HOST_TABLE} | set(HOST_TABLE.values()) == set(HostState)
    assert {s for s, _ in DEVICE_TABLE} | set(DEVICE_TABLE.values()) == set(DeviceState)
    with pytest.raises(LocalProtocolError, match="BEGIN is not for a link that is CLOSED"):
        HostLink().begin(hello_reply(1))
    assert (DeviceState.IDLE, Step.FORGET) not in DEVICE_TABLE


@pytest.mark.parametrize("flags", [Flags.NONE, Flags.MUTATING])
def test_the_flag_of_a_mutation_must_say_what_the_opcode_says(flags):
    host, device = opened()
    opcode = 0x31 if flags else 0x20
    frame = Frame(Kind.REQUEST, flags, opcode, host.epoch, 0, 2, 1, b"")
    (incoming,) = device.receive(encode_frame(frame))
    assert isinstance(incoming.message, RemoteProtocolError)
    assert "mutation" in str(incoming.message)
