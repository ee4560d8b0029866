"""Board driver: time-outs, errors, and a peer that lies, babbles or goes away."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from drivers.board import LinkTiming, open_board
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import (
    CellRead,
    Chip,
    CoreSettings,
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    HilError,
    MvmRequest,
    Pulse,
    PulseFamily,
    RecordError,
    RequestError,
)
from hil.core import VerbEvent
from protocols.wire import messages as wire
from protocols.wire.framing import Frame, FrameDecoder, Kind, cobs_encode, encode_frame
from protocols.wire.link import encode_object
from protocols.wire.vocabulary import ErrorClass

MakeChip = Callable[[], Chip]
ADDRESS = "fake:board"


class Line:
    """What lies between host and device: passes bytes on, or does as a test says."""

    def __init__(self, inner: Chip) -> None:
        self.device = DeviceEmulator(inner)
        self.alter_reply: Callable[[bytes], bytes] = lambda data: data
        self.alter_request: Callable[[bytes], bytes] = lambda data: data

    def __call__(self, data: bytes) -> bytes:
        return self.alter_reply(self.device.receive(self.alter_request(data)))


def opened(inner: Chip) -> tuple[Line, Chip]:
    line = Line(inner)
    return line, open_board(MemoryTransport(line), address=ADDRESS)


def inputs(batch: int = 2) -> MvmRequest:
    return MvmRequest(input_codes=np.full((batch, 6), -300, np.int16))


def test_the_chip_is_what_the_device_says_but_for_the_address(make_cells: MakeChip) -> None:
    inner = make_cells()
    _, chip = opened(inner)
    assert chip.info == inner.info.model_copy(update={"address": ADDRESS})


@pytest.mark.parametrize(
    "error",
    [
        RequestError("amplitude_code 9 is outside 0...3", name="amplitude", value=9),
        CoreUnavailableError("core 0 is closed"),
        CoreTimeoutError("the inner link lost a reply"),
        DeviceFaultError("rail 3 is at 0.2 V", rail=3, volt=0.2),
        RecordError("the journal ends at 17 \N{MICRO SIGN}s", at=[1, 2]),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_error_of_the_device_comes_back_as_it_was_raised(
    make_cells: MakeChip, error: HilError
) -> None:
    inner = make_cells()
    _, chip = opened(inner)
    seen: list[VerbEvent] = []
    chip.cores[0].observe(seen.append)
    inner.cores[0].fault = error  # type: ignore[attr-defined] - the fake has faults
    with pytest.raises(type(error)) as caught:
        chip.cores[0].mvm(inputs())
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert caught.value.fields == error.fields
    assert [event.error for event in seen] == [caught.value]


def test_what_is_no_error_of_ours_is_a_device_fault(make_cells: MakeChip) -> None:
    inner = make_cells()
    _, chip = opened(inner)
    inner.cores[1].fault = ZeroDivisionError("by zero")  # type: ignore[attr-defined]
    with pytest.raises(DeviceFaultError, match="ZeroDivisionError: by zero"):
        chip.cores[1].wait(1.0)
    assert chip.cores[0].wait(1.0) == 1.0


def test_no_reply_is_a_time_out_and_then_every_verb_is_refused(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())
    line.alter_reply = lambda data: b""
    with pytest.raises(CoreTimeoutError, match="its state is unknown, open the chip again") as lost:
        chip.cores[0].mvm(inputs())
    assert lost.value.fields["core"] == 0
    line.alter_reply = lambda data: data
    with pytest.raises(CoreUnavailableError, match="did not answer in time"):
        chip.cores[0].status()
    with pytest.raises(CoreUnavailableError, match="link to the board was lost"):
        chip.cores[1].status()
    before = line.device.requests
    chip.close()
    assert line.device.requests == before


def test_leaving_a_lost_chip_hides_no_error_and_raises_no_other(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())

    def lose_it() -> None:
        with chip:
            line.alter_reply = lambda data: b""
            chip.cores[1].wait(1.0)

    with pytest.raises(CoreTimeoutError):
        lose_it()


def test_a_chip_that_does_not_answer_hello_times_out_and_is_released() -> None:
    released: list[int] = []
    transport = MemoryTransport(lambda data: b"", release=lambda: released.append(1))
    with pytest.raises(CoreTimeoutError):
        open_board(transport, address=ADDRESS)
    assert released == [1]


def test_a_damaged_frame_is_a_time_out_not_an_answer(make_cells: MakeChip) -> None:
    for bit in (0, 57, 100, 250):
        line, chip = opened(make_cells())

        def flip(data: bytes, bit: int = bit) -> bytes:
            broken = bytearray(data)
            broken[bit // 8 % len(data)] ^= 1 << bit % 8
            return bytes(broken)

        line.alter_reply = flip
        with pytest.raises(CoreTimeoutError):
            chip.cores[0].status()


def test_noise_around_a_reply_costs_nothing(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())
    line.alter_reply = lambda data: b"boot v1.2\r\n\x00" + data + b"\x07\x07"
    assert chip.cores[0].wait(2.0) == 2.0
    line.alter_reply = lambda data: b"\x00" + data
    assert chip.cores[0].wait(2.0) == 4.0


class Trickle(MemoryTransport):
    """Gives the answer one byte a read."""

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        return super().read(1, deadline_s)


def test_replies_may_arrive_byte_by_byte(make_cells: MakeChip) -> None:
    chip = open_board(Trickle(Line(make_cells())), address=ADDRESS)
    assert chip.cores[1].mvm(inputs(3)).output_codes.shape == (3, 5)


class Interrupted(MemoryTransport):
    """Loses the first answer's reader to an interrupt, as a person's Ctrl-C does."""

    interrupts = False

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        if self.interrupts:
            self.interrupts = False
            raise KeyboardInterrupt
        return super().read(max_bytes, deadline_s)


def test_a_reply_left_over_from_an_interrupted_verb_reaches_no_other(make_cells: MakeChip) -> None:
    transport = Interrupted(Line(make_cells()))
    core = open_board(transport, address=ADDRESS).cores[0]
    transport.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        core.wait(5.0)
    assert core.wait(2.0) == 7.0


class Babbler(MemoryTransport):
    """Answers HELLO, then sends noise for ever and tells the deadlines it was given."""

    def __init__(self, line: Line) -> None:
        super().__init__(line)
        self.babbles = False
        self.deadlines: list[float] = []

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        self.deadlines.append(deadline_s)
        return b"\x05noise" if self.babbles else super().read(max_bytes, deadline_s)


def test_a_babbling_peer_cannot_hold_the_host_for_ever(make_cells: MakeChip) -> None:
    transport = Babbler(Line(make_cells()))
    timing = LinkTiming(base_s=0.05, bytes_per_s=1e9)
    chip = open_board(transport, address=ADDRESS, timing=timing)
    transport.babbles = True
    began = time.monotonic()
    with pytest.raises(CoreTimeoutError):
        chip.cores[0].status()
    assert 0.05 <= time.monotonic() - began < 5.0


def test_the_deadline_grows_with_execution_time_and_bytes(make_cells: MakeChip) -> None:
    transport = Babbler(Line(make_cells()))
    timing = LinkTiming(base_s=1.0, bytes_per_s=1e3, execution_factor=2.0)
    chip = open_board(transport, address=ADDRESS, timing=timing)
    core = chip.cores[0]

    def allowed(call: Callable[[], Any]) -> float:
        transport.deadlines.clear()
        began = time.monotonic()
        call()
        return transport.deadlines[0] - began

    def program(count: int) -> None:
        core.program(
            Pulse.of(
                PulseFamily.SET, device=0, rows=range(6), cols=0, amplitude=1, width=1, count=count
            )
        )

    assert allowed(core.status) == pytest.approx(1.0, abs=0.5)
    assert allowed(lambda: core.wait(100.0)) == pytest.approx(201.0, abs=0.5)
    assert allowed(lambda: program(200)) == pytest.approx(1.0 + 2 * 1.2, abs=0.6)
    # 64 x 6 two-byte inputs and 64 x 5 outputs of up to five bytes at 1 kB/s
    assert allowed(lambda: core.mvm(inputs(64))) == pytest.approx(3.4, abs=0.5)
    many = CellRead.of(device=0, rows=[0] * 1000, cols=0, averages=500)
    assert allowed(lambda: core.read(many)) == pytest.approx(1.0 + 2 * 0.5 + 8.0, abs=2.1)


def answer_with(message: wire.Message) -> Callable[[bytes], bytes]:
    """Replace the message of a reply, its frame's head unchanged."""

    def alter(data: bytes) -> bytes:
        (frame,) = FrameDecoder().feed(data)
        assert isinstance(frame, Frame)
        opcode, payload = wire.opcode_of(message), wire.encode_body(message)
        return encode_frame(frame._replace(opcode=opcode, payload=payload))

    return alter


def codes(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def mvm_reply(**changes: Any) -> wire.MvmReply:
    good = wire.MvmReply(
        batch=2,
        outputs=5,
        bits=32,
        output_codes=codes(*range(10)),
        saturated=b"\x00\x00",
        temperature_kelvin=300.0,
        at_s=1.0,
    )
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (mvm_reply(batch=5, outputs=2), r"5 x 2 outputs, \(2, 5\) were asked for"),
        (mvm_reply(output_codes=codes(1, 2)), "2 output codes instead of"),
        (mvm_reply(output_codes=codes(*[100_001] * 10)), "output code 100001...100001 outside"),
        (mvm_reply(saturated=b"\x00"), "1 bytes of flags for 10"),
        (wire.NowReply(now_s=1.0), "reply is no MvmReply"),
        (
            wire.ErrorReply(
                error_class=ErrorClass.REQUEST,
                status=wire.Status.REFUSED,
                effect=wire.Effect.NONE,
                text="why",
                fields=b"{not json",
            ),
            "answered an error badly: why",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_the_devices_fault(
    make_cells: MakeChip, reply: wire.Message, sentence: str
) -> None:
    line, chip = opened(make_cells())
    line.alter_reply = answer_with(reply)
    with pytest.raises(DeviceFaultError, match=sentence):
        chip.cores[0].mvm(inputs())
    line.alter_reply = lambda data: data
    assert chip.cores[0].mvm(inputs()).output_codes.shape == (2, 5)


def test_error_fields_that_are_no_object_are_left_out(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())
    line.alter_reply = answer_with(
        wire.ErrorReply(
            error_class=ErrorClass.DEVICE_FAULT,
            status=wire.Status.FAILED,
            effect=wire.Effect.UNKNOWN,
            text="no",
            fields=b"[1]",
        )
    )
    with pytest.raises(DeviceFaultError, match="no") as caught:
        chip.cores[0].status()
    assert caught.value.fields == {}


def advertised(make_cells: MakeChip, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(make_cells().info.model_dump_json())
    change(document)
    return json.dumps(document).encode()


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "no rows": lambda d: d["cores"][0].update(rows=0),
    "too many rows": lambda d: d["cores"][0].update(rows=10**9),
    "no batch": lambda d: d["cores"][1].update(max_batch=0),
    "no cores": lambda d: d.update(cores=[]),
    "another chip's core": lambda d: d["cores"][1].update(chip_serial="OTHER"),
    "cores out of order": lambda d: d["cores"].reverse(),
    "claims silicon for one core": lambda d: d["cores"][0].update(backend="silicon"),
    "unknown key": lambda d: d["cores"][0].update(colour="red"),
    "unknown capability": lambda d: d["cores"][0].update(capabilities=["fly"]),
    "infinite slot": lambda d: d["cores"][0].update(read_slot_s=math.inf),
    "empty serial": lambda d: (
        [c.update(chip_serial="") for c in d["cores"]] and d.update(serial="")
    ),
    "codes beyond 32 bits": lambda d: d["cores"][0]["input"].update(max_code=2**40),
    "pulse codes beyond 32 bits": lambda d: d["cores"][0]["pulses"][0]["amplitude"].update(
        min_code=-(2**31) - 1
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_chip_that_advertises_nonsense_is_not_opened(make_cells: MakeChip, lie: str) -> None:
    reply = wire.CapabilitiesReply(json=advertised(make_cells, LIES[lie]))
    with pytest.raises(DeviceFaultError, match="capabilities"):
        open_with(make_cells, reply)


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_capabilities_that_are_no_description_are_refused(
    make_cells: MakeChip, document: bytes
) -> None:
    with pytest.raises(DeviceFaultError, match="make no sense"):
        open_with(make_cells, wire.CapabilitiesReply(json=document))


def test_capabilities_beyond_the_limit_are_not_parsed(make_cells: MakeChip) -> None:
    with pytest.raises(DeviceFaultError, match="bytes are more than"):
        open_with(make_cells, wire.CapabilitiesReply(json=b" " * ((1 << 22) + 1)))


def open_with(make_cells: MakeChip, reply: wire.Message) -> None:
    line = Line(make_cells())
    count = itertools.count()

    def second_reply(data: bytes) -> bytes:
        if next(count) == 0:
            return data
        found = [f for f in FrameDecoder().feed(data) if isinstance(f, Frame)]
        head = found[0]._replace(opcode=wire.opcode_of(reply), payload=wire.encode_body(reply))
        return encode_object(head._replace(kind=Kind.REPLY, flags=type(head.flags)(0)))

    line.alter_reply = second_reply
    open_board(MemoryTransport(line), address=ADDRESS)


@pytest.mark.parametrize("change", [{"version": 3}, {"session": 1}, {"epoch": 0}])
def test_a_hello_that_answers_something_else_is_refused(
    make_cells: MakeChip, change: dict[str, int]
) -> None:
    line = Line(make_cells())

    def alter(data: bytes) -> bytes:
        (frame,) = FrameDecoder().feed(data)
        assert isinstance(frame, Frame)
        reply = wire.decode_body(wire.REPLIES, frame.opcode, frame.payload)
        assert isinstance(reply, wire.HelloReply)
        return encode_frame(frame._replace(payload=wire.encode_body(replace(reply, **change))))

    line.alter_reply = alter
    with pytest.raises(DeviceFaultError, match="HELLO"):
        open_board(MemoryTransport(line), address=ADDRESS)


def test_a_closed_transport_is_a_core_unavailable(make_cells: MakeChip) -> None:
    transport = MemoryTransport(Line(make_cells()))
    chip = open_board(transport, address=ADDRESS)
    transport.close()
    transport.close()
    with pytest.raises(CoreUnavailableError, match="transport is closed"):
        chip.cores[0].status()
    chip.close()


def test_settings_arrays_keep_dtype_and_values(make_cells: MakeChip) -> None:
    _, chip = opened(make_cells())
    trim = np.array([-300, -1, 0, 1, 300], np.int16)
    chip.cores[0].configure(CoreSettings(gain_trim=trim, temperature_kelvin=300.1))
    held = chip.cores[0].settings()
    assert held.gain_trim is not None
    assert held.offset_trim is not None
    assert held.gain_trim.dtype == held.offset_trim.dtype == np.int16
    assert np.array_equal(held.gain_trim, trim)
    assert held.temperature_kelvin == 300.1


def test_a_frame_of_another_kind_of_traffic_is_no_answer(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())
    stranger = cobs_encode(b"\x40" + bytes(15)) + b"\x00"  # a reserved kind
    line.alter_reply = lambda data: stranger + data
    assert chip.cores[0].wait(1.0) == 1.0


def test_a_request_larger_than_the_device_takes_is_the_callers_error(make_cells: MakeChip) -> None:
    line, chip = opened(make_cells())
    chip.cores[0]._link._link.max_object_bytes = 100  # type: ignore[attr-defined]
    executed = line.device.requests
    with pytest.raises(
        RequestError, match="larger than the 100 that the device takes; send it in parts"
    ):
        chip.cores[0].mvm(inputs(64))
    assert line.device.requests == executed
    assert chip.cores[0].wait(1.0) == 1.0
