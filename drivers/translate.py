"""Translation: requests and results of a core <-> messages of the wire. No I/O, no state.

Every function has its inverse here, so that board driver and emulator cannot disagree.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from drivers.packing import (
    pack,
    pack_bits,
    pack_codes,
    pack_scale,
    pack_trim,
    unpack,
    unpack_bits,
    unpack_codes,
    unpack_trim,
)
from hil.core import (
    CellRead,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
    Window,
)
from hil.errors import DeviceFaultError
from hil.info import CoreInfo, Direction, MvmMode, PulseFamily
from hil.units import CodeScale
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.vocabulary import Direction as WireDirection
from protocols.wire.vocabulary import Family as WireFamily
from protocols.wire.vocabulary import Mode as WireMode
from protocols.wire.vocabulary import Outcome as WireOutcome

__all__ = [
    "configure_to_wire",
    "direction_from_wire",
    "direction_to_wire",
    "family_from_wire",
    "family_to_wire",
    "mode_from_wire",
    "mode_to_wire",
    "mvm_from_wire",
    "mvm_result_from_wire",
    "mvm_result_to_wire",
    "mvm_to_wire",
    "outcome_from_wire",
    "program_result_from_wire",
    "program_result_to_wire",
    "pulse_from_wire",
    "pulse_to_wire",
    "read_from_wire",
    "read_result_from_wire",
    "read_result_to_wire",
    "read_to_wire",
    "settings_from_wire",
    "settings_to_wire",
    "status_from_wire",
    "status_to_wire",
    "window_of",
]

IntArray = npt.NDArray[np.integer[Any]]

K = TypeVar("K")
V = TypeVar("V")

_FAMILIES = {PulseFamily.SET: WireFamily.SET, PulseFamily.RESET: WireFamily.RESET}
_DIRECTIONS = {
    Direction.FORWARD: WireDirection.FORWARD,
    Direction.TRANSPOSED: WireDirection.TRANSPOSED,
}
_MODES = {
    MvmMode.ONE_PHASE: WireMode.ONE_PHASE,
    MvmMode.FOUR_PHASE: WireMode.FOUR_PHASE,
    MvmMode.REFERENCE: WireMode.REFERENCE,
}
_OUTCOMES = {
    Outcome.DONE: WireOutcome.DONE,
    Outcome.REJECTED: WireOutcome.REJECTED,
    Outcome.FAILED: WireOutcome.FAILED,
    Outcome.UNKNOWN: WireOutcome.UNKNOWN,
}


def _inverse(table: dict[K, V]) -> dict[V, K]:
    return {value: key for key, value in table.items()}


_FAMILIES_BACK = _inverse(_FAMILIES)
_DIRECTIONS_BACK = _inverse(_DIRECTIONS)
_MODES_BACK = _inverse(_MODES)
_OUTCOMES_BACK = _inverse(_OUTCOMES)


def family_to_wire(family: PulseFamily) -> WireFamily:
    """Return the wire's word for a pulse family."""
    return _FAMILIES[family]


def family_from_wire(family: WireFamily) -> PulseFamily:
    """Undo `family_to_wire`."""
    return _FAMILIES_BACK[family]


def direction_to_wire(direction: Direction) -> WireDirection:
    """Return the wire's word for a direction."""
    return _DIRECTIONS[direction]


def direction_from_wire(direction: WireDirection) -> Direction:
    """Undo `direction_to_wire`."""
    return _DIRECTIONS_BACK[direction]


def mode_to_wire(mode: MvmMode | None) -> WireMode:
    """Return the wire's word for an execution mode; None is the fastest."""
    return WireMode.FASTEST if mode is None else _MODES[mode]


def mode_from_wire(mode: WireMode) -> MvmMode | None:
    """Undo `mode_to_wire`."""
    return None if mode is WireMode.FASTEST else _MODES_BACK[mode]


def outcome_from_wire(outcome: WireOutcome) -> Outcome:
    """Return the outcome that the wire names."""
    return _OUTCOMES_BACK[outcome]


def window_of(info: CoreInfo, window: Window | None) -> Window:
    """Return the window, the whole array for None."""
    return window or Window(row=0, col=0, rows=info.rows, cols=info.cols)


def pulse_to_wire(
    info: CoreInfo, pulse: Pulse, *, token: int, mutation: int
) -> wire.ProgramRequest:
    """Return the message of a pulse request that `info` accepts."""
    limits = info.limits(pulse.family)
    assert limits is not None  # noqa: S101 - checked by the public verb
    return wire.ProgramRequest(
        token=token,
        mutation=mutation,
        family=_FAMILIES[pulse.family],
        device=pack(pulse.device, 0, info.devices_per_cell - 1),
        rows=pack(pulse.rows, 0, info.rows - 1),
        cols=pack(pulse.cols, 0, info.cols - 1),
        amplitude=pack_scale(pulse.amplitude, limits.amplitude),
        width=pack_scale(pulse.width, limits.width),
        count=pack(pulse.count, 0, limits.max_count),
    )


def pulse_from_wire(message: wire.ProgramRequest) -> Pulse:
    """Undo `pulse_to_wire`; nothing is checked but the packing."""
    return Pulse(
        family=_FAMILIES_BACK[message.family],
        device=unpack(message.device, np.int8),
        rows=unpack(message.rows, np.int32),
        cols=unpack(message.cols, np.int32),
        amplitude=unpack(message.amplitude, np.int16),
        width=unpack(message.width, np.int16),
        count=unpack(message.count, np.int16),
    )


def program_result_to_wire(
    result: ProgramResult,
    kind: type[wire.ProgramReply] | type[wire.ProgramMapReply] = wire.ProgramReply,
) -> wire.ProgramReply | wire.ProgramMapReply:
    """Return the reply to a pulse request."""
    return kind(outcome=_OUTCOMES[result.outcome], pulses=result.pulses, at_s=result.at_s)


def program_result_from_wire(reply: wire.ProgramReply | wire.ProgramMapReply) -> ProgramResult:
    """Undo `program_result_to_wire`."""
    return ProgramResult(
        outcome=_OUTCOMES_BACK[reply.outcome], pulses=reply.pulses, at_s=reply.at_s
    )


def read_to_wire(info: CoreInfo, request: CellRead) -> wire.ReadRequest:
    """Return the message of a cell read that `info` accepts."""
    return wire.ReadRequest(
        averages=request.averages,
        device=pack(request.device, 0, info.devices_per_cell - 1),
        rows=pack(request.rows, 0, info.rows - 1),
        cols=pack(request.cols, 0, info.cols - 1),
    )


def read_from_wire(message: wire.ReadRequest) -> CellRead:
    """Undo `read_to_wire`."""
    return CellRead(
        device=unpack(message.device, np.int8),
        rows=unpack(message.rows, np.int32),
        cols=unpack(message.cols, np.int32),
        averages=message.averages,
    )


def read_result_to_wire(
    info: CoreInfo,
    result: ReadResult,
    kind: type[wire.ReadReply] | type[wire.ReadRegionReply] = wire.ReadReply,
) -> wire.ReadReply | wire.ReadRegionReply:
    """Return the reply to a cell read."""
    bits, codes = pack_codes(result.codes, info.read)
    return kind(
        count=result.codes.size,
        bits=bits,
        temperature_kelvin=result.temperature_kelvin,
        at_s=result.at_s,
        codes=codes,
        saturated=pack_bits(result.saturated),
    )


def read_result_from_wire(
    info: CoreInfo, count: int, reply: wire.ReadReply | wire.ReadRegionReply
) -> ReadResult:
    """Undo `read_result_to_wire`; a wrong count or a code outside `info` is the device's fault."""
    return ReadResult(
        codes=_answered("read code", info.read, (count,), reply.bits, reply.codes),
        saturated=unpack_bits(reply.saturated, (count,)),
        temperature_kelvin=reply.temperature_kelvin,
        at_s=reply.at_s,
    )


def mvm_to_wire(info: CoreInfo, request: MvmRequest) -> wire.MvmRequest:
    """Return the message of an MVM batch that `info` accepts."""
    window = window_of(info, request.window)
    batch, inputs = request.input_codes.shape
    bits, codes = pack_codes(request.input_codes, info.input)
    return wire.MvmRequest(
        batch=batch,
        inputs=inputs,
        row=window.row,
        col=window.col,
        rows=window.rows,
        cols=window.cols,
        direction=_DIRECTIONS[request.direction],
        mode=mode_to_wire(request.mode),
        bits=bits,
        input_codes=codes,
    )


def mvm_from_wire(info: CoreInfo, message: wire.MvmRequest) -> MvmRequest:
    """Undo `mvm_to_wire`.

    Raises:
        RemoteProtocolError: batch x inputs is not the number of codes.
    """
    count = message.batch * message.inputs
    codes = unpack_codes(message.bits, message.input_codes, info.input, count)
    window = Window(row=message.row, col=message.col, rows=message.rows, cols=message.cols)
    return MvmRequest(
        input_codes=codes.reshape(message.batch, message.inputs),
        window=None if window == window_of(info, None) else window,
        direction=_DIRECTIONS_BACK[message.direction],
        mode=mode_from_wire(message.mode),
    )


def mvm_result_to_wire(
    info: CoreInfo,
    result: MvmResult,
    kind: type[wire.MvmReply] | type[wire.MvmSeededReply] = wire.MvmReply,
) -> wire.MvmReply | wire.MvmSeededReply:
    """Return the reply to an MVM batch."""
    batch, outputs = result.output_codes.shape
    bits, codes = pack_codes(result.output_codes, info.output_codes)
    return kind(
        batch=batch,
        outputs=outputs,
        bits=bits,
        temperature_kelvin=result.temperature_kelvin,
        at_s=result.at_s,
        output_codes=codes,
        saturated=pack_bits(result.saturated),
    )


def mvm_result_from_wire(
    info: CoreInfo, shape: tuple[int, int], reply: wire.MvmReply | wire.MvmSeededReply
) -> MvmResult:
    """Undo `mvm_result_to_wire`; another shape or a code outside `info` is the device's fault."""
    if (reply.batch, reply.outputs) != shape:
        raise DeviceFaultError(
            f"the device answered {reply.batch} x {reply.outputs} outputs, {shape} were asked for"
        )
    scale, packed = info.output_codes, reply.output_codes
    return MvmResult(
        output_codes=_answered("output code", scale, shape, reply.bits, packed),
        saturated=unpack_bits(reply.saturated, shape),
        temperature_kelvin=reply.temperature_kelvin,
        at_s=reply.at_s,
    )


def configure_to_wire(
    info: CoreInfo, settings: CoreSettings, *, token: int, mutation: int
) -> wire.ConfigureRequest:
    """Return the message that puts `settings` in force."""
    return wire.ConfigureRequest(
        token=token,
        mutation=mutation,
        output_range=settings.output_range,
        gain_trim=pack_trim(settings.gain_trim, info.gain_trim),
        offset_trim=pack_trim(settings.offset_trim, info.offset_trim),
        temperature_kelvin=settings.temperature_kelvin,
    )


def settings_to_wire(info: CoreInfo, settings: CoreSettings) -> wire.SettingsReply:
    """Return the reply that tells the settings in force."""
    return wire.SettingsReply(
        output_range=settings.output_range,
        gain_trim=pack_trim(settings.gain_trim, info.gain_trim),
        offset_trim=pack_trim(settings.offset_trim, info.offset_trim),
        temperature_kelvin=settings.temperature_kelvin,
    )


def settings_from_wire(
    info: CoreInfo, message: wire.ConfigureRequest | wire.SettingsReply
) -> CoreSettings:
    """Undo `configure_to_wire` and `settings_to_wire`."""
    return CoreSettings(
        output_range=message.output_range,
        gain_trim=unpack_trim(message.gain_trim, info.gain_trim),
        offset_trim=unpack_trim(message.offset_trim, info.offset_trim),
        temperature_kelvin=message.temperature_kelvin,
    )


def status_to_wire(status: CoreStatus) -> wire.StatusReply:
    """Return the reply to a status request."""
    return wire.StatusReply(
        now_s=status.now_s,
        temperature_kelvin=status.temperature_kelvin,
        pulses=status.pulses,
        reads=status.reads,
        mvms=status.mvms,
        last_pulse_at_s=status.last_pulse_at_s,
        generation=status.generation,
        safe=status.safe,
    )


def status_from_wire(reply: wire.StatusReply) -> CoreStatus:
    """Undo `status_to_wire`."""
    return CoreStatus(
        now_s=reply.now_s,
        temperature_kelvin=reply.temperature_kelvin,
        pulses=reply.pulses,
        reads=reply.reads,
        mvms=reply.mvms,
        last_pulse_at_s=reply.last_pulse_at_s,
        generation=reply.generation,
        safe=reply.safe,
    )


def _answered(
    name: str, scale: CodeScale, shape: tuple[int, ...], bits: int, data: bytes
) -> IntArray:
    try:
        array = unpack_codes(bits, data, scale, math.prod(shape))
    except RemoteProtocolError as error:
        raise DeviceFaultError(f"the device answered {name}s badly: {error}") from error
    if array.size and not scale.min_code <= int(array.min()) <= int(array.max()) <= scale.max_code:
        raise DeviceFaultError(
            f"the device answered {name} {array.min()}...{array.max()} outside "
            f"{scale.min_code}...{scale.max_code}"
        )
    return array.astype(scale.dtype, copy=False).reshape(shape)
