"""Messages of the session: versions, lease, mutations, control text. One frozen dataclass each.

The annotation of a field is its format on the wire; fields cross in the order of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocols.wire.fields import F64, U16, U32, U64, Bool, Bytes, Sentence, Sha256, choice
from protocols.wire.layout import Message
from protocols.wire.vocabulary import Effect, ErrorClass, Fate, Status

__all__ = [
    "CapabilitiesReply",
    "CapabilitiesRequest",
    "ErrorReply",
    "HelloReply",
    "HelloRequest",
    "KeepaliveReply",
    "KeepaliveRequest",
    "LockReply",
    "LockRequest",
    "MutationReply",
    "MutationRequest",
    "OwnerReply",
    "OwnerRequest",
    "ScpiReply",
    "ScpiRequest",
    "UnlockReply",
    "UnlockRequest",
]


@dataclass(frozen=True, kw_only=True)
class HelloRequest(Message):
    """Open a session; its layout never changes, whatever the version. `holder` says who asks."""

    lowest_version: U16
    highest_version: U16
    session: U64
    holder: Sentence


@dataclass(frozen=True, kw_only=True)
class HelloReply(Message):
    """The agreed version, the epoch of every later frame, and what the host must know of it.

    `window` requests may be open at a time; `max_object_bytes` is the device's buffer;
    `capabilities_sha256` saves asking for what is known; `last_mutation` is the last id begun.
    """

    version: U16
    epoch: U16
    session: U64
    boot: U64
    window: U16
    max_object_bytes: U32
    capabilities_sha256: Sha256
    last_mutation: U64


@dataclass(frozen=True, kw_only=True)
class CapabilitiesRequest(Message):
    """Ask what the device is."""


@dataclass(frozen=True, kw_only=True)
class CapabilitiesReply(Message):
    """Chip description, a JSON document (UTF-8)."""

    json: Bytes


@dataclass(frozen=True, kw_only=True)
class LockRequest(Message):
    """Ask for the lease, which lapses after `lapse_s` of silence (0: never).

    `takeover` takes it from whoever has it: break the glass.
    """

    holder: Sentence
    lapse_s: F64
    takeover: Bool


@dataclass(frozen=True, kw_only=True)
class LockReply(Message):
    """The lease with its fencing token, or who owns it: `token` and `holder` are the owner's."""

    granted: Bool
    token: U64
    holder: Sentence
    last_mutation: U64


@dataclass(frozen=True, kw_only=True)
class UnlockRequest(Message):
    """Give the lease back."""

    token: U64


@dataclass(frozen=True, kw_only=True)
class UnlockReply(Message):
    """The lease is free."""


@dataclass(frozen=True, kw_only=True)
class OwnerRequest(Message):
    """Ask who has the lease."""


@dataclass(frozen=True, kw_only=True)
class OwnerReply(Message):
    """The owner; an empty `holder` is nobody, `token` then is the last one given."""

    holder: Sentence
    token: U64


@dataclass(frozen=True, kw_only=True)
class KeepaliveRequest(Message):
    """Say that the owner lives."""

    token: U64


@dataclass(frozen=True, kw_only=True)
class KeepaliveReply(Message):
    """The lease lasts another lapse time."""


@dataclass(frozen=True, kw_only=True)
class MutationRequest(Message):
    """Ask what became of a mutation; the device knows of its last 16."""

    mutation: U64


@dataclass(frozen=True, kw_only=True)
class MutationReply(Message):
    """What became of it; `pulses` applied and `at_s` are 0 where nothing is known."""

    fate: Annotated[Fate, choice(Fate)]
    pulses: U64
    at_s: F64


@dataclass(frozen=True, kw_only=True)
class ScpiRequest(Message):
    """A program message of the control plane, without its terminator."""

    text: Sentence


@dataclass(frozen=True, kw_only=True)
class ScpiReply(Message):
    """Its response without terminator; empty for a command."""

    data: Bytes


@dataclass(frozen=True, kw_only=True)
class ErrorReply(Message):
    """The request was not carried out; `fields` is a JSON object with the values named in text."""

    error_class: Annotated[ErrorClass, choice(ErrorClass)]
    status: Annotated[Status, choice(Status)]
    effect: Annotated[Effect, choice(Effect)]
    text: Sentence
    fields: Bytes
