"""Messages of a core: pulses, reads, products, settings, time. One frozen dataclass each.

The annotation of a field is its format on the wire; fields cross in the order of the class. A
region or window is `row`, `col` (its first) and `rows`, `cols` (its size). Packed codes are a bit
string, `bits` each, the first in the lowest bits of the first byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocols.wire.fields import (
    F64,
    I32,
    REAL,
    U8,
    U16,
    U32,
    U64,
    Array,
    Bool,
    Bytes,
    Codes,
    Ints,
    Maybe,
    choice,
    number,
)
from protocols.wire.layout import Message
from protocols.wire.vocabulary import Direction, Distribution, Family, Mode, Outcome

__all__ = [
    "CloseReply",
    "CloseRequest",
    "ConfigureReply",
    "ConfigureRequest",
    "MvmReply",
    "MvmRequest",
    "MvmSeededReply",
    "MvmSeededRequest",
    "NowReply",
    "NowRequest",
    "ProgramMapReply",
    "ProgramMapRequest",
    "ProgramReply",
    "ProgramRequest",
    "ReadRegionReply",
    "ReadRegionRequest",
    "ReadReply",
    "ReadRequest",
    "SafeStateReply",
    "SafeStateRequest",
    "SettingsReply",
    "SettingsRequest",
    "StatusReply",
    "StatusRequest",
    "TemperatureReply",
    "TemperatureRequest",
    "WaitReply",
    "WaitRequest",
]

MaybeU32 = Annotated[int | None, Maybe(number("I"))]
MaybeF64 = Annotated[float | None, Maybe(REAL)]
MaybeInts = Annotated[Codes | None, Maybe(Array())]


@dataclass(frozen=True, kw_only=True)
class ProgramRequest(Message):
    """Pulses, entry by entry; six arrays of equal length. A mutation."""

    token: U64
    mutation: U64
    family: Annotated[Family, choice(Family)]
    device: Ints
    rows: Ints
    cols: Ints
    amplitude: Ints
    width: Ints
    count: Ints


@dataclass(frozen=True, kw_only=True)
class ProgramReply(Message):
    """Outcome, pulses applied, device time at the end in s."""

    outcome: Annotated[Outcome, choice(Outcome)]
    pulses: U64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class ProgramMapRequest(Message):
    """Pulses of one kind for each polarity over a region. A mutation.

    `signs` holds 2 bits a cell, row-major: bit 0 pulses `plus_device`, bit 1 `minus_device`.
    """

    token: U64
    mutation: U64
    family: Annotated[Family, choice(Family)]
    row: U32
    col: U32
    rows: U32
    cols: U32
    plus_device: U8
    plus_amplitude: I32
    plus_width: I32
    minus_device: U8
    minus_amplitude: I32
    minus_width: I32
    count: U16
    signs: Bytes


@dataclass(frozen=True, kw_only=True)
class ProgramMapReply(Message):
    """Outcome, pulses applied, device time at the end in s."""

    outcome: Annotated[Outcome, choice(Outcome)]
    pulses: U64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class ReadRequest(Message):
    """Read devices; three arrays of equal length."""

    averages: U32
    device: Ints
    rows: Ints
    cols: Ints


@dataclass(frozen=True, kw_only=True)
class ReadReply(Message):
    """`count` packed codes and a bitmap of the saturated ones; K; s."""

    count: U32
    bits: U8
    temperature_kelvin: F64
    at_s: F64
    codes: Bytes
    saturated: Bytes


@dataclass(frozen=True, kw_only=True)
class ReadRegionRequest(Message):
    """Read one device of every cell of a region, row-major."""

    averages: U32
    device: U8
    row: U32
    col: U32
    rows: U32
    cols: U32


@dataclass(frozen=True, kw_only=True)
class ReadRegionReply(Message):
    """`count` packed codes and a bitmap of the saturated ones; K; s."""

    count: U32
    bits: U8
    temperature_kelvin: F64
    at_s: F64
    codes: Bytes
    saturated: Bytes


@dataclass(frozen=True, kw_only=True)
class MvmRequest(Message):
    """A batch; `input_codes` are packed and row-major, batch x inputs."""

    batch: U32
    inputs: U32
    row: U32
    col: U32
    rows: U32
    cols: U32
    direction: Annotated[Direction, choice(Direction)]
    mode: Annotated[Mode, choice(Mode)]
    bits: U8
    input_codes: Bytes


@dataclass(frozen=True, kw_only=True)
class MvmReply(Message):
    """Packed output codes, row-major batch x outputs, and a bitmap of the saturated ones; K; s."""

    batch: U32
    outputs: U32
    bits: U8
    temperature_kelvin: F64
    at_s: F64
    output_codes: Bytes
    saturated: Bytes


@dataclass(frozen=True, kw_only=True)
class MvmSeededRequest(Message):
    """Vectors `first` ... `first + batch - 1` of a pseudo-random stream; no input bytes."""

    batch: U32
    inputs: U32
    row: U32
    col: U32
    rows: U32
    cols: U32
    direction: Annotated[Direction, choice(Direction)]
    mode: Annotated[Mode, choice(Mode)]
    distribution: Annotated[Distribution, choice(Distribution)]
    seed: U64
    first: U64


@dataclass(frozen=True, kw_only=True)
class MvmSeededReply(Message):
    """Packed output codes, row-major batch x outputs, and a bitmap of the saturated ones; K; s."""

    batch: U32
    outputs: U32
    bits: U8
    temperature_kelvin: F64
    at_s: F64
    output_codes: Bytes
    saturated: Bytes


@dataclass(frozen=True, kw_only=True)
class ConfigureRequest(Message):
    """Settings; an absent field stays as it is. A mutation."""

    token: U64
    mutation: U64
    output_range: MaybeU32
    gain_trim: MaybeInts
    offset_trim: MaybeInts
    temperature_kelvin: MaybeF64


@dataclass(frozen=True, kw_only=True)
class ConfigureReply(Message):
    """The settings are in force."""


@dataclass(frozen=True, kw_only=True)
class SettingsRequest(Message):
    """Ask for the settings in force."""


@dataclass(frozen=True, kw_only=True)
class SettingsReply(Message):
    """The settings in force; an absent field is one the core has not."""

    output_range: MaybeU32
    gain_trim: MaybeInts
    offset_trim: MaybeInts
    temperature_kelvin: MaybeF64


@dataclass(frozen=True, kw_only=True)
class StatusRequest(Message):
    """Ask for counters and state."""


@dataclass(frozen=True, kw_only=True)
class StatusReply(Message):
    """Counters and state of one core; times in s, temperature in K."""

    now_s: F64
    temperature_kelvin: F64
    pulses: U64
    reads: U64
    mvms: U64
    last_pulse_at_s: MaybeF64
    generation: U64
    safe: Bool


@dataclass(frozen=True, kw_only=True)
class TemperatureRequest(Message):
    """Ask for the temperature alone."""


@dataclass(frozen=True, kw_only=True)
class TemperatureReply(Message):
    """Temperature, K; device time, s."""

    temperature_kelvin: F64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class WaitRequest(Message):
    """Let device time pass before the reply, s."""

    seconds: F64


@dataclass(frozen=True, kw_only=True)
class WaitReply(Message):
    """Device time after the wait, s."""

    now_s: F64


@dataclass(frozen=True, kw_only=True)
class NowRequest(Message):
    """Ask for the device time."""


@dataclass(frozen=True, kw_only=True)
class NowReply(Message):
    """Device time, s."""

    now_s: F64


@dataclass(frozen=True, kw_only=True)
class SafeStateRequest(Message):
    """Idle all drivers of the core (65535: of every core); cells are never touched. Urgent."""


@dataclass(frozen=True, kw_only=True)
class SafeStateReply(Message):
    """The drivers are idle."""


@dataclass(frozen=True, kw_only=True)
class CloseRequest(Message):
    """The host releases the core: safe state, and no verb until the next HELLO."""


@dataclass(frozen=True, kw_only=True)
class CloseReply(Message):
    """The core is released."""
