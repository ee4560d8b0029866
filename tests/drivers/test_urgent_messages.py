"""`hil safe` over VISA messages: OUTP:SAFE whoever owns the board, proven by OUTP:STAT?."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from drivers import urgent, urgent_messages
from drivers.board import Board, LeaseTerms
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.instrument import Instrument, power_on_settings
from drivers.transport import MemoryTransport
from drivers.visa_messages import VisaChannel
from hil import Chip
from hil.address import parse_address
from hil.errors import CoreTimeoutError, CoreUnavailableError, DeviceFaultError
from hil.urgent import SafeProof
from protocols.wire.scpi_exchange import MessageExchange

ADDRESS = "visa:USB0::0x1234::0x5678::BOARD::INSTR"


class InstrumentResource:
    """A USBTMC resource of PyVISA with an emulated board behind it, read in parts."""

    def __init__(self, device: Dispatcher) -> None:
        stream = DeviceEmulator(device)
        instrument = Instrument(stream, power_on_settings(device.chip))
        self.exchange = MessageExchange(instrument.execute, instrument.report, 1 << 20)
        self.session, self.timeout = 7, 0
        self.visalib = SimpleNamespace(read=self.read)
        self.sent: list[bytes] = []
        self.swallows: tuple[bytes, ...] = ()

    def write_raw(self, message: bytes) -> None:
        self.sent.append(message)
        if message not in self.swallows:
            self.exchange.write(message, end=True)

    def read(self, _session: int, _count: int) -> tuple[bytes, int]:
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        if not self.exchange.message_available:
            raise VisaIOError(StatusCode.error_timeout)
        data, end = self.exchange.read(100)
        return data, StatusCode.success if end else StatusCode.success_max_count_read


@pytest.fixture
def device(make_cells: Callable[[], Chip]) -> Dispatcher:
    return Dispatcher(make_cells())


@pytest.fixture
def resource(device: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> InstrumentResource:
    made = InstrumentResource(device)

    def opened(_address: object) -> VisaChannel:
        return VisaChannel(made, description="the board", release=lambda: made.sent.append(b"shut"))

    monkeypatch.setattr(urgent, "open_channel", opened)
    return made


def safe() -> SafeProof:
    return urgent.safe_board(parse_address(ADDRESS))


def test_a_board_that_another_host_owns_is_made_safe_and_says_so(device, resource):
    stream = DeviceEmulator(device)
    board = Board(MemoryTransport(stream.receive), address="fake:", holder="ada")
    board.lock(LeaseTerms(lapse_s=0.0, holder="ada"))
    assert safe() == SafeProof(serial="CELLS-1", cores=2, owner="")
    assert [core.safe for core in device.chip.cores] == [True, True]
    assert device.leases.current is None
    assert resource.sent[0] == b"OUTP:SAFE\n"  # before anything is asked
    assert resource.sent[-1] == b"shut"
    assert safe().cores == 2


def test_a_board_that_does_not_become_safe_is_no_success(device, resource):
    resource.swallows = (b"OUTP:SAFE\n",)
    with pytest.raises(
        DeviceFaultError, match=r"took OUTP:SAFE, but answers OUTP:STAT\? with b'1'"
    ):
        safe()
    assert resource.sent.count(b"OUTP:SAFE\n") == 3
    assert resource.sent[-1] == b"shut"


@pytest.mark.parametrize("query", [b"SYST:CAP?\n", b"OUTP:STAT?\n"])
def test_silence_is_not_taken_for_safety(resource, monkeypatch, query):
    monkeypatch.setattr(urgent_messages, "ANSWER_S", 0.01)
    resource.swallows = (query,)
    began = time.monotonic()
    with pytest.raises(CoreTimeoutError, match="whether it is safe is not known"):
        safe()
    assert time.monotonic() - began < 5.0


def test_nonsense_is_the_boards_fault(resource, monkeypatch):
    monkeypatch.setattr(urgent_messages, "_ask", lambda *_: b"nonsense\n")
    with pytest.raises(DeviceFaultError, match="SYST:CAP"):
        safe()


def test_nothing_there_is_one_sentence():
    with pytest.raises(CoreUnavailableError, match="nothing answers at USB0"):
        safe()
