"""States of the two ends of a link, as transition tables. SPEC.md shows the same tables."""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeVar

from protocols.wire.errors import LocalProtocolError

__all__ = ["DEVICE_TABLE", "HOST_TABLE", "DeviceState", "HostState", "Step", "after"]


StateT = TypeVar("StateT", bound=Enum)


class HostState(Enum):
    """State of the host's end."""

    CLOSED = auto()
    """No session yet."""
    HELLO_SENT = auto()
    """HELLO is on its way; nothing else may be sent but what is urgent."""
    OPEN = auto()
    """Requests may be sent within the window."""
    LOST = auto()
    """A request stayed without its reply: its effect is unknown, the epoch is over."""


class DeviceState(Enum):
    """State of the device's end, for one byte stream."""

    IDLE = auto()
    """No session: HELLO and urgent requests are taken."""
    OPEN = auto()
    """Requests of the epoch are taken too."""


class Step(Enum):
    """What changes a state."""

    HELLO = auto()
    """The host sends HELLO."""
    BEGIN = auto()
    """The session begins: HELLO is answered (device), its answer is accepted (host)."""
    FORGET = auto()
    """The host gives up waiting."""
    END = auto()
    """The byte stream is closed."""


HOST_TABLE: dict[tuple[HostState, Step], HostState] = {
    (HostState.CLOSED, Step.HELLO): HostState.HELLO_SENT,
    (HostState.HELLO_SENT, Step.HELLO): HostState.HELLO_SENT,
    (HostState.OPEN, Step.HELLO): HostState.HELLO_SENT,
    (HostState.LOST, Step.HELLO): HostState.HELLO_SENT,
    (HostState.HELLO_SENT, Step.BEGIN): HostState.OPEN,
    (HostState.CLOSED, Step.FORGET): HostState.CLOSED,
    (HostState.HELLO_SENT, Step.FORGET): HostState.LOST,
    (HostState.OPEN, Step.FORGET): HostState.LOST,
    (HostState.LOST, Step.FORGET): HostState.LOST,
}
"""State and step -> next state of the host; what is not there is refused."""

DEVICE_TABLE: dict[tuple[DeviceState, Step], DeviceState] = {
    (DeviceState.IDLE, Step.BEGIN): DeviceState.OPEN,
    (DeviceState.OPEN, Step.BEGIN): DeviceState.OPEN,
    (DeviceState.IDLE, Step.END): DeviceState.IDLE,
    (DeviceState.OPEN, Step.END): DeviceState.IDLE,
}
"""State and step -> next state of the device; what is not there is refused."""


def after(table: dict[tuple[StateT, Step], StateT], state: StateT, step: Step) -> StateT:
    """Return the next state; LocalProtocolError if the table has none."""
    found = table.get((state, step))
    if found is None:
        raise LocalProtocolError(f"{step.name} is not for a link that is {state.name}")
    return found
