"""Link: the window, the reply cache, and what crosses again, example by example."""

from __future__ import annotations

import pytest

from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError, WindowFullError
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind, encode_frame
from protocols.wire.link import Event, HostLink, Reply

WINDOW = 4


def ask_now(host: HostLink) -> bytes:
    return host.request(0, wire.NowRequest())[1]


def times(replies: list[Reply | Event]) -> list[object]:
    return [r.message.now_s for r in replies if isinstance(r.message, wire.NowReply)]


def frames(data: bytes) -> list[Frame]:
    found = FrameDecoder().feed(data)
    assert all(isinstance(f, Frame) for f in found)
    return found  # type: ignore[return-value]


def test_as_many_requests_as_the_window_holds_are_open_and_no_more(opened, serve):
    host, device = opened()
    executed: list[object] = []
    data = [ask_now(host) for _ in range(WINDOW)]
    assert host.free == 0
    with pytest.raises(WindowFullError, match="4 requests are open, 4 are taken"):
        ask_now(host)
    assert times(host.receive(serve(device, b"".join(data), executed))) == [1.0, 2.0, 3.0, 4.0]
    assert host.free == WINDOW


def test_the_window_begins_behind_the_oldest_open_request(opened, serve):
    host, device = opened()
    data = [ask_now(host) for _ in range(3)]
    answers = serve(device, b"".join(data), []).split(b"\x00")
    host.receive(answers[1] + b"\x00" + answers[2] + b"\x00")
    assert (host.free, len(host.open_sequences)) == (1, 1)


@pytest.mark.parametrize(("told", "taken"), [(0, 1), (1, 1), (64, 64), (65_535, 64)])
def test_an_advertised_window_is_bounded(opened, told, taken):
    assert opened(window=told)[0].window == taken


def test_a_shut_window_is_opened_by_a_grant_or_tried_after_a_while(opened):
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


def test_a_request_beyond_the_window_is_not_executed_until_it_is_open(opened, serve):
    host, device = opened()
    executed: list[object] = []
    device.grant(0)
    data = ask_now(host)
    assert serve(device, data, executed) == b""
    assert (executed, device.dropped) == ([], 1)
    device.grant(1)
    assert times(host.receive(serve(device, host.resend(), executed))) == [1.0]


def test_a_repeated_request_is_answered_by_the_same_bytes_and_executed_once(opened, serve):
    host, device = opened()
    executed: list[object] = []
    data = ask_now(host)
    first, again = serve(device, data, executed), serve(device, data, executed)
    assert first == again != b""
    assert len(executed) == 1
    assert len(host.receive(first + again)) == 1
    assert host.dropped == 1


def test_a_request_that_is_being_executed_is_not_executed_again(opened):
    host, device = opened()
    data = ask_now(host)
    assert len(device.receive(data)) == 1
    assert device.receive(data + host.resend()) == []
    assert device.take_output() == b""


def test_replies_are_forgotten_once_they_are_acknowledged(opened, serve):
    host, device = opened()
    executed: list[object] = []
    first = ask_now(host)
    host.receive(serve(device, first, executed))
    assert len(device._replies) == 1
    host.receive(serve(device, ask_now(host), executed))
    assert len(device._replies) == 1
    assert serve(device, first, executed) == b""
    assert len(executed) == 2


def test_a_lost_request_is_asked_for_and_those_behind_it_wait(opened, serve):
    host, device = opened()
    executed: list[object] = []
    data = [ask_now(host) for _ in range(3)]
    (want,) = frames(serve(device, data[1] + data[2], executed))
    assert (want.kind, want.opcode, want.sequence, executed) == (Kind.CREDIT, 1, 2, [])
    assert host.receive(encode_frame(want)) == []
    assert times(host.receive(serve(device, host.take_output(), executed))) == [1.0, 2.0, 3.0]


def test_a_lost_reply_is_asked_for(opened, serve):
    host, device = opened()
    executed: list[object] = []
    answers = frames(serve(device, ask_now(host) + ask_now(host), executed))
    assert times(host.receive(encode_frame(answers[1]))) == [2.0]
    assert times(host.receive(serve(device, host.take_output(), executed))) == [1.0]
    assert len(executed) == 2


def test_only_the_missing_piece_of_a_request_crosses_again(opened):
    host, device = opened()
    message = wire.ScpiRequest(text="x" * 50_000)
    parts = host.request(0, message)[1].split(b"\x00")[:-1]
    del parts[2]
    assert device.receive(b"\x00".join(parts) + b"\x00") == []
    host.receive(device.take_output())
    repeated = host.take_output()
    assert repeated.count(0) == 1
    assert [i.message for i in device.receive(repeated)] == [message]


def test_only_the_missing_piece_of_a_reply_crosses_again(opened):
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


def test_after_a_while_the_last_piece_finds_out_what_is_missing(opened):
    host, device = opened()
    message = wire.ScpiRequest(text="x" * 50_000)
    sent = host.request(0, message)[1]
    assert device.receive(sent[:9000]) == []
    assert device.receive(b"\x00" + host.resend()) == []
    host.receive(device.take_output())
    assert [i.message for i in device.receive(host.take_output())] == [message]


def test_after_a_while_the_rest_of_a_reply_is_asked_for(opened):
    host, device = opened()
    sent = host.request(0, wire.CapabilitiesRequest())[1]
    (incoming,) = device.receive(sent)
    answer = wire.CapabilitiesReply(json=bytes(50_000))
    host.receive(device.reply(incoming, answer)[:20_000])
    assert device.receive(host.resend()) == []
    (reply,) = host.receive(b"\x00" + device.take_output())
    assert reply.message == answer


def test_a_request_that_the_driver_skips_is_not_repeated(opened):
    host, _ = opened()
    first, data = host.request(0, wire.NowRequest())
    _, second = host.request(0, wire.NowRequest())
    assert host.resend() == data + second
    assert host.resend(skip={first}) == second


def test_the_bytes_of_open_requests_stay_within_the_buffer_of_the_device(opened):
    host, _ = opened(max_object_bytes=20_000)
    with pytest.raises(LocalProtocolError, match="larger than the 20000 that the device takes"):
        host.request(0, wire.ScpiRequest(text="x" * 20_001))
    host.request(0, wire.ScpiRequest(text="x" * 15_000))
    with pytest.raises(WindowFullError, match="takes 20000 bytes"):
        host.request(0, wire.ScpiRequest(text="x" * 15_000))
    host.request(0, wire.NowRequest())


def test_a_request_that_cannot_be_encoded_is_not_registered(opened):
    host, _ = opened()
    with pytest.raises(LocalProtocolError):
        host.request(0, wire.WaitRequest(seconds=float("nan")))
    with pytest.raises(LocalProtocolError):
        host.request(65_536, wire.NowRequest())
    assert host.open_sequences == ()


def test_sequence_numbers_and_acknowledgements_wrap(opened, serve):
    host, device = opened()
    executed: list[object] = []
    host._sequence = device._taken = device._acknowledged = (1 << 32) - 3
    for _ in range(4):
        data = ask_now(host) + ask_now(host)
        assert len(host.receive(serve(device, data, executed))) == 2
    assert len(executed) == 8
    assert len(device._replies) == 2
