"""Messages: one frozen dataclass each, one opcode table. Bodies <-> bytes; no frames, no I/O.

The annotation of a field is its format on the wire (`U32` is a little-endian unsigned 32-bit
integer, `F64` an IEEE double, ...); fields cross in the order of the class. A new message is one
class, one line in a table and one golden vector.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, cast, get_type_hints

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.fields import (
    Array,
    Blob,
    Choice,
    Codes,
    FieldCodec,
    Flag,
    Maybe,
    Number,
    Numbers,
    Text,
)
from protocols.wire.vocabulary import (
    Direction,
    Effect,
    ErrorClass,
    Family,
    Mode,
    Outcome,
    Status,
)

__all__ = [
    "ERROR_OPCODE",
    "PROTOCOL_VERSION",
    "REPLIES",
    "REQUESTS",
    "CapabilitiesReply",
    "CapabilitiesRequest",
    "CloseReply",
    "CloseRequest",
    "Codes",
    "ConfigureReply",
    "ConfigureRequest",
    "Direction",
    "Effect",
    "ErrorClass",
    "ErrorReply",
    "Family",
    "HelloReply",
    "HelloRequest",
    "Message",
    "Mode",
    "MvmReply",
    "MvmRequest",
    "NowReply",
    "NowRequest",
    "Outcome",
    "ProgramReply",
    "ProgramRequest",
    "ReadReply",
    "ReadRequest",
    "SafeStateReply",
    "SafeStateRequest",
    "SettingsReply",
    "SettingsRequest",
    "Status",
    "StatusReply",
    "StatusRequest",
    "WaitReply",
    "WaitRequest",
    "decode_body",
    "encode_body",
    "opcode_of",
]

PROTOCOL_VERSION = 1
"""The version this module speaks; HELLO agrees on it."""


_F64 = Number("<d")

U16 = Annotated[int, Number("<H")]
U32 = Annotated[int, Number("<I")]
U64 = Annotated[int, Number("<Q")]
F64 = Annotated[float, _F64]
Bool = Annotated[bool, Flag()]
Json = Annotated[bytes, Blob()]
Bitmap = Annotated[bytes, Blob()]
Sentence = Annotated[str, Text()]
Ints = Annotated[Codes, Array()]


class Message:
    """Base of all messages; its subclasses are final."""


@dataclass(frozen=True, kw_only=True)
class HelloRequest(Message):
    """Open a session; its layout never changes, whatever the version."""

    lowest_version: U16
    highest_version: U16
    session: U64


@dataclass(frozen=True, kw_only=True)
class HelloReply(Message):
    """The agreed version and the epoch that every later frame carries."""

    version: U16
    epoch: U16
    session: U64
    boot: U64


@dataclass(frozen=True, kw_only=True)
class CapabilitiesRequest(Message):
    """Ask what the device is."""


@dataclass(frozen=True, kw_only=True)
class CapabilitiesReply(Message):
    """Chip description, a JSON document (UTF-8)."""

    json: Json


@dataclass(frozen=True, kw_only=True)
class ProgramRequest(Message):
    """Pulses, entry by entry; six arrays of equal length."""

    family: Annotated[Family, Choice(Family)]
    device: Ints
    rows: Ints
    cols: Ints
    amplitude: Ints
    width: Ints
    count: Ints


@dataclass(frozen=True, kw_only=True)
class ProgramReply(Message):
    """Outcome, pulses applied, device time at the end in s."""

    outcome: Annotated[Outcome, Choice(Outcome)]
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
    """Codes and a saturation bitmap (bit 7 of byte 0 first); K; s."""

    codes: Ints
    saturated: Bitmap
    temperature_kelvin: F64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class MvmRequest(Message):
    """A batch; `input_codes` is row-major, batch x inputs. Window: row, col, rows, cols."""

    batch: U32
    inputs: U32
    window: Annotated[tuple[int, int, int, int] | None, Maybe(Numbers(Number("<I"), 4))]
    direction: Annotated[Direction, Choice(Direction)]
    mode: Annotated[Mode | None, Maybe(Choice(Mode))]
    input_codes: Ints


@dataclass(frozen=True, kw_only=True)
class MvmReply(Message):
    """Output codes, row-major batch x outputs, and a saturation bitmap; K; s."""

    batch: U32
    outputs: U32
    output_codes: Ints
    saturated: Bitmap
    temperature_kelvin: F64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class ConfigureRequest(Message):
    """Settings; an absent field stays as it is."""

    output_range: Annotated[int | None, Maybe(Number("<I"))]
    gain_trim: Annotated[Codes | None, Maybe(Array())]
    offset_trim: Annotated[Codes | None, Maybe(Array())]
    temperature_kelvin: Annotated[float | None, Maybe(_F64)]


@dataclass(frozen=True, kw_only=True)
class ConfigureReply(Message):
    """The settings are in force."""


@dataclass(frozen=True, kw_only=True)
class SettingsRequest(Message):
    """Ask for the settings in force."""


@dataclass(frozen=True, kw_only=True)
class SettingsReply(Message):
    """The settings in force; an absent field is one the core has not."""

    output_range: Annotated[int | None, Maybe(Number("<I"))]
    gain_trim: Annotated[Codes | None, Maybe(Array())]
    offset_trim: Annotated[Codes | None, Maybe(Array())]
    temperature_kelvin: Annotated[float | None, Maybe(_F64)]


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
    last_pulse_at_s: Annotated[float | None, Maybe(_F64)]
    generation: U64
    safe: Bool


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
    """Idle all drivers of the core; cells are never touched."""


@dataclass(frozen=True, kw_only=True)
class SafeStateReply(Message):
    """The drivers are idle."""


@dataclass(frozen=True, kw_only=True)
class CloseRequest(Message):
    """The host releases the core: safe state, and no verb until the next HELLO."""


@dataclass(frozen=True, kw_only=True)
class CloseReply(Message):
    """The core is released."""


@dataclass(frozen=True, kw_only=True)
class ErrorReply(Message):
    """The request was not carried out; `fields` is a JSON object with the values named in text."""

    error_class: Annotated[ErrorClass, Choice(ErrorClass)]
    status: Annotated[Status, Choice(Status)]
    effect: Annotated[Effect, Choice(Effect)]
    text: Sentence
    fields: Json


REQUESTS: dict[int, type[Message]] = {
    0x01: HelloRequest,
    0x02: CapabilitiesRequest,
    0x10: ProgramRequest,
    0x11: ReadRequest,
    0x12: MvmRequest,
    0x20: ConfigureRequest,
    0x21: SettingsRequest,
    0x22: StatusRequest,
    0x30: WaitRequest,
    0x31: NowRequest,
    0x40: SafeStateRequest,
    0x41: CloseRequest,
}
"""Opcode -> message of a frame of kind REQUEST."""

ERROR_OPCODE = 0xFF
"""Opcode of the reply to any request that was not carried out."""

REPLIES: dict[int, type[Message]] = {
    0x01: HelloReply,
    0x02: CapabilitiesReply,
    0x10: ProgramReply,
    0x11: ReadReply,
    0x12: MvmReply,
    0x20: ConfigureReply,
    0x21: SettingsReply,
    0x22: StatusReply,
    0x30: WaitReply,
    0x31: NowReply,
    0x40: SafeStateReply,
    0x41: CloseReply,
    ERROR_OPCODE: ErrorReply,
}
"""Opcode -> message of a frame of kind REPLY."""

_OPCODES: dict[type[Message], int] = {
    kind: opcode for table in (REQUESTS, REPLIES) for opcode, kind in table.items()
}


def _layout(kind: type[Message]) -> tuple[tuple[str, FieldCodec], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((f.name, hints[f.name].__metadata__[0]) for f in fields(cast("Any", kind)))


_LAYOUTS = {kind: _layout(kind) for kind in _OPCODES}


def opcode_of(message: Message) -> int:
    """Return the opcode of a message."""
    return _OPCODES[type(message)]


def encode_body(message: Message) -> bytes:
    """Return the bytes of a message, without any frame.

    Raises:
        LocalProtocolError: A value does not fit its field.
    """
    parts = []
    for name, codec in _LAYOUTS[type(message)]:
        try:
            parts.append(codec.write(getattr(message, name)))
        except LocalProtocolError as error:
            raise LocalProtocolError(f"{type(message).__name__}.{name}: {error}") from error
    return b"".join(parts)


def decode_body(table: dict[int, type[Message]], opcode: int, body: bytes) -> Message:
    """Return the message of `opcode` in REQUESTS or REPLIES.

    Raises:
        RemoteProtocolError: Unknown opcode, malformed field, missing or surplus bytes.
    """
    kind = table.get(opcode)
    if kind is None:
        raise RemoteProtocolError(f"opcode 0x{opcode:02x} is unknown")
    view, at = memoryview(body), 0
    values: dict[str, Any] = {}
    for name, codec in _LAYOUTS[kind]:
        try:
            values[name], at = codec.read(view, at)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{kind.__name__}.{name}: {error}") from error
    if at != len(body):
        raise RemoteProtocolError(f"{kind.__name__} has {len(body) - at} surplus bytes")
    return kind(**values)
