"""VISA resources as byte streams, through VISA's own reads and writes. Know no scheme."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from hil.errors import CoreUnavailableError, DeviceFaultError
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.scpi_frames import BlockReader, frame_messages

__all__ = ["MessageTransport", "StreamTransport"]

MAX_RESPONSE_BYTES = 1 << 29
"""Longest block taken in one response, 512 MiB: replies of a whole window may come at once."""
ANSWER_MS = 30_000
"""How long a device may take to answer one message, ms."""
POLL_S = 2e-3
"""Wall time between two questions whether there is anything, s."""

_SHARE_BYTES = 1 << 17  # written between two looks for bytes that came
_FRAME_BYTES = 1 << 16
_DELIMITER = 0


@final
class MessageTransport:
    """Frames in the blocks of DIAG:FRAM?: each message is answered by what the device has to say.

    Nothing comes unasked; a read without anything asks again until its deadline.
    """

    def __init__(
        self,
        resource: Any,  # noqa: ANN401 - a MessageBasedResource of PyVISA, imported lazily
        *,
        description: str,
        release: Callable[[], None],
    ) -> None:
        """Use an open resource with message boundaries; `release` is called once."""
        self.description = description
        self._resource = resource
        self._release = release
        self._inbox = bytearray()
        self._closed = False
        resource.timeout = ANSWER_MS

    def write(self, data: bytes) -> None:
        """Send all of `data`, and keep what is answered.

        Raises:
            CoreUnavailableError: The resource fails.
            DeviceFaultError: The answer is no block.
        """
        for message in frame_messages(data):
            self._exchange(message)

    def _exchange(self, message: bytes) -> None:
        if self._closed:
            raise CoreUnavailableError(f"{self.description} was closed here; open the chip again")
        reader = BlockReader(MAX_RESPONSE_BYTES)
        try:
            self._resource.write_raw(message)
            while (block := reader.feed(self._resource.read_raw())) is None:
                pass
        except RemoteProtocolError as error:
            raise DeviceFaultError(
                f"{self.description} answers DIAG:FRAM? badly: {error}"
            ) from error
        except Exception as error:  # VISA libraries raise errors of their own kinds
            raise _gone(self.description, error) from error
        self._inbox += block

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes as soon as there are any; none if the deadline passes."""
        while not self._inbox:
            self.write(b"")
            left_s = deadline_s - time.monotonic()
            if self._inbox or left_s <= 0:
                break
            time.sleep(min(POLL_S, left_s))
        data = bytes(memoryview(self._inbox)[:max_bytes])
        del self._inbox[:max_bytes]
        return data

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
                self._inbox += self._frame(0.0)
            try:
                self._resource.timeout = ANSWER_MS
                self._resource.write_raw(data[at : at + _SHARE_BYTES])
            except Exception as error:  # VISA libraries raise errors of their own kinds
                raise _gone(self.description, error) from error

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes as soon as there is a frame; none if the deadline passes."""
        self._require_open()
        if not self._inbox:
            self._inbox += self._frame(max(0.0, deadline_s - time.monotonic()))
        data = bytes(memoryview(self._inbox)[:max_bytes])
        del self._inbox[:max_bytes]
        return data

    def _frame(self, limit_s: float) -> bytes:
        """Return the bytes up to the next zero byte, or none within the limit."""
        resource = self._resource
        try:
            resource.timeout = max(1, min(int(1e3 * limit_s), 2**31 - 1))
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
