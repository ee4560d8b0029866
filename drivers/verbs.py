"""Verbs of a device: a message of a core -> its execution -> the reply. Knows no link and no lease.

Every check is the core's own, so that a request that no host would send is refused like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivers import translate, translate_bulk
from hil.core import Core, ProgramResult, Pulse
from protocols.wire import messages as wire

__all__ = ["PULSES", "VERBS", "pulse_of", "pulse_reply"]

Verb = Callable[[Core, Any], wire.Message]


def pulse_of(core: Core, message: wire.ProgramRequest | wire.ProgramMapRequest) -> Pulse:
    """Return the pulses that a list or a map asks for.

    Raises:
        RemoteProtocolError: A map does not fit the array.
    """
    if isinstance(message, wire.ProgramMapRequest):
        return translate_bulk.map_from_wire(core.info, message)
    return translate.pulse_from_wire(message)


def pulse_reply(
    message: wire.ProgramRequest | wire.ProgramMapRequest, result: ProgramResult
) -> wire.Message:
    """Return the reply to pulses."""
    return translate.program_result_to_wire(result, PULSES[type(message)])


def _read(core: Core, message: wire.ReadRequest) -> wire.Message:
    result = core.read(translate.read_from_wire(message))
    return translate.read_result_to_wire(core.info, result)


def _read_region(core: Core, message: wire.ReadRegionRequest) -> wire.Message:
    result = core.read(translate_bulk.region_from_wire(core.info, message))
    return translate.read_result_to_wire(core.info, result, wire.ReadRegionReply)


def _mvm(core: Core, message: wire.MvmRequest) -> wire.Message:
    result = core.mvm(translate.mvm_from_wire(core.info, message))
    return translate.mvm_result_to_wire(core.info, result)


def _mvm_seeded(core: Core, message: wire.MvmSeededRequest) -> wire.Message:
    result = core.mvm(translate_bulk.seeded_from_wire(core.info, message))
    return translate.mvm_result_to_wire(core.info, result, wire.MvmSeededReply)


def _configure(core: Core, message: wire.ConfigureRequest) -> wire.Message:
    core.configure(translate.settings_from_wire(core.info, message))
    return wire.ConfigureReply()


def _settings(core: Core, _: wire.SettingsRequest) -> wire.Message:
    return translate.settings_to_wire(core.info, core.settings())


def _status(core: Core, _: wire.StatusRequest) -> wire.Message:
    return translate.status_to_wire(core.status())


def _temperature(core: Core, _: wire.TemperatureRequest) -> wire.Message:
    status = core.status()
    return wire.TemperatureReply(temperature_kelvin=status.temperature_kelvin, at_s=status.now_s)


def _wait(core: Core, message: wire.WaitRequest) -> wire.Message:
    return wire.WaitReply(now_s=core.wait(message.seconds))


def _now(core: Core, _: wire.NowRequest) -> wire.Message:
    return wire.NowReply(now_s=core.now_s())


VERBS: dict[type[wire.Message], Verb] = {
    wire.ReadRequest: _read,
    wire.ReadRegionRequest: _read_region,
    wire.MvmRequest: _mvm,
    wire.MvmSeededRequest: _mvm_seeded,
    wire.ConfigureRequest: _configure,
    wire.SettingsRequest: _settings,
    wire.StatusRequest: _status,
    wire.TemperatureRequest: _temperature,
    wire.WaitRequest: _wait,
    wire.NowRequest: _now,
}
"""Verbs that are executed at once; pulses may take several steps."""

PULSES: dict[type[wire.Message], Any] = {
    wire.ProgramRequest: wire.ProgramReply,
    wire.ProgramMapRequest: wire.ProgramMapReply,
}
"""Requests that pulse cells, and their replies."""
