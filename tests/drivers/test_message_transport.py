"""The binary plane over a channel of messages: a board behind DIAG:FRAM? answers like the chip."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import instrument_system
from drivers.board import open_board
from drivers.emulator import DeviceEmulator
from drivers.instrument import Instrument, power_on_settings
from drivers.message_transport import MessageTransport
from hil import CellRead, Chip, ChipInfo, MvmRequest, Pulse, PulseFamily
from hil.errors import CoreUnavailableError
from protocols.wire import messages as wire
from protocols.wire.scpi_exchange import MessageExchange

LATER = 30.0


class Session:
    """A session whose frames reach an emulator; the control plane beside it is not used."""

    token = last_mutation = 0

    def __init__(self, info: ChipInfo, frames: Callable[[bytes], bytes]) -> None:
        self.info = info
        self.frames = frames

    def ask(self, core: int, message: wire.Message) -> wire.Message:
        return wire.OwnerReply(holder="", token=0)

    def statistics(self) -> Mapping[str, int]:
        return {}


class Channel:
    """The other end in this process: IEEE 488.2 message exchange, responses in short parts."""

    def __init__(self, instrument: Instrument, part: int = 1000, max_bytes: int = 1 << 20) -> None:
        self.exchange = MessageExchange(instrument.execute, instrument.report, max_bytes)
        self.instrument = instrument
        self.part = part
        self.sent: list[bytes] = []
        self.deaf = 0
        self.longest = 0
        self.closed = 0

    def send(self, message: bytes) -> None:
        self.sent.append(message)
        self.exchange.write(message, end=True)

    def receive(self, deadline_s: float) -> tuple[bytes, bool]:
        if self.deaf:
            self.deaf -= 1
            return b"", False
        if not self.exchange.message_available:
            return b"", False
        data, end = self.exchange.read(self.part)
        self.longest = max(self.longest, len(data))
        return data, end

    def close(self) -> None:
        self.closed += 1


def echo(data: bytes) -> bytes:
    return data


@pytest.fixture
def connect(make_cells: Callable[[], Chip]) -> Callable[..., Channel]:
    """Makes channels to devices whose binary plane is `frames`."""

    def make(frames: Callable[[bytes], bytes] = echo, **options: int) -> Channel:
        return Channel(Instrument(Session(make_cells().info, frames), ()), **options)

    return make


def test_a_board_behind_messages_answers_like_the_chip_itself(make_cells):
    direct, inner = make_cells(), make_cells()
    channel = Channel(Instrument(DeviceEmulator(inner), power_on_settings(inner)), part=100)
    board = open_board(MessageTransport(channel), address="visa:test")
    assert board.info.cores[0].rows == direct.info.cores[0].rows
    pulse = Pulse(
        family=PulseFamily.SET,
        device=np.array([0, 1], np.int8),
        rows=np.array([3, 5], np.int32),
        cols=np.array([2, 4], np.int32),
        amplitude=np.array([70_000, 1], np.int32),
        width=np.array([1, 9], np.int16),
        count=np.array([7, 100], np.int16),
    )
    cells = CellRead(device=pulse.device, rows=pulse.rows, cols=pulse.cols, averages=2)
    inputs = np.arange(-192, 192, dtype=np.int16).reshape(64, 6)
    for chip in (direct, board):
        chip.cores[1].program(pulse)
    results = [chip.cores[1].read(cells).codes for chip in (direct, board)]
    np.testing.assert_array_equal(*results)
    answers = [chip.cores[1].mvm(MvmRequest(input_codes=inputs)) for chip in (direct, board)]
    np.testing.assert_array_equal(answers[0].output_codes, answers[1].output_codes)
    board.close()
    assert channel.closed == 1
    assert channel.instrument.bench.status.errors == 0


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 50), st.integers(40, 90))
def test_every_byte_comes_back_in_order_whatever_the_sizes(writes, part, max_bytes):
    channel = Channel(Instrument(Session(None, echo), ()), part=part, max_bytes=max_bytes)
    transport = MessageTransport(channel, max_bytes)
    back = b""
    for data in writes:
        transport.write(data)
    whole = b"".join(writes)
    while len(back) < len(whole):
        back += transport.read(7, time.monotonic() + LATER)
    assert back == whole
    assert all(len(message) <= max_bytes for message in channel.sent)
    assert channel.instrument.bench.status.errors == 0


def test_what_does_not_fit_a_response_comes_with_the_next(make_cells, monkeypatch):
    monkeypatch.setattr(instrument_system, "MAX_FRAMES_BYTES", 100)
    direct, inner = make_cells(), make_cells()
    channel = Channel(Instrument(DeviceEmulator(inner), power_on_settings(inner)), part=1 << 20)
    board = open_board(MessageTransport(channel), address="visa:test")
    request = MvmRequest(input_codes=np.ones((64, 6), np.int16))
    answers = [chip.cores[0].mvm(request).output_codes for chip in (direct, board)]
    np.testing.assert_array_equal(*answers)
    assert channel.longest <= 100 + len(b"#3100\n")
    board.close()


def test_what_the_device_says_unasked_is_fetched(connect):
    said = [b"", b"", b"event"]
    channel = connect(lambda _: said.pop(0))
    assert MessageTransport(channel).read(100, time.monotonic() + LATER) == b"event"
    assert channel.sent == [b"DIAG:FRAM? #10\n"] * 3


def test_silence_ends_at_the_deadline(connect):
    transport = MessageTransport(connect(lambda _: b""))
    begin = time.monotonic()
    assert transport.read(100, begin + 0.05) == b""
    assert transport.read(100, begin) == b""
    assert time.monotonic() - begin < 5.0


def test_a_response_that_never_came_does_not_block_what_is_sent_again(connect):
    channel = connect(part=100)
    transport = MessageTransport(channel)
    channel.deaf = 1
    transport.write(b"first")
    assert transport.read(100, time.monotonic()) == b""
    transport.write(b"again")
    assert transport.read(100, time.monotonic() + LATER) == b"again"
    assert channel.instrument.bench.status.take_error().number == -410


def test_a_response_that_is_no_block_costs_its_bytes_alone(connect):
    channel = connect(part=3)
    answers = [b"nonsense\n#15abcde\n", b"#15cut\n", b"#12ok\n"]
    channel.exchange = MessageExchange(lambda _: answers.pop(0), channel.instrument.report)
    transport = MessageTransport(channel)
    transport.write(b"frame")
    assert transport.read(100, time.monotonic() + LATER) == b"ok"


def test_a_closed_transport_is_unavailable(connect):
    channel = connect()
    transport = MessageTransport(channel)
    transport.close()
    transport.close()
    assert channel.closed == 1
    with pytest.raises(CoreUnavailableError):
        transport.write(b"x")
    with pytest.raises(CoreUnavailableError):
        transport.read(1, time.monotonic())
