"""What a recording says of a verb: requests and results of a core <-> plain values. No I/O.

Requests are only written and compared; results come back as they were.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from hil import errors
from hil.core import (
    CoreSettings,
    CoreStatus,
    MvmResult,
    Outcome,
    ProgramResult,
    ReadResult,
)
from hil.errors import DeviceFaultError, HilError

__all__ = [
    "ACTING",
    "Verb",
    "difference",
    "error_of",
    "error_values",
    "plain",
    "result_of",
]


class Verb(IntEnum):
    """A verb's number in the head of its record."""

    PROGRAM = 1
    READ = 2
    MVM = 3
    CONFIGURE = 4
    WAIT = 5
    STATUS = 6
    SETTINGS = 7
    NOW = 8
    SAFE_STATE = 9


ACTING = frozenset({Verb.PROGRAM, Verb.READ, Verb.MVM, Verb.CONFIGURE, Verb.WAIT})
"""Verbs that act on the chip: a replay takes them in the recorded order and no other. The rest are
questions; asking one more often or not at all changes no answer."""

_ERRORS: dict[str, type[HilError]] = {
    name: kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and kind is not HilError
}


def plain(value: object) -> Any:  # noqa: ANN401 - what a record can hold
    """Return a request or result as mappings, numbers, text and arrays."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.generic):
        return value.item()
    return value


def result_of(verb: Verb, values: Any) -> Any:  # noqa: ANN401 - each verb has its own result
    """Undo `plain` for the result of a verb.

    Raises:
        ValueError, TypeError, KeyError: The values are no such result.
    """
    result: Any = None
    match verb:
        case Verb.PROGRAM:
            result = ProgramResult(**{**values, "outcome": Outcome(values["outcome"])})
        case Verb.READ:
            result = ReadResult(**_codes(values, "codes", 1))
        case Verb.MVM:
            result = MvmResult(**_codes(values, "output_codes", 2))
        case Verb.SETTINGS:
            result = CoreSettings(**values)
        case Verb.STATUS:
            result = CoreStatus(**values)
        case Verb.WAIT | Verb.NOW:
            result = float(values)
        case Verb.CONFIGURE | Verb.SAFE_STATE:
            pass  # they answer nothing
    return result


def _codes(values: dict[str, Any], name: str, axes: int) -> dict[str, Any]:
    codes, saturated = values[name], values["saturated"]
    if not isinstance(codes, np.ndarray) or codes.ndim != axes or codes.dtype.kind != "i":
        raise TypeError(f"{name} is no array of codes with {axes} axes")
    if not isinstance(saturated, np.ndarray) or saturated.shape != codes.shape:
        raise TypeError(f"saturated does not fit {name}")
    return {**values, "at_s": float(values["at_s"])}


def error_values(error: Exception) -> dict[str, Any]:
    """Return what a record keeps of an error: its kind, its sentence, the values it names."""
    named = error.fields if isinstance(error, HilError) else {}
    simple = {
        key: value if isinstance(value, (bool, int, float, str)) else str(value)
        for key, value in named.items()
    }
    return {"kind": type(error).__name__, "message": str(error), "fields": simple}


def error_of(values: dict[str, Any]) -> HilError:
    """Make the recorded error again; one of a kind that is not ours is the device's."""
    kind = _ERRORS.get(values["kind"])
    if kind is None:
        return DeviceFaultError(f"{values['kind']}: {values['message']}")
    return kind(values["message"], **values["fields"])


def difference(asked: object, recorded: object, name: str) -> str | None:
    """Say where a request differs from the recorded one; None if it does not.

    Arrays are compared by value: a wider dtype is no difference.
    """
    if isinstance(asked, np.ndarray) and isinstance(recorded, np.ndarray):
        return _array_difference(asked, recorded, name)
    if isinstance(asked, dict) and isinstance(recorded, dict):
        for key in asked:
            found = difference(asked[key], recorded.get(key), key)
            if found is not None:
                return found
        return None
    if type(asked) is not type(recorded) or asked != recorded:
        return f"{name} is {_shown(asked)}, recorded was {_shown(recorded)}"
    return None


def _array_difference(
    asked: np.ndarray[Any, Any], recorded: np.ndarray[Any, Any], name: str
) -> str | None:
    if asked.shape != recorded.shape:
        return f"{name} has shape {asked.shape}, recorded was {recorded.shape}"
    unequal = np.argwhere(asked != recorded)
    if not len(unequal):
        return None
    first = tuple(int(k) for k in unequal[0])
    place = ", ".join(map(str, first))
    more = f" ({len(unequal)} of {asked.size} differ)" if len(unequal) > 1 else ""
    return f"{name}[{place}] is {asked[first]}, recorded was {recorded[first]}{more}"


def _shown(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return repr(value)
