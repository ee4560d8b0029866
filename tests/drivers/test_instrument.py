"""The instrument: every command over a chip with known answers; refusals by number; the lease."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import translate
from drivers.faults import error_to_wire
from drivers.instrument import _TREE, Instrument, InstrumentStream, power_on_settings
from hil import Chip, ChipInfo
from hil.errors import DeviceFaultError
from protocols import wire as wire_folder
from protocols.wire import messages as wire
from protocols.wire.scpi import encode_command, parse_response
from protocols.wire.scpi_data import Value, value_of
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_fuzz import scpi_inputs
from protocols.wire.scpi_stream import Plane

COLS = 5
VECTORS = json.loads((Path(wire_folder.__path__[0]) / "scpi_vectors.json").read_text("utf-8"))


class Desk:
    """A device with one lease and a mutation counter, in the plainest form that obeys the rules."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.owner: Session | None = None
        self.holder = ""
        self.token = 0
        self.mutation = 0
        self.power_on = power_on_settings(chip)

    def open(self) -> Instrument:
        return Instrument(Session(self), self.power_on)


class Session:
    """One session on a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.blocks: list[bytes] = []

    @property
    def info(self) -> ChipInfo:
        return self.desk.chip.info

    @property
    def token(self) -> int:
        return self.desk.token if self.desk.owner is self else 0

    @property
    def last_mutation(self) -> int:
        return self.desk.mutation

    def frames(self, data: bytes) -> bytes:
        self.blocks.append(data)
        return data[::-1]

    def statistics(self) -> Mapping[str, int]:
        return {"requests": 7, "dropped": 1}

    def ask(self, core: int, message: wire.Message) -> wire.Message:
        try:
            return self._ask(core, message)
        except Exception as error:  # noqa: BLE001 - as the device does
            return error_to_wire(error)

    def _ask(self, core: int, message: wire.Message) -> wire.Message:  # noqa: PLR0911, PLR0912
        desk, cores = self.desk, self.desk.chip.cores
        match message:
            case wire.CapabilitiesRequest():
                return wire.CapabilitiesReply(json=self.info.model_dump_json().encode())
            case wire.LockRequest():
                granted = message.takeover or desk.owner in (None, self)
                if granted:
                    desk.owner, desk.holder, desk.token = self, message.holder, desk.token + 1
                return wire.LockReply(
                    granted=granted,
                    token=desk.token,
                    holder=desk.holder,
                    last_mutation=desk.mutation,
                )
            case wire.UnlockRequest():
                desk.owner, desk.holder = None, ""
                return wire.UnlockReply()
            case wire.OwnerRequest():
                return wire.OwnerReply(holder=desk.holder, token=desk.token)
            case wire.MutationRequest():
                known = 0 < message.mutation <= desk.mutation
                fate = wire.Fate.DONE if known else wire.Fate.NEVER
                return wire.MutationReply(fate=fate, pulses=0, at_s=0.0)
            case wire.SafeStateRequest():
                for k in range(len(cores)) if core == wire.ALL_CORES else [core]:
                    cores[k].safe_state()
                return wire.SafeStateReply()
            case wire.StatusRequest():
                return translate.status_to_wire(cores[core].status())
            case wire.TemperatureRequest():
                status = cores[core].status()
                return wire.TemperatureReply(
                    temperature_kelvin=status.temperature_kelvin, at_s=status.now_s
                )
            case wire.NowRequest():
                return wire.NowReply(now_s=cores[core].now_s())
            case wire.SettingsRequest():
                return translate.settings_to_wire(cores[core].info, cores[core].settings())
            case wire.ConfigureRequest():
                if not message.token or message.token != self.token:
                    return refusal(f"the lease of {desk.holder or 'nobody'} is in the way")
                assert message.mutation == desk.mutation + 1
                desk.mutation += 1
                cores[core].configure(translate.settings_from_wire(cores[core].info, message))
                return wire.ConfigureReply()
        raise AssertionError(message)


def refusal(text: str) -> wire.ErrorReply:
    return wire.ErrorReply(
        error_class=wire.ErrorClass.UNAVAILABLE,
        status=wire.Status.NOT_OWNER,
        effect=wire.Effect.NONE,
        text=text,
        fields=b"{}",
    )


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
    assert desk.mutation == 4
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
    assert desk.mutation == 0


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
    desk.chip.cores[0].fault = DeviceFaultError("a register is stuck")
    assert send(owner, "*RST") != []
    assert desk.chip.cores[1].executed[-1] == "safe_state" or not desk.chip.cores[1].safe


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
    assert ask(instrument, "DIAG:LINK?") == ["requests", 7, "dropped", 1]


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


def test_a_frame_crosses_in_a_block_and_not_within_itself(desk):
    instrument = desk.open()
    block: Value = b"\x00\n;frame"
    assert ask(instrument, encode_command("DIAG:FRAM?", block).decode("latin1")) == [block[::-1]]
    assert instrument.execute_framed("DIAG:FRAM? #15abcde;*OPC?") == b"1"
    assert errors(instrument) == [-221]


def test_a_stream_changes_its_plane_by_command_or_by_a_zero_byte(desk):
    instrument = desk.open()
    stream = InstrumentStream(instrument)
    assert stream.receive(b"*OPC?\r\nSYST:COMM:MODE BIN\nab") == b"1\nba"
    assert stream.plane is Plane.BINARY
    assert stream.receive(b"*OPC?\n") == b"\n?CPO*"
    instrument.bench.session.frames = lambda _: instrument.execute_framed("SYST:COMM:MODE TEXT")
    assert stream.receive(b"frame") == b""
    assert stream.receive(b"SYST:COMM:MODE?\n") == b"TEXT\n"
    assert stream.receive(b"junk\x00") == b""
    assert stream.plane is Plane.BINARY


def test_a_stream_that_falls_silent_within_a_message_starts_anew(desk):
    stream = InstrumentStream(desk.open())
    stream.receive(b"DIAG:FRAM? #3999half a fra")
    stream.lapse()
    assert stream.receive(b"SYST:ERR?\n").startswith(b"-365,")
    assert stream.receive(b"x" * (1 << 21) + b"\nSYST:ERR?\n").startswith(b"-363,")


def test_what_is_no_error_of_ours_is_a_system_error(desk):
    instrument = desk.open()

    def broken(core: int, message: wire.Message) -> wire.Message:
        raise KeyError("surprise")

    instrument.bench.session.ask = broken
    assert instrument.execute(b"*OPC?") == b""
    assert instrument.bench.status.take_error().number == -310


def test_an_error_of_the_transport_shows_in_the_status_byte(desk):
    instrument = desk.open()
    assert instrument.status_byte(message_available=True) == 16
    instrument.report(ScpiError(-410))
    assert instrument.status_byte() == 4


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_pulse_read_or_configure_a_chip_without_the_lease(desk, seed):
    stream = InstrumentStream(desk.open())
    headers = [p.replace("[", "").replace("]", "").replace("#", "2") for p in _TREE.patterns]
    generator = random.Random(seed)
    for data in islice(scpi_inputs(seed), 300):
        text = generator.choice(headers).encode() + generator.choice([b" ", b"\n"]) + data
        if b"REQ" not in text.upper():
            stream.receive(text)
    assert not {"program", "read", "mvm", "configure", "wait"} & {
        v for c in executed(desk) for v in c
    }
    stream = InstrumentStream(desk.open())
    stream.receive(b"\n*CLS\n")
    assert stream.receive(b"*OPC?\n") == b"1\n"
