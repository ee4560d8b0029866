"""The error tree: who can act on a failure. Knows nothing else of the project."""

from __future__ import annotations

from typing import Any

__all__ = [
    "CoreTimeoutError",
    "CoreUnavailableError",
    "DeviceFaultError",
    "HilError",
    "RecordError",
    "RequestError",
]


class HilError(Exception):
    """Base of every error this project raises.

    Attributes:
        fields: The values named in the sentence, for programs that read the error.
    """

    def __init__(self, message: str, **fields: Any) -> None:  # noqa: ANN401 - values of any kind
        super().__init__(message)
        self.fields: dict[str, Any] = fields


class RequestError(HilError, ValueError):
    """The caller asked for something impossible. Nothing was sent, nothing has changed."""


class CoreUnavailableError(HilError, ConnectionError):
    """No core answers at this address, or the core was closed. Open it (again)."""


class CoreTimeoutError(HilError, TimeoutError):
    """No reply in time: the state of the core is unknown until it is reopened."""


class DeviceFaultError(HilError, RuntimeError):
    """The board refused or failed a request and said so."""


class RecordError(HilError, ValueError):
    """A file is missing, damaged, of another version, or belongs to another chip."""
