"""Vocabulary: the numbers that stand for words in a message. Knows no message."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "Direction",
    "Effect",
    "ErrorClass",
    "Family",
    "Mode",
    "Outcome",
    "Status",
]


class Family(IntEnum):
    """Pulse family."""

    SET = 0
    RESET = 1


class Direction(IntEnum):
    """Lines that carry the inputs."""

    FORWARD = 0
    TRANSPOSED = 1


class Mode(IntEnum):
    """Execution mode of an MVM."""

    ONE_PHASE = 0
    FOUR_PHASE = 1
    REFERENCE = 2


class Outcome(IntEnum):
    """What became of a mutation."""

    DONE = 0
    REJECTED = 1
    FAILED = 2
    UNKNOWN = 3


class ErrorClass(IntEnum):
    """Who can act on an error."""

    REQUEST = 1
    UNAVAILABLE = 2
    TIMEOUT = 3
    DEVICE_FAULT = 4
    RECORD = 5


class Status(IntEnum):
    """Why, for programs. REFUSED and FAILED come from executing a verb, the rest from the link."""

    REFUSED = 1
    FAILED = 2
    BAD_MESSAGE = 3
    NO_COMMON_VERSION = 4
    NO_SUCH_CORE = 5
    CORE_CLOSED = 6


class Effect(IntEnum):
    """What a failed request has changed; only after NONE may it be sent again unseen."""

    NONE = 0
    PARTIAL = 1
    UNKNOWN = 2
