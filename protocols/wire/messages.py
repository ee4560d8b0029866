"""Messages: the opcode tables, and bodies <-> bytes. No frames, no I/O.

A new message is one class in `core_messages`, `session_messages` or `event_messages`, one line in
a table here and one golden vector.
"""

from __future__ import annotations

from protocols.wire.core_messages import (
    CloseReply,
    CloseRequest,
    ConfigureReply,
    ConfigureRequest,
    MvmReply,
    MvmRequest,
    MvmSeededReply,
    MvmSeededRequest,
    NowReply,
    NowRequest,
    ProgramMapReply,
    ProgramMapRequest,
    ProgramReply,
    ProgramRequest,
    ReadRegionReply,
    ReadRegionRequest,
    ReadReply,
    ReadRequest,
    SafeStateReply,
    SafeStateRequest,
    SettingsReply,
    SettingsRequest,
    StatusReply,
    StatusRequest,
    TemperatureReply,
    TemperatureRequest,
    WaitReply,
    WaitRequest,
)
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.event_messages import (
    BootEvent,
    LeaseLapsedEvent,
    LeaseTakenEvent,
    ProgressEvent,
    SafeEvent,
    TemperatureEvent,
)
from protocols.wire.fields import Codes
from protocols.wire.layout import Layout, Message
from protocols.wire.session_messages import (
    CapabilitiesReply,
    CapabilitiesRequest,
    ErrorReply,
    HelloReply,
    HelloRequest,
    KeepaliveReply,
    KeepaliveRequest,
    LockReply,
    LockRequest,
    MutationReply,
    MutationRequest,
    OwnerReply,
    OwnerRequest,
    ScpiReply,
    ScpiRequest,
    UnlockReply,
    UnlockRequest,
)
from protocols.wire.vocabulary import (
    Direction,
    Distribution,
    Effect,
    ErrorClass,
    Family,
    Fate,
    Mode,
    Outcome,
    Status,
)

__all__ = [
    "ALL_CORES",
    "ERROR_OPCODE",
    "EVENTS",
    "MUTATING",
    "PROTOCOL_VERSION",
    "REPLIES",
    "REQUESTS",
    "URGENT",
    "BootEvent",
    "CapabilitiesReply",
    "CapabilitiesRequest",
    "CloseReply",
    "CloseRequest",
    "Codes",
    "ConfigureReply",
    "ConfigureRequest",
    "Direction",
    "Distribution",
    "Effect",
    "ErrorClass",
    "ErrorReply",
    "Family",
    "Fate",
    "HelloReply",
    "HelloRequest",
    "KeepaliveReply",
    "KeepaliveRequest",
    "LeaseLapsedEvent",
    "LeaseTakenEvent",
    "LockReply",
    "LockRequest",
    "Message",
    "Mode",
    "MutationReply",
    "MutationRequest",
    "MvmReply",
    "MvmRequest",
    "MvmSeededReply",
    "MvmSeededRequest",
    "NowReply",
    "NowRequest",
    "Outcome",
    "OwnerReply",
    "OwnerRequest",
    "ProgramMapReply",
    "ProgramMapRequest",
    "ProgramReply",
    "ProgramRequest",
    "ProgressEvent",
    "ReadRegionReply",
    "ReadRegionRequest",
    "ReadReply",
    "ReadRequest",
    "SafeEvent",
    "SafeStateReply",
    "SafeStateRequest",
    "ScpiReply",
    "ScpiRequest",
    "SettingsReply",
    "SettingsRequest",
    "Status",
    "StatusReply",
    "StatusRequest",
    "Table",
    "TemperatureEvent",
    "TemperatureReply",
    "TemperatureRequest",
    "UnlockReply",
    "UnlockRequest",
    "WaitReply",
    "WaitRequest",
    "decode_body",
    "encode_body",
    "opcode_of",
]

PROTOCOL_VERSION = 2
"""The version this module speaks; HELLO agrees on it."""

ALL_CORES = 0xFFFF
"""Core index of a SAFE_STATE for every core."""

Table = dict[int, type[Message]]
"""Opcode -> kind of message."""

REQUESTS: Table = {
    0x01: HelloRequest,
    0x02: CapabilitiesRequest,
    0x03: LockRequest,
    0x04: UnlockRequest,
    0x05: OwnerRequest,
    0x06: KeepaliveRequest,
    0x07: MutationRequest,
    0x10: ProgramRequest,
    0x11: ReadRequest,
    0x12: MvmRequest,
    0x13: ReadRegionRequest,
    0x14: ProgramMapRequest,
    0x15: MvmSeededRequest,
    0x20: ConfigureRequest,
    0x21: SettingsRequest,
    0x22: StatusRequest,
    0x23: TemperatureRequest,
    0x30: WaitRequest,
    0x31: NowRequest,
    0x40: SafeStateRequest,
    0x41: CloseRequest,
    0x50: ScpiRequest,
}
"""Opcode -> message of a frame of kind REQUEST."""

ERROR_OPCODE = 0xFF
"""Opcode of the reply to any request that was not carried out."""

REPLIES: Table = {
    0x01: HelloReply,
    0x02: CapabilitiesReply,
    0x03: LockReply,
    0x04: UnlockReply,
    0x05: OwnerReply,
    0x06: KeepaliveReply,
    0x07: MutationReply,
    0x10: ProgramReply,
    0x11: ReadReply,
    0x12: MvmReply,
    0x13: ReadRegionReply,
    0x14: ProgramMapReply,
    0x15: MvmSeededReply,
    0x20: ConfigureReply,
    0x21: SettingsReply,
    0x22: StatusReply,
    0x23: TemperatureReply,
    0x30: WaitReply,
    0x31: NowReply,
    0x40: SafeStateReply,
    0x41: CloseReply,
    0x50: ScpiReply,
    ERROR_OPCODE: ErrorReply,
}
"""Opcode -> message of a frame of kind REPLY."""

EVENTS: Table = {
    0x01: BootEvent,
    0x02: LeaseLapsedEvent,
    0x03: LeaseTakenEvent,
    0x04: SafeEvent,
    0x05: TemperatureEvent,
    0x06: ProgressEvent,
}
"""Opcode -> message of a frame of kind EVENT."""

MUTATING = frozenset({0x10, 0x14, 0x20})
"""Opcodes of requests that carry token and mutation id, in frames with flag MUTATING."""

URGENT = frozenset({0x40})
"""Opcodes of requests that are taken at any time, in frames with flag URGENT."""

_OPCODES: dict[type[Message], int] = {
    kind: opcode for table in (REQUESTS, REPLIES, EVENTS) for opcode, kind in table.items()
}
_LAYOUTS = {kind: Layout(kind) for kind in _OPCODES}


def opcode_of(message: Message) -> int:
    """Return the opcode of a message."""
    return _OPCODES[type(message)]


def encode_body(message: Message) -> bytes:
    """Return the bytes of a message, without any frame.

    Raises:
        LocalProtocolError: A value does not fit its field.
    """
    return _LAYOUTS[type(message)].encode(message)


def decode_body(table: Table, opcode: int, body: bytes) -> Message:
    """Return the message of `opcode` in REQUESTS, REPLIES or EVENTS.

    Raises:
        RemoteProtocolError: Unknown opcode, malformed field, missing or surplus bytes.
    """
    kind = table.get(opcode)
    if kind is None:
        raise RemoteProtocolError(f"opcode 0x{opcode:02x} is unknown")
    return _LAYOUTS[kind].decode(body)
