"""SCPI status: event registers, status byte and error queue. State of one session; no I/O.

IEEE 488.2 chapter 11 and SCPI-1999 volume 1 chapter 9. Memory is bounded: the queue keeps its
oldest entries, and the last one becomes -350 when one more comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntFlag

from protocols.wire.scpi_errors import STANDARD_TEXTS, ScpiError

__all__ = [
    "QUEUE_LENGTH",
    "Event",
    "EventRegister",
    "QueuedError",
    "StatusByte",
    "StatusModel",
]

QUEUE_LENGTH = 32
"""Errors the queue holds; the standard asks for at least two."""

_OVERFLOW = -350
_CONDITION_MASK = 0x7FFF  # bit 15 of a SCPI register is never used


class Event(IntFlag):
    """Bits of the standard event status register (*ESR?)."""

    OPERATION_COMPLETE = 1
    REQUEST_CONTROL = 2
    QUERY_ERROR = 4
    DEVICE_ERROR = 8
    EXECUTION_ERROR = 16
    COMMAND_ERROR = 32
    USER_REQUEST = 64
    POWER_ON = 128


class StatusByte(IntFlag):
    """Bits of the status byte (*STB?)."""

    ERROR_QUEUE = 4
    QUESTIONABLE = 8
    MESSAGE_AVAILABLE = 16
    EVENT = 32
    MASTER_SUMMARY = 64
    OPERATION = 128


_EVENTS = {
    1: Event.COMMAND_ERROR,
    2: Event.EXECUTION_ERROR,
    3: Event.DEVICE_ERROR,
    4: Event.QUERY_ERROR,
}  # hundreds of an error's number -> bit


@dataclass(frozen=True, kw_only=True)
class QueuedError:
    """One entry of the error queue; number 0 means that there is none."""

    number: int
    text: str


_NO_ERROR = QueuedError(number=0, text="No error")


class EventRegister:
    """A condition register with its event and enable registers: bit rises are remembered."""

    def __init__(self) -> None:
        self.condition = 0
        self.enable = 0
        self._event = 0

    def update(self, condition: int) -> None:
        """Take the condition as it is now, 15 bits; a bit that has risen sets its event."""
        condition &= _CONDITION_MASK
        self._event |= condition & ~self.condition
        self.condition = condition

    def take_event(self) -> int:
        """Return the events since they were last taken, and forget them."""
        event, self._event = self._event, 0
        return event

    def clear(self) -> None:
        """Forget the events; condition and enable stay."""
        self._event = 0

    @property
    def summary(self) -> bool:
        """Whether an enabled event is set."""
        return bool(self._event & self.enable)


class StatusModel:
    """What *ESR?, *ESE, *SRE, *STB?, SYST:ERR? and STAT:* read and write.

    Attributes:
        event_enable: Mask of *ESE, 8 bits.
        service_enable: Mask of *SRE, 8 bits; bit 6 is always 0.
        operation, questionable: The two SCPI registers.
    """

    def __init__(self) -> None:
        self.event_enable = 0
        self.operation = EventRegister()
        self.questionable = EventRegister()
        self._service_enable = 0
        self._events = Event.POWER_ON
        self._queue: deque[QueuedError] = deque()

    @property
    def service_enable(self) -> int:
        """Mask of *SRE."""
        return self._service_enable

    @service_enable.setter
    def service_enable(self, mask: int) -> None:
        self._service_enable = mask & ~StatusByte.MASTER_SUMMARY & 0xFF

    def report(self, error: ScpiError) -> None:
        """Put an error into the queue and set its event bit."""
        self._events |= _EVENTS[-error.number // 100]
        if len(self._queue) < QUEUE_LENGTH:
            self._queue.append(QueuedError(number=error.number, text=error.text))
        else:
            self._events |= Event.DEVICE_ERROR
            self._queue[-1] = QueuedError(number=_OVERFLOW, text=STANDARD_TEXTS[_OVERFLOW])

    def set_event(self, event: Event) -> None:
        """Set a bit of the event register."""
        self._events |= event

    def take_events(self) -> int:
        """Return the event register and clear it (*ESR?)."""
        events, self._events = self._events, Event(0)
        return int(events)

    @property
    def errors(self) -> int:
        """Errors in the queue."""
        return len(self._queue)

    def take_error(self) -> QueuedError:
        """Return the oldest error and take it out; number 0 if there is none."""
        return self._queue.popleft() if self._queue else _NO_ERROR

    def clear(self) -> None:
        """Forget events and errors (*CLS); the masks stay."""
        self._events = Event(0)
        self._queue.clear()
        self.operation.clear()
        self.questionable.clear()

    def preset(self) -> None:
        """Clear the enable masks of the SCPI registers (STAT:PRES); *ESE and *SRE stay."""
        self.operation.enable = self.questionable.enable = 0

    def status_byte(self, *, message_available: bool) -> int:
        """Return the status byte with the master summary in bit 6 (*STB?)."""
        byte = StatusByte(0)
        for bit, is_set in (
            (StatusByte.ERROR_QUEUE, bool(self._queue)),
            (StatusByte.QUESTIONABLE, self.questionable.summary),
            (StatusByte.MESSAGE_AVAILABLE, message_available),
            (StatusByte.EVENT, bool(self._events & self.event_enable)),
            (StatusByte.OPERATION, self.operation.summary),
        ):
            byte |= bit if is_set else StatusByte(0)
        if byte & self._service_enable:
            byte |= StatusByte.MASTER_SUMMARY
        return int(byte)
