"""Messages that a device sends unasked. Events may be lost; nothing depends on one."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.wire.fields import F64, U64, Sentence
from protocols.wire.layout import Message

__all__ = [
    "BootEvent",
    "LeaseLapsedEvent",
    "LeaseTakenEvent",
    "ProgressEvent",
    "SafeEvent",
    "TemperatureEvent",
]


@dataclass(frozen=True, kw_only=True)
class BootEvent(Message):
    """The device has started; sent in epoch 0, since every session is over."""

    boot: U64
    text: Sentence


@dataclass(frozen=True, kw_only=True)
class LeaseLapsedEvent(Message):
    """The owner was silent: every core is in its safe state and the lease is free."""

    token: U64
    holder: Sentence


@dataclass(frozen=True, kw_only=True)
class LeaseTakenEvent(Message):
    """Another session took the lease over; `token` and `holder` are the new owner's."""

    token: U64
    holder: Sentence


@dataclass(frozen=True, kw_only=True)
class SafeEvent(Message):
    """The core went into its safe state for a reason of its own or of another session."""

    text: Sentence


@dataclass(frozen=True, kw_only=True)
class TemperatureEvent(Message):
    """The temperature left its band, K."""

    temperature_kelvin: F64
    text: Sentence


@dataclass(frozen=True, kw_only=True)
class ProgressEvent(Message):
    """A long mutation is at `done` of `total` pulses."""

    mutation: U64
    done: U64
    total: U64
