"""Pulses and results of verbs as journal fields and packed arrays, both ways. Knows no file.

What was recorded can stand for the chip when a run is taken up again, so both ways are exact.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, TypeVar, cast

import numpy.typing as npt

from hil.errors import RecordError
from hil.info import PulseFamily
from hil.journal_blobs import pack_arrays, unpack_arrays
from hil.requests import (
    CoreSettings,
    CoreStatus,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
)

__all__ = ["Result", "later", "pack_pulse", "pack_result", "unpack_pulse", "unpack_result"]

Result = ProgramResult | ReadResult | MvmResult | CoreSettings | CoreStatus | float | None
"""What a verb of a core gives."""

ResultT = TypeVar("ResultT")

_PULSE = ("device", "rows", "cols", "amplitude", "width", "count")
_TRIMS = ("gain_trim", "offset_trim")


def pack_pulse(pulse: Pulse) -> bytes:
    """Pack the cells and codes of a pulse request; its family stands in the line."""
    return pack_arrays({name: getattr(pulse, name) for name in _PULSE}, compress=True)


def unpack_pulse(family: str, content: bytes) -> Pulse:
    """Return the pulse request that was packed."""
    arrays = unpack_arrays(content)
    return Pulse(family=PulseFamily(family), **{name: arrays[name] for name in _PULSE})


def pack_result(result: Result) -> tuple[dict[str, Any], bytes | None]:
    """Return a result as fields that JSON holds exactly, and its arrays packed."""
    fields: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] | None = None
    match result:
        case float() | int():
            fields = {"value": float(result)}
        case ProgramResult():
            fields = {"outcome": result.outcome.name, "pulses": result.pulses}
        case ReadResult():
            fields = {"kelvin": result.temperature_kelvin}
            arrays = {"codes": result.codes, "saturated": result.saturated}
        case MvmResult():
            fields = {"kelvin": result.temperature_kelvin}
            arrays = {"codes": result.output_codes, "saturated": result.saturated}
        case CoreStatus():
            fields = {"status": asdict(result)}
        case CoreSettings():
            arrays = {
                name: codes for name in _TRIMS if (codes := getattr(result, name)) is not None
            }
            settings = {"range": result.output_range, "kelvin": result.temperature_kelvin}
            fields = {"settings": settings}
    return fields, None if arrays is None else pack_arrays(arrays)


def unpack_result(verb: str, values: dict[str, Any], content: bytes | None) -> Result:
    """Return the result of a verb from the fields of its line and its arrays.

    Raises:
        RecordError: The line does not hold it.
    """
    try:
        return _unpack(verb, values, content)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"line {values.get('n')} of the journal holds no result of {verb} ({error}); "
            "run it again from its beginning"
        ) from error


def _unpack(verb: str, values: dict[str, Any], content: bytes | None) -> Result:
    arrays = unpack_arrays(content) if content is not None else {}
    result: Result = None
    match verb:
        case "program":
            outcome = Outcome[values["outcome"]]
            result = ProgramResult(outcome=outcome, pulses=values["pulses"], at_s=values["at_s"])
        case "read":
            result = ReadResult(
                codes=arrays["codes"], saturated=arrays["saturated"], **_conditions(values)
            )
        case "mvm":
            result = MvmResult(
                output_codes=arrays["codes"], saturated=arrays["saturated"], **_conditions(values)
            )
        case "status":
            result = CoreStatus(**values["status"])
        case "settings":
            fields = values["settings"]
            result = CoreSettings(
                output_range=fields["range"], temperature_kelvin=fields["kelvin"], **arrays
            )
        case "wait":
            result = float(values["value"])
    return result


def _conditions(values: dict[str, Any]) -> dict[str, float]:
    return {"temperature_kelvin": values["kelvin"], "at_s": values["at_s"]}


def later(result: ResultT, seconds: float) -> ResultT:
    """Return a result with its device times moved by `seconds`."""
    if seconds == 0.0:
        return result
    moved: object = result
    match result:
        case float():
            moved = result + seconds
        case ReadResult() | MvmResult() | ProgramResult():
            moved = replace(result, at_s=result.at_s + seconds)
        case CoreStatus():
            last = result.last_pulse_at_s
            moved = replace(
                result,
                now_s=result.now_s + seconds,
                last_pulse_at_s=None if last is None else last + seconds,
            )
    return cast("ResultT", moved)
