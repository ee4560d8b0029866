"""Common commands of the instrument: the starred ones of IEEE 488.2 and the STATus registers."""

from __future__ import annotations

from drivers.instrument_bench import Bench, Call, Entry, answer
from hil.info import ChipInfo
from protocols.wire import messages as wire
from protocols.wire.scpi_errors import ScpiError, printable
from protocols.wire.scpi_status import Event, EventRegister

__all__ = ["COMMON_COMMANDS"]

_MAKER = "AIMC-HIL"
_MAX_CONDITION = 0x7FFF  # bit 15 of a SCPI register is never used
_HOTTEST_KELVIN = 1000.0  # beyond any packaged chip: a sensor that says more is broken


def _identify(bench: Bench, _: Call) -> bytes:
    info = bench.info
    versions = info.cores[0].versions
    firmware = " ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "0"
    maker = f"{_MAKER} {info.backend.value}"
    return b",".join(map(_identity_field, (maker, info.model, info.serial, firmware)))


def _identity_field(text: str) -> bytes:
    return printable(text).replace(",", " ").replace(";", " ").encode("ascii")


def _reset(bench: Bench, _: Call) -> None:
    """Idle all drivers, restore the settings of power-on, idle again; cells are never touched."""
    bench.require_lease()
    everywhere = wire.SafeStateRequest()
    bench.ask(wire.ALL_CORES, everywhere, wire.SafeStateReply)
    try:
        for core, settings in enumerate(bench.power_on):
            bench.configure(core, settings)
    finally:
        bench.ask(wire.ALL_CORES, everywhere, wire.SafeStateReply)


def _self_test(bench: Bench, _: Call) -> bytes:
    failed = 0
    for core in range(len(bench.info.cores)):
        try:
            _test_core(bench, core)
        except ScpiError as error:
            failed += 1
            bench.status.report(ScpiError(-330, f"core {core}: {error.text}"))
    try:
        same = _told_info(bench) == bench.info
    except (ScpiError, ValueError):
        same = False
    if not same:
        failed += 1
        bench.status.report(ScpiError(-330, "the capabilities are no description of the chip"))
    return answer(failed)


def _test_core(bench: Bench, core: int) -> None:
    """Read what a core says of itself and check that it can be true; changes nothing."""
    before = bench.ask(core, wire.StatusRequest(), wire.StatusReply)
    settings = bench.settings(core)
    after = bench.ask(core, wire.NowRequest(), wire.NowReply)
    if after.now_s < before.now_s:
        raise ScpiError(-240, f"time ran back from {before.now_s} s to {after.now_s} s")
    if not 0 < before.temperature_kelvin < _HOTTEST_KELVIN:
        raise ScpiError(-240, f"the temperature sensor says {before.temperature_kelvin} K")
    info = bench.info.cores[core]
    ranges = len(info.output_ranges_siemens)
    if settings.output_range is not None and settings.output_range >= ranges:
        raise ScpiError(-240, f"output range {settings.output_range} of {ranges} is set")
    trims = ((settings.gain_trim, info.gain_trim), (settings.offset_trim, info.offset_trim))
    for trim, scale in trims:
        if trim is None or scale is None:
            continue
        if trim.size != info.cols or trim.min() < scale.min_code or trim.max() > scale.max_code:
            raise ScpiError(-240, f"a trim register holds codes outside {scale}")
    set_kelvin = settings.temperature_kelvin
    if set_kelvin is not None and not 0 < set_kelvin < _HOTTEST_KELVIN:
        raise ScpiError(-240, f"the set temperature is {set_kelvin} K")


def _told_info(bench: Bench) -> ChipInfo:
    reply = bench.ask(0, wire.CapabilitiesRequest(), wire.CapabilitiesReply)
    return ChipInfo.model_validate_json(reply.json)


def _clear(bench: Bench, _: Call) -> None:
    bench.status.clear()


def _take_events(bench: Bench, _: Call) -> bytes:
    return answer(bench.status.take_events())


def _set_event_enable(bench: Bench, call: Call) -> None:
    bench.status.event_enable = call.arguments.integer("mask", 0, 255)


def _event_enable(bench: Bench, _: Call) -> bytes:
    return answer(bench.status.event_enable)


def _set_service_enable(bench: Bench, call: Call) -> None:
    bench.status.service_enable = call.arguments.integer("mask", 0, 255)


def _service_enable(bench: Bench, _: Call) -> bytes:
    return answer(bench.status.service_enable)


def _status_byte(bench: Bench, _: Call) -> bytes:
    bench.update_registers()
    return answer(bench.status.status_byte(message_available=bench.message_available))


def _operation_complete(bench: Bench, _: Call) -> None:
    bench.status.set_event(Event.OPERATION_COMPLETE)  # commands end before the next one begins


def _is_complete(_bench: Bench, _: Call) -> bytes:
    return answer(1)


def _wait_to_continue(_bench: Bench, _: Call) -> None:
    """Commands end before the next one begins: there is nothing to wait for."""


def _preset(bench: Bench, _: Call) -> None:
    bench.status.preset()


def _register_commands(name: str, register: str) -> dict[str, Entry]:
    def of(bench: Bench) -> EventRegister:
        bench.update_registers()
        found = getattr(bench.status, register)
        assert isinstance(found, EventRegister)  # noqa: S101 - a name of this module
        return found

    def enable(bench: Bench, call: Call) -> None:
        of(bench).enable = call.arguments.integer("mask", 0, _MAX_CONDITION)

    return {
        f"STATus:{name}[:EVENt]?": Entry(lambda bench, _: answer(of(bench).take_event())),
        f"STATus:{name}:CONDition?": Entry(lambda bench, _: answer(of(bench).condition)),
        f"STATus:{name}:ENABle": Entry(enable, most=1),
        f"STATus:{name}:ENABle?": Entry(lambda bench, _: answer(of(bench).enable)),
    }


COMMON_COMMANDS: dict[str, Entry] = {
    "*IDN?": Entry(_identify),
    "*RST": Entry(_reset),
    "*TST?": Entry(_self_test),
    "*CLS": Entry(_clear),
    "*ESR?": Entry(_take_events),
    "*ESE": Entry(_set_event_enable, most=1),
    "*ESE?": Entry(_event_enable),
    "*SRE": Entry(_set_service_enable, most=1),
    "*SRE?": Entry(_service_enable),
    "*STB?": Entry(_status_byte),
    "*OPC": Entry(_operation_complete),
    "*OPC?": Entry(_is_complete),
    "*WAI": Entry(_wait_to_continue),
    "STATus:PRESet": Entry(_preset),
    **_register_commands("OPERation", "operation"),
    **_register_commands("QUEStionable", "questionable"),
}
"""Pattern -> what carries it out."""
