"""Message transport: the byte stream of the binary plane over a channel that carries messages.

For USBTMC, HiSLIP and VXI-11: frames cross in the blocks of DIAG:FRAM?. One response is open at a
time, because a device drops a response when the next message comes before it was read.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

from hil.errors import CoreUnavailableError
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.scpi_frames import BlockReader, frame_messages, room_for_frames
from protocols.wire.scpi_stream import MAX_MESSAGE_BYTES

__all__ = ["MessageChannel", "MessageTransport"]

_MAX_RESPONSE_BYTES = 8 << 20  # longest response of a device of ours
_FIRST_POLL_S = 1e-3  # between questions whether there is more, doubled each time
_LAST_POLL_S = 0.05

_logger = logging.getLogger(__name__)


class MessageChannel(Protocol):
    """A connection that carries whole messages."""

    def send(self, message: bytes) -> None:
        """Send one message; raise CoreUnavailableError if the peer is gone."""

    def receive(self, deadline_s: float) -> tuple[bytes, bool]:
        """Return the next bytes of the response and whether they end it.

        No bytes and no end, if `deadline_s` on the clock of `time.monotonic` passes.
        """

    def close(self) -> None:
        """Release the connection; twice is fine."""


class MessageTransport:
    """A `Transport` over a message channel: writes never wait, reads collect the responses."""

    def __init__(self, channel: MessageChannel, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Take the channel and the longest message that the device accepts."""
        self._channel = channel
        self._max_bytes = max_message_bytes
        self._outbox = bytearray()
        self._inbox = bytearray()
        self._reader: BlockReader | None = None  # of the response that is open
        self._overdue = False  # the open response did not come before a deadline
        self._broken = False  # the open response is no block
        self._closed = False

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it until the open response was read."""
        self._require_open()
        self._outbox += data
        if self._reader is None or self._overdue:
            self._send()

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes from the device; none if the deadline passes."""
        self._require_open()
        pause_s = _FIRST_POLL_S
        while not self._inbox:
            if self._reader is None:
                self._send()
            if not self._collect(deadline_s):
                return b""
            if not self._inbox and not self._outbox:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return b""
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, _LAST_POLL_S)
        data = bytes(self._inbox[:max_bytes])
        del self._inbox[:max_bytes]
        return data

    def close(self) -> None:
        """Release the channel; twice is fine."""
        if not self._closed:
            self._closed = True
            self._channel.close()

    def _send(self) -> None:
        """Send one message with what waits; without anything it asks what the device has to say."""
        room = room_for_frames(self._max_bytes)
        (message,) = frame_messages(bytes(self._outbox[:room]), self._max_bytes)
        del self._outbox[:room]
        self._reader = BlockReader(_MAX_RESPONSE_BYTES)
        self._overdue = self._broken = False
        self._channel.send(message)

    def _collect(self, deadline_s: float) -> bool:
        """Read the open response to its end; return whether it came before the deadline."""
        while self._reader is not None:
            data, end = self._channel.receive(deadline_s)
            if not data and not end:
                self._overdue = True
                return False
            found = self._understand(self._reader, data)
            if end:
                self._inbox += found or b""
                self._reader = None
        return True

    def _understand(self, reader: BlockReader, data: bytes) -> bytes | None:
        if self._broken:
            return None
        try:
            return reader.feed(data)
        except RemoteProtocolError as error:
            _logger.debug("a response is dropped: %s", error)
            self._broken = True
            return None

    def _require_open(self) -> None:
        if self._closed:
            raise CoreUnavailableError("the transport is closed; open the chip again")
