"""A stream under silence, floods and noise: bounded, deaf to nobody for long, harmless."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice

import pytest

from drivers import instrument_stream
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.instrument import power_on_settings
from drivers.instrument_stream import InstrumentStream
from hil import Chip
from protocols.wire.scpi_fuzz import scpi_inputs
from protocols.wire.scpi_stream import Plane


class Bench:
    """A device with known answers and a clock to turn."""

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


@pytest.fixture
def bench(make_cells: Callable[[], Chip]) -> Bench:
    return Bench(make_cells())


def test_a_sender_that_died_within_a_block_costs_a_second(bench):
    stream = bench.open()
    stream.receive(b"DIAG:FRAM? #3999half a frame")
    assert stream.receive(b"*OPC?\n") == b""
    bench.now_s = 1.5
    assert stream.receive(b"SYST:ERR?\n").startswith(b"-365,")


def test_a_line_typed_slowly_is_a_line(bench):
    stream = bench.open()
    for letter in b"*OPC?":
        bench.now_s += 10.0
        assert stream.receive(bytes([letter])) == b""
    assert stream.receive(b"\n") == b"1\n"


def test_a_flood_of_queries_is_answered_as_the_answers_are_taken(bench, monkeypatch):
    monkeypatch.setattr(instrument_stream, "MAX_OUTPUT_BYTES", 100)
    stream = bench.open()
    stream.accept(b"SYST:VERS?\n" * 1000)
    assert stream._output_bytes < 200
    answers = b""
    while part := stream.take_output():
        assert len(part) < 200
        answers += part
    assert answers == b"1999.0\n" * 1000


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_pulse_read_or_configure_a_chip_without_the_lease(bench, seed):
    stream = bench.open()
    patterns = stream.instrument.bench.headers
    headers = [p.replace("[", "").replace("]", "").replace("#", "2") for p in patterns]
    generator = random.Random(seed)
    for data in islice(scpi_inputs(seed), 300):
        text = generator.choice(headers).encode() + generator.choice([b" ", b"\n"]) + data
        if b"REQ" not in text.upper():
            stream.receive(text)
            stream.instrument.bench.plane = generator.choice(list(Plane))
    assert not {"program", "read", "mvm", "configure", "wait"} & bench.executed
    stream.instrument.bench.plane = Plane.TEXT
    bench.now_s += 2.0
    assert stream.receive(b"\n*CLS\n*OPC?\n") == b"1\n"
