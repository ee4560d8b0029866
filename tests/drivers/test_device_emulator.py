"""Device emulator: executes each request once, checks it again, survives any bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.emulator import DeviceEmulator
from hil import Chip, MvmRequest, RequestError
from protocols.wire import messages as wire
from protocols.wire.framing import Flags, Frame, Kind, encode_frame
from protocols.wire.link import HostLink
from protocols.wire.vocabulary import Effect, ErrorClass, Status

MakeChip = Callable[[], Chip]
ANY_EXAMPLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class RawHost:
    """A host that checks nothing: sends any message, returns the reply."""

    def __init__(self, inner: Chip) -> None:
        self.inner = inner
        self.device = DeviceEmulator(inner, boot=77)
        self.link = HostLink()
        hello = self.ask(
            wire.HelloRequest(lowest_version=0, highest_version=9, session=5, holder="t")
        )
        assert isinstance(hello, wire.HelloReply)
        assert (hello.version, hello.session, hello.boot) == (wire.PROTOCOL_VERSION, 5, 77)
        self.link.begin(hello)
        self.lock()

    def lock(self) -> None:
        reply = self.ask(wire.LockRequest(holder="t", lapse_s=0.0, takeover=False))
        assert isinstance(reply, wire.LockReply)
        self.token, self.mutation = reply.token, reply.last_mutation

    def pulse(self, **changes: wire.Codes) -> wire.ProgramRequest:
        """Return the next mutation."""
        self.mutation += 1
        return pulse_message(self.token, self.mutation, **changes)

    def ask(self, message: wire.Message, core: int = 0) -> object:
        _, data = self.link.request(core, message)
        (reply,) = self.link.receive(self.device.receive(data))
        return reply.message

    def executed(self, core: int = 0) -> list[str]:
        return self.inner.cores[core].executed  # type: ignore[attr-defined,no-any-return]


def ints(*values: int) -> wire.Codes:
    return wire.Codes(item_bytes=4, data=np.array(values, "<i4").tobytes())


def pulse_message(token: int, mutation: int, **changes: wire.Codes) -> wire.ProgramRequest:
    two = wire.ProgramRequest(
        token=token,
        mutation=mutation,
        family=wire.Family.SET,
        device=ints(0, 0),
        rows=ints(0, 1),
        cols=ints(2, 3),
        amplitude=ints(5, 5),
        width=ints(1, 1),
        count=ints(1, 1),
    )
    return replace(two, **changes)


def test_a_wrong_request_is_refused_in_the_words_of_the_core(make_cells: MakeChip) -> None:
    inner = make_cells()
    host = RawHost(inner)
    codes = ints(301, 0, 0, 0, 0, 0)
    request = wire.MvmRequest(
        batch=1,
        inputs=6,
        row=0,
        col=0,
        rows=6,
        cols=5,
        direction=wire.Direction.FORWARD,
        mode=wire.Mode.FASTEST,
        bits=32,
        input_codes=codes.data,
    )
    reply = host.ask(request)
    with pytest.raises(RequestError) as caught:
        inner.cores[0].mvm(MvmRequest(input_codes=np.array([[301, 0, 0, 0, 0, 0]])))
    assert isinstance(reply, wire.ErrorReply)
    assert reply.text == str(caught.value)
    assert (reply.error_class, reply.status, reply.effect) == (
        ErrorClass.REQUEST,
        Status.REFUSED,
        Effect.NONE,
    )
    assert host.executed() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rows": ints(0, 6)}, "row 6 is outside"),
        ({"cols": ints(2)}, "cols has shape"),
        ({"rows": ints(0, 0), "cols": ints(2, 2)}, "listed twice"),
        ({"amplitude": ints(5, 70_001)}, "amplitude_code 70001 is outside"),
        ({"device": ints(-1, 0)}, "device -1 is outside"),
        ({"count": ints(1, 0)}, "pulse count 0 is outside"),
    ],
)
def test_pulses_that_no_host_would_send_move_nothing(
    make_cells: MakeChip, change: dict[str, wire.Codes], word: str
) -> None:
    host = RawHost(make_cells())
    reply = host.ask(host.pulse(**change))
    assert isinstance(reply, wire.ErrorReply)
    assert word in reply.text
    assert host.executed() == []


def test_batch_and_inputs_must_give_the_number_of_codes(make_cells: MakeChip) -> None:
    host = RawHost(make_cells())
    for batch, inputs, size in ((2, 6, 6), (0, 6, 6), (2**32 - 1, 2**32 - 1, 1)):
        request = wire.MvmRequest(
            batch=batch,
            inputs=inputs,
            row=0,
            col=0,
            rows=6,
            cols=5,
            direction=wire.Direction.FORWARD,
            mode=wire.Mode.FASTEST,
            bits=8,
            input_codes=bytes(size),
        )
        reply = host.ask(request)
        assert isinstance(reply, wire.ErrorReply)
        assert reply.status is Status.BAD_MESSAGE
    assert host.executed() == []


def test_a_core_that_is_not_there_is_refused(make_cells: MakeChip) -> None:
    reply = RawHost(make_cells()).ask(wire.NowRequest(), core=2)
    assert isinstance(reply, wire.ErrorReply)
    assert (reply.status, reply.text) == (Status.NO_SUCH_CORE, "core 2 is outside 0...1")


def test_a_closed_core_is_safe_and_answers_nothing_until_the_next_hello(
    make_cells: MakeChip,
) -> None:
    host = RawHost(make_cells())
    assert isinstance(host.ask(wire.CloseRequest(), core=1), wire.CloseReply)
    assert host.executed(1) == ["safe_state"]
    reply = host.ask(host.pulse(), core=1)
    assert isinstance(reply, wire.ErrorReply)
    assert (reply.status, reply.error_class) == (Status.CORE_CLOSED, ErrorClass.UNAVAILABLE)
    assert isinstance(host.ask(wire.SafeStateRequest(), core=1), wire.SafeStateReply)
    assert isinstance(host.ask(wire.NowRequest(), core=0), wire.NowReply)
    hello = host.ask(wire.HelloRequest(lowest_version=2, highest_version=2, session=6, holder="t"))
    assert isinstance(hello, wire.HelloReply)
    host.link.begin(hello)
    assert isinstance(host.ask(wire.NowRequest(), core=1), wire.NowReply)


def test_without_a_common_version_there_is_no_session(make_cells: MakeChip) -> None:
    host = RawHost(make_cells())
    _, early = host.link.request(0, wire.NowRequest())
    reply = host.ask(wire.HelloRequest(lowest_version=3, highest_version=4, session=6, holder="t"))
    assert isinstance(reply, wire.ErrorReply)
    assert reply.status is Status.NO_COMMON_VERSION
    assert host.device.receive(early) != b""


def test_a_repeated_pulse_request_is_answered_and_not_applied_again(make_cells: MakeChip) -> None:
    host = RawHost(make_cells())
    _, data = host.link.request(0, host.pulse())
    first, again = host.device.receive(data), host.device.receive(data)
    assert first == again
    assert host.executed() == ["program"]
    assert host.inner.cores[0].status().pulses == 2


def test_a_request_from_an_older_session_is_not_executed(make_cells: MakeChip) -> None:
    host = RawHost(make_cells())
    _, stale = host.link.request(0, host.pulse())
    host.ask(wire.HelloRequest(lowest_version=2, highest_version=2, session=6, holder="t"))
    assert host.device.receive(stale) == b""
    assert "program" not in host.executed()
    assert host.device.dropped == 1


def test_a_request_in_pieces_is_executed_as_one_and_only_when_complete(
    make_cells: MakeChip,
) -> None:
    host = RawHost(make_cells())
    many = ints(*[0] * 4000)
    _, data = host.link.request(0, wire.ReadRequest(averages=1, device=many, rows=many, cols=many))
    assert data.count(0) > 2
    frames = [f + b"\x00" for f in data.split(b"\x00")[:-1]]
    for frame in frames[:-1]:
        assert host.device.receive(frame) == b""
        assert host.executed() == []
    (reply,) = host.link.receive(host.device.receive(frames[-1]))
    assert isinstance(reply.message, wire.ReadReply)
    assert reply.message.count == 4000
    assert host.executed() == ["read"]


@ANY_EXAMPLE
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_garbage_never_stops_the_device_nor_reaches_a_core(
    make_cells: MakeChip, pieces: list[bytes]
) -> None:
    host = RawHost(make_cells())
    for piece in pieces:
        assert host.device.receive(piece) == b""
    assert host.executed() == []
    host.device.receive(b"\x00")
    assert isinstance(host.ask(wire.NowRequest()), wire.NowReply)


@ANY_EXAMPLE
@given(st.integers(0, 255), st.binary(max_size=60), st.integers(0, 3))
def test_any_body_in_a_right_frame_is_answered(
    make_cells: MakeChip, opcode: int, body: bytes, core: int
) -> None:
    host = RawHost(make_cells())
    frame = Frame(
        kind=Kind.REQUEST,
        flags=Flags.NONE,
        opcode=opcode,
        epoch=host.link.epoch,
        core=core,
        sequence=9,
        credit=0,
        payload=body,
    )
    assert host.device.receive(encode_frame(frame)).endswith(b"\x00")


def test_no_flipped_bit_makes_another_request(make_cells: MakeChip) -> None:
    host = RawHost(make_cells())
    _, data = host.link.request(0, host.pulse())
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert host.device.receive(bytes(broken) + b"\x00") == b""
    assert host.executed() == []
