"""The instrument before a device that lies, lacks a register or breaks: no exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from drivers import instrument as instrument_module
from drivers import translate
from drivers.instrument import Instrument, power_on_settings
from hil import Chip, ChipInfo
from protocols.wire import messages as wire
from protocols.wire.fields import Codes
from protocols.wire.scpi_errors import ScpiError

HEALTHY = wire.StatusReply(
    now_s=5.0,
    temperature_kelvin=300.0,
    pulses=0,
    reads=0,
    mvms=0,
    last_pulse_at_s=None,
    generation=0,
    safe=True,
)


class Told:
    """A session that answers each kind of request with what it was told to."""

    def __init__(self, info: ChipInfo, replies: Mapping[type[wire.Message], wire.Message]) -> None:
        self.info = info
        self.token = 1
        self.last_mutation = 0
        self.replies = dict(replies)

    def ask(self, core: int, message: wire.Message) -> wire.Message:
        return self.replies[type(message)]

    def frames(self, data: bytes) -> bytes:
        return data

    def statistics(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
def tell(make_cells: Callable[[], Chip]) -> Callable[..., Instrument]:
    """Makes an instrument over a device that gives `replies`; `info` changes its cores' info."""

    def make(*replies: wire.Message, info: Mapping[str, Any] | None = None) -> Instrument:
        chip = make_cells()
        cores = tuple(core.info.model_copy(update=dict(info or {})) for core in chip.cores)
        said = chip.info.model_copy(update={"cores": cores})
        healthy = (
            HEALTHY,
            translate.settings_to_wire(cores[0], chip.cores[0].settings()),
            wire.NowReply(now_s=5.0),
            wire.CapabilitiesReply(json=said.model_dump_json().encode()),
            wire.OwnerReply(holder="Ada", token=1),
            wire.ConfigureReply(),
            wire.SafeStateReply(),
        )
        named = {type(reply).__name__: reply for reply in (*healthy, *replies)}
        table = {
            kind: named[kind.__name__.replace("Request", "Reply")]
            for kind in wire.REQUESTS.values()
            if kind.__name__.replace("Request", "Reply") in named
        }
        return Instrument(Told(said, table), power_on_settings(chip))

    return make


def refusal(error_class: wire.ErrorClass, status: wire.Status) -> wire.ErrorReply:
    return wire.ErrorReply(
        error_class=error_class,
        status=status,
        effect=wire.Effect.NONE,
        text="über\nall",
        fields=b"{}",
    )


def numbers(instrument: Instrument) -> list[int]:
    status = instrument.bench.status
    return [status.take_error().number for _ in range(status.errors)]


def settings(**changed: Any) -> wire.SettingsReply:
    zeros = Codes(item_bytes=2, data=bytes(10))
    told = {
        "output_range": 0,
        "gain_trim": zeros,
        "offset_trim": zeros,
        "temperature_kelvin": 300.0,
    }
    return wire.SettingsReply(**{**told, **changed})


def codes(*values: int) -> Codes:
    return Codes(item_bytes=2, data=np.array(values, "<i2").tobytes())


def test_a_healthy_device_passes_its_self_test(tell):
    instrument = tell(settings())
    assert instrument.execute(b"*TST?") == b"0\n"
    assert numbers(instrument) == []


@pytest.mark.parametrize(
    ("lie", "failed"),
    [
        (wire.NowReply(now_s=4.0), 2),
        (wire.StatusReply(**{**vars(HEALTHY), "temperature_kelvin": 0.0}), 2),
        (wire.StatusReply(**{**vars(HEALTHY), "temperature_kelvin": 5000.0}), 2),
        (settings(output_range=2), 2),
        (settings(gain_trim=codes(0, 0, 301, 0, 0)), 2),
        (settings(offset_trim=codes(0, 0)), 2),
        (settings(temperature_kelvin=-1.0), 2),
        (wire.CapabilitiesReply(json=b"{}"), 1),
        (wire.CapabilitiesReply(json=b"\xff"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, wire.Message) else str(value),
)
def test_the_self_test_sees_a_lie(tell, lie, failed):
    instrument = tell(lie)
    assert instrument.execute(b"*TST?") == b"%d\n" % failed
    assert numbers(instrument) == [-330] * failed


@pytest.mark.parametrize(
    ("error_class", "status", "number"),
    [
        (wire.ErrorClass.UNAVAILABLE, wire.Status.NOT_OWNER, -203),
        (wire.ErrorClass.REQUEST, wire.Status.STALE_TOKEN, -203),
        (wire.ErrorClass.REQUEST, wire.Status.NO_SUCH_CORE, -114),
        (wire.ErrorClass.UNAVAILABLE, wire.Status.CORE_CLOSED, -241),
        (wire.ErrorClass.REQUEST, wire.Status.REFUSED, -220),
        (wire.ErrorClass.UNAVAILABLE, wire.Status.REFUSED, -241),
        (wire.ErrorClass.TIMEOUT, wire.Status.FAILED, -240),
        (wire.ErrorClass.DEVICE_FAULT, wire.Status.ABORTED, -240),
        (wire.ErrorClass.RECORD, wire.Status.FAILED, -250),
    ],
)
def test_a_refusal_of_the_device_has_a_number_and_its_text(tell, error_class, status, number):
    instrument = tell()
    instrument.bench.session.replies[wire.ConfigureRequest] = refusal(error_class, status)
    assert instrument.execute(b"CONF:RANG 1") == b""
    error = instrument.bench.status.take_error()
    assert error.number == number
    assert error.text.endswith("; ?ber all")


@pytest.mark.parametrize(
    "text",
    [b"CONF:GAIN 1", b"CONF:GAIN?", b"CAL:GAIN 1,1", b"CAL:GAIN:LIM?", b"CONF:TEMP 300"],
)
def test_a_register_that_is_not_there_is_missing_hardware(tell, text):
    instrument = tell(info={"gain_trim": None, "capabilities": frozenset()})
    assert instrument.execute(text) == b""
    assert numbers(instrument) == [-241]


@pytest.mark.parametrize(
    ("text", "number"), [(b"CONF:RANG?", -241), (b"CONF:TEMP?", -241), (b"CAL:OFFS? 0", -240)]
)
def test_a_setting_that_is_not_told_is_an_error(tell, text, number):
    nothing = settings(output_range=None, offset_trim=None, temperature_kelvin=None)
    instrument = tell(nothing)
    assert instrument.execute(text) == b""
    assert numbers(instrument) == [number]


def test_a_reply_of_another_kind_is_a_system_error(tell):
    instrument = tell()
    instrument.bench.session.replies[wire.StatusRequest] = wire.NowReply(now_s=0.0)
    assert instrument.execute(b"OUTP:STAT?;*OPC?") == b"1\n"
    assert numbers(instrument) == [-310]


def test_an_exception_on_the_way_is_a_system_error_and_costs_one_command(tell):
    instrument = tell()
    del instrument.bench.session.replies[wire.StatusRequest]
    assert instrument.execute(b"DIAG:COUN?;*OPC?") == b"1\n"
    assert numbers(instrument) == [-310]


def test_a_holder_without_name_or_with_too_long_a_one_is_refused(tell):
    for holder in ("", "x" * 129):
        instrument = tell()
        assert instrument.execute(f'SYST:LOCK:REQ? "{holder}"'.encode()) == b""
        assert numbers(instrument) == [-223]


def test_a_response_too_long_is_dropped_whole(tell, monkeypatch):
    instrument = tell()
    monkeypatch.setattr(instrument_module, "MAX_RESPONSE_BYTES", 10)
    assert instrument.execute(b"*OPC?;*IDN?;*CLS") == b""
    assert numbers(instrument) == [-430]
    assert instrument.execute(b"*STB?") == b"0\n"


def test_a_message_within_a_message_is_refused(tell):
    instrument = tell()
    inner: list[bytes] = []
    instrument.bench.session.frames = lambda data: inner.append(instrument.execute(data)) or b""
    assert instrument.execute(b"DIAG:FRAM? #15*OPC?") == b"#10\n"
    assert inner == [b""]
    assert numbers(instrument) == [-221]


def test_without_any_owner_the_refusal_says_so(tell):
    instrument = tell(wire.OwnerReply(holder="", token=4))
    instrument.bench.session.token = 0
    assert instrument.execute(b"*RST") == b""
    assert "nobody holds the lease" in instrument.bench.status.take_error().text


def test_masks_and_registers_are_written_and_preset(tell):
    instrument = tell()
    text = b"STAT:QUES:ENAB 5;ENAB?;COND?;EVEN?;:STAT:PRES;QUES:ENAB?;:SYST:ERR:ALL?"
    assert instrument.execute(text) == b'5;0;0;0;0,"No error"\n'
    assert instrument.execute(b"NOPE") == b""
    assert instrument.execute(b"*ESE 1000") == b""
    answer = instrument.execute(b"SYST:ERR:ALL?;COUN?")
    assert answer.startswith(b'-113,"Undefined header; NOPE",-222,"')
    assert answer.endswith(b";0\n")


def test_an_error_of_the_transport_shows_in_the_status_byte(tell):
    instrument = tell(wire.OwnerReply(holder="", token=0))
    assert instrument.status_byte(message_available=True) == 16
    instrument.bench.session.token = 0
    instrument.report(ScpiError(-410))
    assert instrument.status_byte() == 4
