"""Translation: requests and results of a core <-> messages of the wire. No I/O, no state.

Every function has its inverse here, so that board driver and emulator cannot disagree.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from drivers.packing import (
    pack,
    pack_bits,
    pack_scale,
    pack_trim,
    unpack,
    unpack_bits,
    unpack_scale,
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
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.fields import Codes
from protocols.wire.vocabulary import Direction as WireDirection
from protocols.wire.vocabulary import Family as WireFamily
from protocols.wire.vocabulary import Mode as WireMode
from protocols.wire.vocabulary import Outcome as WireOutcome

__all__ = [
    "configure_to_wire",
    "mvm_from_wire",
    "mvm_result_from_wire",
    "mvm_result_to_wire",
    "mvm_to_wire",
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
]

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


def program_result_to_wire(result: ProgramResult) -> wire.ProgramReply:
    """Return the reply to a pulse request."""
    return wire.ProgramReply(
        outcome=_OUTCOMES[result.outcome], pulses=result.pulses, at_s=result.at_s
    )


def program_result_from_wire(reply: wire.ProgramReply) -> ProgramResult:
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


def read_result_to_wire(info: CoreInfo, result: ReadResult) -> wire.ReadReply:
    """Return the reply to a cell read."""
    codes = pack_scale(result.codes, info.read)
    return wire.ReadReply(
        count=len(codes),
        bits=8 * codes.item_bytes,
        temperature_kelvin=result.temperature_kelvin,
        at_s=result.at_s,
        codes=codes.data,
        saturated=pack_bits(result.saturated),
    )


def read_result_from_wire(info: CoreInfo, count: int, reply: wire.ReadReply) -> ReadResult:
    """Undo `read_result_to_wire`; a wrong count or a code outside `info` is the device's fault."""
    return ReadResult(
        codes=unpack_scale("read code", _codes(reply.bits, reply.codes), info.read, (count,)),
        saturated=unpack_bits(reply.saturated, (count,)),
        temperature_kelvin=reply.temperature_kelvin,
        at_s=reply.at_s,
    )


def mvm_to_wire(info: CoreInfo, request: MvmRequest) -> wire.MvmRequest:
    """Return the message of an MVM batch that `info` accepts."""
    window = request.window or Window(row=0, col=0, rows=info.rows, cols=info.cols)
    batch, inputs = request.input_codes.shape
    codes = pack_scale(request.input_codes, info.input)
    return wire.MvmRequest(
        batch=batch,
        inputs=inputs,
        row=window.row,
        col=window.col,
        rows=window.rows,
        cols=window.cols,
        direction=_DIRECTIONS[request.direction],
        mode=WireMode.FASTEST if request.mode is None else _MODES[request.mode],
        bits=8 * codes.item_bytes,
        input_codes=codes.data,
    )


def mvm_from_wire(info: CoreInfo, message: wire.MvmRequest) -> MvmRequest:
    """Undo `mvm_to_wire`.

    Raises:
        RemoteProtocolError: batch x inputs is not the number of codes.
    """
    codes = unpack(_codes(message.bits, message.input_codes), info.input.dtype)
    if codes.size != message.batch * message.inputs:
        raise RemoteProtocolError(
            f"{codes.size} input codes are not batch {message.batch} x inputs {message.inputs}"
        )
    window = Window(row=message.row, col=message.col, rows=message.rows, cols=message.cols)
    whole = Window(row=0, col=0, rows=info.rows, cols=info.cols)
    return MvmRequest(
        input_codes=codes.reshape(message.batch, message.inputs),
        window=None if window == whole else window,
        direction=_DIRECTIONS_BACK[message.direction],
        mode=None if message.mode is WireMode.FASTEST else _MODES_BACK[message.mode],
    )


def mvm_result_to_wire(info: CoreInfo, result: MvmResult) -> wire.MvmReply:
    """Return the reply to an MVM batch."""
    batch, outputs = result.output_codes.shape
    codes = pack_scale(result.output_codes, info.output_codes)
    return wire.MvmReply(
        batch=batch,
        outputs=outputs,
        bits=8 * codes.item_bytes,
        temperature_kelvin=result.temperature_kelvin,
        at_s=result.at_s,
        output_codes=codes.data,
        saturated=pack_bits(result.saturated),
    )


def mvm_result_from_wire(info: CoreInfo, shape: tuple[int, int], reply: wire.MvmReply) -> MvmResult:
    """Undo `mvm_result_to_wire`; another shape or a code outside `info` is the device's fault."""
    if (reply.batch, reply.outputs) != shape:
        raise DeviceFaultError(
            f"the device answered {reply.batch} x {reply.outputs} outputs, {shape} were asked for"
        )
    codes = _codes(reply.bits, reply.output_codes)
    return MvmResult(
        output_codes=unpack_scale("output code", codes, info.output_codes, shape),
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


def _codes(bits: int, data: bytes) -> Codes:
    if bits not in (8, 16, 32) or len(data) % (bits // 8):
        raise RemoteProtocolError(f"{len(data)} bytes are no codes of {bits} bits")
    return Codes(item_bytes=bits // 8, data=data)
