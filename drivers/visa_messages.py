"""VISA resources through VISA's own reads and writes, in blocks. Know no scheme and no message."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from hil.errors import CoreUnavailableError

__all__ = ["StreamTransport", "VisaChannel"]

ANSWER_MS = 30_000
"""How long a device may take to accept a message, ms."""

_SHARE_BYTES = 1 << 17  # written between two looks for bytes that came
_FRAME_BYTES = 1 << 16
_RESPONSE_BYTES = 1 << 20
_LONGEST_S = 1e6
_DELIMITER = 0


@final
class VisaChannel:
    """Whole messages over a resource with message boundaries: USBTMC, HiSLIP, VXI-11, GPIB."""

    def __init__(
        self,
        resource: Any,  # noqa: ANN401 - a MessageBasedResource of PyVISA, imported lazily
        *,
        description: str,
        release: Callable[[], None],
    ) -> None:
        """Use an open resource; `release` is called once."""
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        self.description = description
        self._resource = resource
        self._release = release
        self._closed = False
        self._error, self._timeout_code = VisaIOError, StatusCode.error_timeout
        self._more = StatusCode.success_max_count_read

    def send(self, message: bytes) -> None:
        """Send one message; raise CoreUnavailableError if the peer is gone."""
        try:
            self._resource.timeout = ANSWER_MS
            self._resource.write_raw(message)
        except Exception as error:  # VISA libraries raise errors of their own kinds
            raise _gone(self.description, error) from error

    def receive(self, deadline_s: float) -> tuple[bytes, bool]:
        """Return the next bytes of the response and whether they end it.

        No bytes and no end, if `deadline_s` on the clock of `time.monotonic` passes.

        Raises:
            CoreUnavailableError: The resource fails.
        """
        resource = self._resource
        try:
            resource.timeout = _milliseconds(deadline_s)
            data, status = resource.visalib.read(resource.session, _RESPONSE_BYTES)
        except Exception as error:  # VISA libraries raise errors of their own kinds
            if isinstance(error, self._error) and error.error_code == self._timeout_code:
                return b"", False
            raise _gone(self.description, error) from error
        return bytes(data), status != self._more

    def close(self) -> None:
        """Close the resource; twice is fine."""
        if not self._closed:
            self._closed = True
            self._release()


@final
class StreamTransport:
    """A stream resource of any VISA library, read frame by frame: a zero byte ends a read."""

    def __init__(
        self,
        resource: Any,  # noqa: ANN401 - a MessageBasedResource of PyVISA, imported lazily
        *,
        description: str,
        release: Callable[[], None],
    ) -> None:
        """Use an open stream resource; `release` is called once."""
        from pyvisa.constants import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, StatusCode
        from pyvisa.errors import VisaIOError

        self.description = description
        self._resource = resource
        self._release = release
        self._inbox = bytearray()
        self._closed = False
        self._error, self._timeout_code = VisaIOError, StatusCode.error_timeout
        resource.set_visa_attribute(VI_ATTR_TERMCHAR, _DELIMITER)
        resource.set_visa_attribute(VI_ATTR_TERMCHAR_EN, True)

    def write(self, data: bytes) -> None:
        """Send all of `data`; between parts of a long one take what came.

        Raises:
            CoreUnavailableError: The peer is gone, or took nothing for a long time.
        """
        self._require_open()
        for at in range(0, len(data), _SHARE_BYTES):
            if at:
                self._inbox += self._frame(time.monotonic())
            try:
                self._resource.timeout = ANSWER_MS
                self._resource.write_raw(data[at : at + _SHARE_BYTES])
            except Exception as error:  # VISA libraries raise errors of their own kinds
                raise _gone(self.description, error) from error

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes as soon as there is a frame; none if the deadline passes."""
        self._require_open()
        if not self._inbox:
            self._inbox += self._frame(deadline_s)
        data = bytes(memoryview(self._inbox)[:max_bytes])
        del self._inbox[:max_bytes]
        return data

    def _frame(self, deadline_s: float) -> bytes:
        """Return the bytes up to the next zero byte, or none if the deadline passes."""
        resource = self._resource
        try:
            resource.timeout = _milliseconds(deadline_s)
            data, _ = resource.visalib.read(resource.session, _FRAME_BYTES)
        except self._error as error:
            if error.error_code == self._timeout_code:
                return b""
            raise _gone(self.description, error) from error
        except OSError as error:
            raise _gone(self.description, error) from error
        return bytes(data)

    def close(self) -> None:
        """Close the resource; twice is fine."""
        if not self._closed:
            self._closed = True
            self._release()

    def _require_open(self) -> None:
        if self._closed:
            raise CoreUnavailableError(f"{self.description} was closed here; open the chip again")


def _gone(description: str, error: Exception) -> CoreUnavailableError:
    return CoreUnavailableError(
        f"{description} is gone ({error}); check cable, power and program at the other end, "
        "and open the chip again"
    )


def _milliseconds(deadline_s: float) -> int:
    """Return the time left until a deadline as a VISA time-out: at least one look, ms."""
    left_s = min(max(0.0, deadline_s - time.monotonic()), _LONGEST_S)
    return max(1, int(1e3 * left_s))
