"""Faults: errors of a core <-> error replies of the wire, class, text and fields alike."""

from __future__ import annotations

import json

from hil.errors import (
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    HilError,
    RecordError,
    RequestError,
)
from protocols.wire.messages import ErrorReply
from protocols.wire.vocabulary import Effect, ErrorClass, Status

__all__ = ["error_from_wire", "error_to_wire"]

_ERRORS: dict[type[HilError], ErrorClass] = {
    RequestError: ErrorClass.REQUEST,
    CoreUnavailableError: ErrorClass.UNAVAILABLE,
    CoreTimeoutError: ErrorClass.TIMEOUT,
    DeviceFaultError: ErrorClass.DEVICE_FAULT,
    RecordError: ErrorClass.RECORD,
}
_NO_EFFECT = (RequestError, CoreUnavailableError, RecordError)
_ERRORS_BACK = {number: kind for kind, number in _ERRORS.items()}


def error_to_wire(error: Exception) -> ErrorReply:
    """Return the reply to a request that raised `error`; what is none of ours is a device fault."""
    kind = next((k for k in _ERRORS if isinstance(error, k)), None)
    fields = error.fields if isinstance(error, HilError) else {}
    return ErrorReply(
        error_class=ErrorClass.DEVICE_FAULT if kind is None else _ERRORS[kind],
        status=Status.REFUSED if isinstance(error, _NO_EFFECT) else Status.FAILED,
        effect=Effect.NONE if isinstance(error, _NO_EFFECT) else Effect.UNKNOWN,
        text=str(error) if kind is not None else f"{type(error).__name__}: {error}",
        fields=json.dumps(fields, default=str).encode(),
    )


def error_from_wire(reply: ErrorReply) -> HilError:
    """Return the error of the same class, text and fields."""
    error = _ERRORS_BACK[reply.error_class](reply.text)
    try:
        fields = json.loads(reply.fields)
    except (ValueError, RecursionError) as cause:
        raise DeviceFaultError(f"the device answered an error badly: {reply.text}") from cause
    if isinstance(fields, dict):
        error.fields = fields
    return error
