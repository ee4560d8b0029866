"""The instrument: every command over a chip with known answers; refusals by number; the lease."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.instrument import Instrument, power_on_settings
from drivers.instrument_stream import InstrumentStream
from hil import Chip, ChipInfo, CoreSettings
from hil.errors import DeviceFaultError
from protocols import wire as wire_folder
from protocols.wire.scpi import encode_command, parse_response
from protocols.wire.scpi_data import value_of

COLS = 5
VECTORS = json.loads((Path(wire_folder.__path__[0]) / "scpi_vectors.json").read_text("utf-8"))


class Desk:
    """A device and the instruments of its sessions."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.device = Dispatcher(chip, boot=1)
        self.power_on = power_on_settings(chip)

    def stream(self, clock: Callable[[], float] = lambda: 0.0) -> InstrumentStream:
        return InstrumentStream(DeviceEmulator(self.device), self.power_on, clock=clock)

    def open(self) -> Instrument:
        return self.stream().instrument


@pytest.fixture
def desk(make_cells: Callable[[], Chip]) -> Desk:
    return Desk(make_cells())


@pytest.fixture
def owner(desk: Desk) -> Instrument:
    """An instrument that holds the lease."""
    instrument = desk.open()
    assert ask(instrument, 'SYST:LOCK:REQ? "Ada"') == [1]
    return instrument


def ask(instrument: Instrument, text: str) -> list[Any]:
    """Send a message; return the values of its only answer."""
    (found,) = parse_response(instrument.execute(text.encode("latin1")))
    return [value_of(datum) for datum in found]


def send(instrument: Instrument, text: str | bytes) -> list[int]:
    """Send commands; return the numbers of the errors they made."""
    assert instrument.execute(text if isinstance(text, bytes) else text.encode()) == b""
    return errors(instrument)


def errors(instrument: Instrument) -> list[int]:
    numbers = []
    while (number := ask(instrument, "SYST:ERR?")[0]) != 0:
        numbers.append(number)
    return numbers


def executed(desk: Desk) -> list[list[str]]:
    return [core.executed for core in desk.chip.cores]  # type: ignore[attr-defined]


def test_it_says_what_it_is_and_that_it_is_simulated(desk):
    answer = desk.open().execute(b"*IDN?")
    assert answer == b"AIMC-HIL sim,integer-cells,CELLS-1,cells 1\n"
    assert desk.open().execute(b"SYST:VERS?\n"[:-1]) == b"1999.0\n"


def test_the_golden_dialogue_is_held(desk):
    instrument = desk.open()
    for text, response in VECTORS["dialogue"]:
        assert (text, instrument.execute(text.encode()).decode()) == (text, response)
    assert errors(instrument) == [-113, -222, -224]


def test_the_capabilities_are_those_of_the_binary_plane(desk):
    (block,) = ask(desk.open(), "SYST:CAP?")
    assert ChipInfo.model_validate_json(block) == desk.chip.info
    assert json.loads(block)["cores"][1]["cols"] == COLS


def test_every_header_is_listed_and_found(desk):
    (block,) = ask(desk.open(), "SYSTem:HELP:HEADers?")
    headers = block.decode().splitlines()
    assert {"*IDN?", "SYSTem:ERRor[:NEXT]?", "[CORE#:]CONFigure:RANGe"} <= set(headers)
    for header in headers:
        plain = header.replace("[", "").replace("]", "").replace("#", "1")
        instrument = desk.open()
        instrument.execute(plain.encode())
        assert -113 not in errors(instrument)


def test_settings_are_written_under_the_lease_and_read_back(desk, owner):
    assert send(owner, "CORE2:CONF:RANG 1;TEMP 27 CEL;GAIN -300;OFFS 1,2,3,4,-15") == []
    assert ask(owner, "CORE2:CONF:RANG?") == [1]
    assert ask(owner, "CONF:RANG?") == [0]
    assert ask(owner, "CORE2:CONF:TEMP?") == [300.15]
    assert ask(owner, "CORE2:CONF:GAIN?") == [-300] * COLS
    assert ask(owner, "CORE2:CAL:OFFS? 4") == [-15]
    assert desk.device.ledger.last == 4
    assert ask(owner, "DIAG:MUT?")[0] == 4


def test_a_trim_register_is_written_whole_or_one_col_at_a_time(desk, owner):
    codes = np.array([0, 300, -300, 7, 1], "<i2")
    assert send(owner, encode_command("CORE1:CAL:GAIN:DATA", codes.tobytes())) == []
    assert send(owner, "CAL:GAIN 3,MIN") == []
    assert ask(owner, "CONF:GAIN?") == [0, 300, -300, -300, 1]
    assert np.frombuffer(ask(owner, "CAL:GAIN:DATA?")[0], "<i2").tolist()[3] == -300
    assert ask(owner, "CAL:OFFS:LIM?") == [-15, 15, 1.0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("CONF:RANG 2", -222),
        ("CONF:RANG 1 V", -138),
        ("CONF:GAIN 301", -222),
        ("CONF:GAIN 1,2", -109),
        ("CAL:GAIN 5,0", -222),
        ("CAL:GAIN 1", -109),
        ("CAL:GAIN 1,2,3", -108),
        ("CAL:GAIN:DATA #14abcd", -220),
        ("CAL:OFFS:DATA #210" + "\x10\x00" * 5, -222),
        ("CONF:TEMP 30 S", -131),
        ("CORE3:CONF:RANG 1", -114),
        ("CORE0:CONF:RANG 1", -114),
        ("OUTP:SAFE 1", -108),
        ("*CLS;CONF:RANG 1;NOPE", -113),
        ("CONF:RANG 1;:*CLS", -102),
    ],
)
def test_a_bad_command_changes_nothing(desk, owner, text, number):
    before = [verbs.count("configure") for verbs in executed(desk)]
    assert send(owner, text) == [number]
    assert [verbs.count("configure") for verbs in executed(desk)] == before


def test_without_the_lease_one_may_look_and_make_safe_and_nothing_else(desk, owner):
    other = desk.open()
    for text in ("CONF:RANG 1", "*RST", "CAL:GAIN 1,1", "SYST:LOCK:REL"):
        other.execute(text.encode())
        number, sentence = ask(other, "SYST:ERR?")
        assert number == -203
        assert "Ada" in sentence
    assert ask(other, "SYST:LOCK:OWN?") == ["Ada", 1]
    assert ask(other, "SYST:LOCK:REQ?") == [0]
    assert ask(other, "CONF:RANG?") == [0]
    assert send(other, "OUTP:SAFE") == []
    assert all(core.safe for core in desk.chip.cores)
    assert desk.device.ledger.last == 0


def test_a_lease_is_released_or_taken_over(desk, owner):
    other = desk.open()
    assert ask(other, "STAT:OPER:COND?") == [512]
    assert ask(other, 'SYST:LOCK:REQ? "Bob",1 MIN,ON') == [2]
    assert send(owner, "CONF:RANG 1") == [-203]
    assert ask(other, "STAT:OPER?") == [512 | 256]
    assert send(other, "SYST:LOCK:REL") == []
    assert ask(owner, "SYST:LOCK:OWN?")[0] == ""
    assert ask(owner, "STAT:OPER:COND?") == [0]


def test_reset_restores_the_settings_of_power_on_and_touches_no_cell(desk, owner):
    for core in desk.chip.cores:
        core.cells[:] = 9
    assert send(owner, "CORE2:CONF:RANG 1;TEMP 350;:CONF:GAIN 5;OFFS 5") == []
    assert send(owner, "*RST") == []
    for core, settings in zip(desk.chip.cores, desk.power_on, strict=True):
        np.testing.assert_equal(vars(core.settings()), vars(settings))
        assert core.safe
        assert (core.cells == 9).all()
    assert ask(owner, "OUTP:STAT?") == [0]
    assert send(owner, "CORE2:CONF:RANG 1") == []
    states = [ask(owner, f"{node}OUTP:STAT?") for node in ("", "CORE1:", "CORE2:")]
    assert states == [[1], [0], [1]]


def test_a_failure_on_the_way_of_a_reset_still_ends_safe(desk, owner):
    left, right = desk.chip.cores

    def configure(settings: CoreSettings) -> None:
        right.safe = False
        raise DeviceFaultError("a register is stuck")

    right._do_configure = configure
    assert send(owner, "*RST") == [-240]
    assert left.safe
    assert right.safe


def test_measurements_and_counters(desk):
    instrument = desk.open()
    assert ask(instrument, "SENS:TEMP?") == ask(instrument, "CORE2:SENSe:TEMPerature?") == [300.1]
    desk.chip.cores[0].wait(2.5)
    assert ask(instrument, "DIAG:TIME?") == [2.5]
    counters = ask(instrument, "DIAG:COUN?")
    assert counters[:4] == [0, 0, 0, 0]
    assert math.isnan(counters[4])
    assert ask(instrument, "CONF:RANG:CAT?") == [0.1, 1.0]
    assert ask(instrument, "CONF:RANG? MAX") == [1]
    counters = ask(instrument, "DIAG:LINK?")
    assert dict(zip(counters[::2], counters[1::2], strict=True)) == dict(
        instrument.bench.session.statistics()
    )


def test_the_self_test_finds_a_broken_core_and_touches_no_cell(desk):
    instrument = desk.open()
    assert ask(instrument, "*TST?") == [0]
    assert not any({"program", "read", "mvm", "configure"} & set(v) for v in executed(desk))
    desk.chip.cores[1].fault = DeviceFaultError("no answer from the array")
    assert ask(instrument, "*TST?") == [1]
    number, text = ask(instrument, "SYST:ERR?")
    assert number == -330
    assert "core 1" in text


def test_a_fault_of_the_core_is_queued_and_the_rest_goes_on(desk):
    instrument = desk.open()
    desk.chip.cores[0].fault = DeviceFaultError("over-temperature")
    assert instrument.execute(b"SENS:TEMP?;*OPC?") == b"1\n"
    number, text = ask(instrument, "SYST:ERR?")
    assert (number, text) == (-240, "Hardware error; over-temperature")


def test_answers_of_one_message_come_in_order_with_semicolons(desk):
    instrument = desk.open()
    assert instrument.execute(b"*ESE 5;*ESE?;*SRE 255;*SRE?;*STB?;*OPC;*OPC?") == b"5;191;80;1\n"
    assert ask(instrument, "*ESR?") == [128 | 1]
    assert ask(instrument, "SYST:ERR:COUN?") == [0]
