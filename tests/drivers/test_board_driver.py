"""Board driver: time-outs, errors, noise, and a peer that goes away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from drivers.board import LeaseTerms, LinkTiming, open_board
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import (
    CellRead,
    Chip,
    Core,
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
from protocols.wire.framing import cobs_encode

MakeChip = Callable[[], Chip]
Opened = Callable[..., tuple[Any, Chip]]
ADDRESS = "fake:board"


def inputs(batch: int = 2) -> MvmRequest:
    return MvmRequest(input_codes=np.full((batch, 6), -300, np.int16))


def test_the_chip_is_what_the_device_says_but_for_the_address(
    opened: Opened, make_cells: MakeChip
) -> None:
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
    opened: Opened, make_cells: MakeChip, error: HilError
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


def test_what_is_no_error_of_ours_is_a_device_fault(opened: Opened, make_cells: MakeChip) -> None:
    inner = make_cells()
    _, chip = opened(inner)
    inner.cores[1].fault = ZeroDivisionError("by zero")  # type: ignore[attr-defined]
    with pytest.raises(DeviceFaultError, match="ZeroDivisionError: by zero"):
        chip.cores[1].wait(1.0)
    assert chip.cores[0].wait(1.0) == 1.0


def test_no_reply_is_a_time_out_and_then_every_verb_is_refused(opened: Opened) -> None:
    line, chip = opened()
    line.alter_reply = lambda data: b""
    with pytest.raises(CoreTimeoutError, match="its state is unknown, open the chip again") as lost:
        chip.cores[0].mvm(inputs())
    assert lost.value.fields["core"] == 0
    line.alter_reply = lambda data: data
    with pytest.raises(CoreUnavailableError, match="did not answer in time"):
        chip.cores[0].status()
    with pytest.raises(CoreUnavailableError, match="link to the board was lost"):
        chip.cores[1].status()
    chip.close()
    states = [core.safe for core in line.device.device.chip.cores]  # type: ignore[attr-defined]
    assert states == [True, True]  # closing tells a lost board, too, to be safe


def test_leaving_a_lost_chip_hides_no_error_and_raises_no_other(opened: Opened) -> None:
    line, chip = opened()

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


def test_a_damaged_frame_is_a_time_out_not_an_answer(opened: Opened) -> None:
    for bit in (0, 57, 100, 250):
        line, chip = opened()

        def flip(data: bytes, bit: int = bit) -> bytes:
            broken = bytearray(data)
            broken[bit // 8 % len(data)] ^= 1 << bit % 8
            return bytes(broken)

        line.alter_reply = flip
        with pytest.raises(CoreTimeoutError):
            chip.cores[0].status()


def test_noise_around_a_reply_costs_nothing(opened: Opened) -> None:
    line, chip = opened()
    line.alter_reply = lambda data: b"boot v1.2\r\n\x00" + data + b"\x07\x07"
    assert chip.cores[0].wait(2.0) == 2.0
    line.alter_reply = lambda data: b"\x00" + data
    assert chip.cores[0].wait(2.0) == 4.0


class Trickle(MemoryTransport):
    """Gives the answer one byte a read."""

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        return super().read(1, deadline_s)


def test_replies_may_arrive_byte_by_byte(opened: Opened) -> None:
    _, chip = opened(transport=Trickle)
    assert chip.cores[1].mvm(inputs(3)).output_codes.shape == (3, 5)


class Interrupted(MemoryTransport):
    """Loses the first answer's reader to an interrupt, as a person's Ctrl-C does."""

    interrupts = False

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        if self.interrupts:
            self.interrupts = False
            raise KeyboardInterrupt
        return super().read(max_bytes, deadline_s)


def test_a_reply_left_over_from_an_interrupted_verb_reaches_no_other(opened: Opened) -> None:
    made: list[Interrupted] = []

    def make(line: Any) -> Interrupted:
        made.append(Interrupted(line))
        return made[0]

    _, chip = opened(transport=make)
    core, transport = chip.cores[0], made[0]
    transport.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        core.wait(5.0)
    assert core.wait(2.0) == 7.0


class Babbler(MemoryTransport):
    """Answers while it must, then sends noise for ever."""

    babbles = False

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        return b"\x05noise" if self.babbles else super().read(max_bytes, deadline_s)


def test_a_babbling_peer_cannot_hold_the_host_for_ever(opened: Opened) -> None:
    made: list[Babbler] = []

    def make(line: Any) -> Babbler:
        made.append(Babbler(line))
        return made[0]

    timing = LinkTiming(base_s=0.05, bytes_per_s=1e9)
    _, chip = opened(transport=make, timing=timing)
    made[0].babbles = True
    began = time.monotonic()
    with pytest.raises(CoreTimeoutError):
        chip.cores[0].status()
    assert 0.05 <= time.monotonic() - began < 5.0
    made[0].babbles = False
    chip.close()


def many_cells(core: Core) -> None:
    core.read(CellRead.of(device=0, rows=[0] * 1000, cols=0, averages=500))


def many_pulses(core: Core) -> None:
    one = {"device": 0, "rows": range(6), "cols": 0, "amplitude": 1, "width": 1}
    core.program(Pulse.of(PulseFamily.SET, **one, count=200))


@pytest.mark.parametrize(
    ("call", "limit_s"),
    [
        (lambda core: core.status(), 1.0),
        (lambda core: core.wait(100.0), 201.0),
        (many_pulses, 1.0 + 2 * 1.2),
        # 64 x 6 two-byte inputs and 64 x 5 outputs of up to five bytes at 1 kB/s
        (lambda core: core.mvm(inputs(64)), 3.4),
        (many_cells, 1.0 + 2 * 0.5 + 8.0),
    ],
    ids=["status", "wait", "program", "mvm", "read"],
)
def test_the_deadline_grows_with_execution_time_and_bytes(
    opened: Opened, call: Callable[[Core], Any], limit_s: float
) -> None:
    timing = LinkTiming(base_s=1.0, bytes_per_s=1e3, execution_factor=2.0)
    line, chip = opened(timing=timing)
    line.alter_reply = lambda data: b""
    with pytest.raises(CoreTimeoutError) as lost:
        call(chip.cores[0])
    assert lost.value.fields["limit_s"] == pytest.approx(limit_s, rel=0.25)


def test_a_closed_transport_is_a_core_unavailable(make_cells: MakeChip) -> None:
    transport = MemoryTransport(DeviceEmulator(make_cells()).receive)
    chip = open_board(transport, address=ADDRESS, lease=LeaseTerms(lapse_s=0.0))
    transport.close()
    transport.close()
    with pytest.raises(CoreUnavailableError, match="transport is closed"):
        chip.cores[0].status()
    chip.close()


def test_settings_arrays_keep_dtype_and_values(opened: Opened) -> None:
    _, chip = opened()
    trim = np.array([-300, -1, 0, 1, 300], np.int16)
    chip.cores[0].configure(CoreSettings(gain_trim=trim, temperature_kelvin=300.1))
    held = chip.cores[0].settings()
    assert held.gain_trim is not None
    assert held.offset_trim is not None
    assert held.gain_trim.dtype == held.offset_trim.dtype == np.int16
    assert np.array_equal(held.gain_trim, trim)
    assert held.temperature_kelvin == 300.1


def test_a_frame_of_another_kind_of_traffic_is_no_answer(opened: Opened) -> None:
    line, chip = opened()
    stranger = cobs_encode(b"\x40" + bytes(15)) + b"\x00"  # a reserved kind
    line.alter_reply = lambda data: stranger + data
    assert chip.cores[0].wait(1.0) == 1.0


def test_a_request_larger_than_the_device_takes_is_the_callers_error(opened: Opened) -> None:
    line, chip = opened()
    chip.cores[0]._link.link.max_object_bytes = 100  # type: ignore[attr-defined]
    executed = line.device.requests
    with pytest.raises(
        RequestError, match="larger than the 100 that the device takes; send it in parts"
    ):
        chip.cores[0].mvm(inputs(64))
    assert line.device.requests == executed
    assert chip.cores[0].wait(1.0) == 1.0
