"""Both planes of one byte stream over one device: text and frames, their lease, resets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drivers.board import open_board
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.instrument import power_on_settings
from drivers.instrument_stream import InstrumentStream
from drivers.transport import MemoryTransport
from hil import Chip, CoreSettings
from protocols.wire import messages as wire
from protocols.wire.link import Event, HostLink, Reply
from protocols.wire.scpi import encode_command, parse_response
from protocols.wire.scpi_data import Block
from protocols.wire.scpi_stream import Plane


class Bench:
    """A device with known answers, its streams and a clock to turn."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.now_s = 0.0
        self.device = Dispatcher(chip, boot=1, clock=lambda: self.now_s)
        self.power_on = power_on_settings(chip)

    def open(self) -> InstrumentStream:
        return InstrumentStream(
            DeviceEmulator(self.device), self.power_on, clock=lambda: self.now_s
        )

    @property
    def executed(self) -> set[str]:
        return {verb for core in self.chip.cores for verb in core.executed}


class Host:
    """The host's end of the binary plane of a stream."""

    def __init__(self, stream: InstrumentStream) -> None:
        self.stream = stream
        self.link = HostLink()
        self.events: list[wire.Message] = []

    def hello(self) -> None:
        version = wire.PROTOCOL_VERSION
        request = wire.HelloRequest(
            lowest_version=version, highest_version=version, session=5, holder="Ada"
        )
        answer = self.ask(request)
        assert isinstance(answer, wire.HelloReply)
        self.link.begin(answer)

    def ask(self, message: wire.Message, core: int = 0) -> wire.Message:
        _, data = self.link.request(core, message)
        return self.take(self.stream.receive(data))

    def take(self, data: bytes) -> wire.Message:
        found = self.link.receive(data)
        self.events += [item.message for item in found if isinstance(item, Event)]
        (reply,) = [item for item in found if isinstance(item, Reply)]
        assert isinstance(reply.message, wire.Message)
        return reply.message

    def scpi(self, text: str) -> bytes:
        reply = self.ask(wire.ScpiRequest(text=text))
        assert isinstance(reply, wire.ScpiReply)
        return reply.data


@pytest.fixture
def bench(make_cells: Callable[[], Chip]) -> Bench:
    return Bench(make_cells())


@pytest.fixture
def host(bench: Bench) -> Host:
    host = Host(bench.open())
    host.hello()
    return host


def errors(stream: InstrumentStream) -> list[int]:
    status = stream.instrument.bench.status
    return [status.take_error().number for _ in range(status.errors)]


def test_a_terminal_is_served_in_any_split(bench):
    stream = bench.open()
    text = b"*OPC?\r\nDIAG:TIME?;:SYST:VERS?\r\n"
    assert b"".join(stream.receive(text[k : k + 1]) for k in range(len(text))) == (
        b"1\n0.0;1999.0\n"
    )


def test_hello_takes_the_stream_to_the_binary_plane_whatever_stood_there(bench):
    stream = bench.open()
    stream.receive(b"boot: ok\r\n> *ID")
    host = Host(stream)
    host.hello()
    assert stream.plane is Plane.BINARY
    assert errors(stream) == [-111]
    assert isinstance(host.ask(wire.NowRequest()), wire.NowReply)


def test_the_mode_command_takes_effect_behind_its_newline(bench):
    stream = bench.open()
    host = Host(stream)
    request = wire.SafeStateRequest()
    _, data = host.link.request(wire.ALL_CORES, request)
    out = stream.receive(b"*OPC?;:SYST:COMM:MODE BIN\n" + data)
    assert out.startswith(b"1\n")
    assert host.take(out[2:]) == wire.SafeStateReply()


def test_a_frame_carries_a_message_and_may_end_the_binary_plane(host):
    assert host.scpi("*ESE 7;*ESE?") == b"7"
    assert host.scpi("SYST:COMM:MODE?") == b"BIN"
    assert host.scpi("SYST:COMM:MODE TEXT") == b""
    assert host.stream.receive(b"SYST:COMM:MODE?;:*ESE?\n") == b""
    assert errors(host.stream) == [-102]
    assert host.stream.receive(b"SYST:COMM:MODE?;*ESE?\n") == b"TEXT;7\n"


def test_frames_cross_in_blocks_under_the_same_session(bench):
    stream = bench.open()
    link = HostLink()
    version = wire.PROTOCOL_VERSION
    hello = wire.HelloRequest(
        lowest_version=version, highest_version=version, session=5, holder="Ada"
    )
    for message in (hello, wire.LockRequest(holder="Ada", lapse_s=0.0, takeover=False)):
        _, data = link.request(0, message)
        response = stream.receive(encode_command("DIAG:FRAM?", data) + b"\n")
        ((block,),) = parse_response(response)
        assert isinstance(block, Block)
        (reply,) = link.receive(block.data)
        if isinstance(reply.message, wire.HelloReply):
            link.begin(reply.message)
    assert stream.receive(b"CONF:RANG 1;RANG?\n") == b"1\n"
    assert stream.receive(b"SYST:LOCK:OWN?\n") == b'"Ada",1\n'
    assert stream.plane is Plane.TEXT


def test_a_frame_does_not_carry_the_command_that_carries_frames(host):
    assert host.scpi("DIAG:FRAM? #15abcde;*OPC?") == b"1"
    assert errors(host.stream) == [-221]


def test_a_lease_of_one_plane_is_that_of_the_other_and_of_no_other_stream(bench, host):
    other = bench.open()
    assert host.ask(wire.LockRequest(holder="Ada", lapse_s=0.0, takeover=False)).granted
    assert host.scpi("CONF:RANG 1;RANG?") == b"1"
    other.receive(b"CONF:RANG 0\n")
    assert errors(other) == [-203]
    mutation = host.ask(wire.MutationRequest(mutation=1))
    assert mutation.fate is wire.Fate.DONE
    assert other.receive(b"DIAG:MUT?\n") == b"1,DONE,0,0.0\n"
    host.hello()
    assert other.receive(b'SYST:LOCK:REQ? "Bob";:CONF:RANG 0;RANG?\n') == b"2;0\n"


def test_a_host_may_use_both_planes_without_losing_count_of_its_mutations(bench):
    with open_board(MemoryTransport(bench.open().receive), address="test:") as chip:
        board = chip.cores[0].board
        chip.cores[1].configure(CoreSettings(output_range=0))
        assert board.control("CORE2:CONF:RANG 1;GAIN 7;RANG?") == b"1"
        chip.cores[1].configure(CoreSettings(temperature_kelvin=310.0))
        assert board.control("CORE2:CONF:TEMP?;:SYST:ERR?") == b'310.0;0,"No error"'
        assert bench.device.ledger.last == 4


def test_a_lease_of_text_lapses_in_silence_and_the_cores_are_safe(bench):
    stream = bench.open()
    assert stream.receive(b"SYST:LOCK:REQ? 'Ada', 2 S;:CONF:RANG 1;:OUTP:STAT?\n") == b"1;1\n"
    bench.now_s = 1.5
    assert stream.receive(b"*OPC?\n") == b"1\n"
    bench.now_s = 3.4
    assert stream.receive(b"STAT:OPER:COND?\n") == b"256\n"
    bench.now_s = 5.5
    assert stream.receive(b"STAT:OPER:COND?;:OUTP:STAT?\n") == b"0;0\n"


def test_safe_is_for_everybody_and_stops_the_owner(bench, host):
    host.ask(wire.LockRequest(holder="Ada", lapse_s=0.0, takeover=False))
    host.scpi("CORE2:CONF:RANG 1")
    other = bench.open()
    assert other.receive(b"OUTP:SAFE;STAT?\n") == b"0\n"
    assert host.scpi("CONF:RANG 1") == b""
    assert errors(host.stream) == [-203]


def test_safe_does_not_wait_for_a_mutation_under_way(bench, host):
    host.ask(wire.LockRequest(holder="Ada", lapse_s=0.0, takeover=False))
    _, data = host.link.request(0, wire.WaitRequest(seconds=1.0))
    host.stream.accept(data)
    other = bench.open()
    other.accept(b"OUTP:SAFE\n")
    assert "safe_state" in bench.chip.cores[0].executed
    assert "wait" not in bench.executed


def test_events_reach_the_binary_plane_and_no_terminal(bench, host):
    terminal = bench.open()
    terminal.receive(b"SYST:LOCK:REQ? 'Bob', 1 S\n")
    bench.now_s = 5.0
    bench.device.tick()
    assert terminal.take_output() == b""
    assert host.ask(wire.NowRequest()) == wire.NowReply(now_s=0.0)
    assert [type(event) for event in host.events] == [wire.LeaseLapsedEvent]


def test_after_a_loss_of_power_a_stream_speaks_text_again(bench, host):
    assert host.scpi("*ESE 7;*ESR?") == b"128"
    bench.device.power_cycle()
    assert host.stream.plane is Plane.TEXT
    assert host.stream.receive(b"*ESE?;*ESR?\n") == b"0;128\n"
    again = Host(host.stream)
    again.hello()
    assert again.scpi("*ESE?") == b"0"


def test_a_closed_stream_leaves_a_free_lease_and_safe_cores(bench):
    stream, other = bench.open(), bench.open()
    stream.receive(b"SYST:LOCK:REQ?;:CONF:RANG 1\n")
    stream.close()
    assert other.receive(b"SYST:LOCK:OWN?;:OUTP:STAT?\n") == b'"",1;0\n'
