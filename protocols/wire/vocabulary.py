"""Vocabulary: the numbers that stand for words in a message. Knows no message."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "Direction",
    "Distribution",
    "Effect",
    "ErrorClass",
    "Family",
    "Fate",
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
    FASTEST = 255
    """The fastest mode that the core has."""


class Distribution(IntEnum):
    """Which inputs a seeded MVM draws; `protocols.wire.seeded` says how."""

    UNIFORM = 0
    UNIFORM_SPARSE = 1
    GAUSSIAN = 2
    RELU = 3
    HADAMARD = 4


class Outcome(IntEnum):
    """What a mutation did: all, nothing, a part that the reply describes, or nobody knows."""

    DONE = 0
    REJECTED = 1
    FAILED = 2
    UNKNOWN = 3


class Fate(IntEnum):
    """What the device knows of a mutation id: its outcome, that it never came, or nothing more."""

    DONE = 0
    REJECTED = 1
    FAILED = 2
    UNKNOWN = 3
    NEVER = 4
    FORGOTTEN = 5


class ErrorClass(IntEnum):
    """Who can act on an error."""

    REQUEST = 1
    UNAVAILABLE = 2
    TIMEOUT = 3
    DEVICE_FAULT = 4
    RECORD = 5


class Status(IntEnum):
    """Why, for programs. REFUSED and FAILED come from executing a verb, the rest from its frame."""

    REFUSED = 1
    FAILED = 2
    BAD_MESSAGE = 3
    NO_COMMON_VERSION = 4
    NO_SUCH_CORE = 5
    CORE_CLOSED = 6
    NOT_OWNER = 7
    STALE_TOKEN = 8
    STALE_MUTATION = 9
    MUTATION_GAP = 10
    ABORTED = 11


class Effect(IntEnum):
    """What a failed request has changed; only after NONE may it be sent again unseen."""

    NONE = 0
    PARTIAL = 1
    UNKNOWN = 2
