"""Transports: bytes to and from one peer. Know no frame, no message and no core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hil.errors import CoreUnavailableError

__all__ = ["MemoryTransport", "Transport"]


class Transport(Protocol):
    """A byte stream to one peer. May split, join and lose; never reorders within one direction."""

    def write(self, data: bytes) -> None:
        """Send all of `data`; raise CoreUnavailableError if the peer is gone."""

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes as soon as there are any; none if the deadline passes.

        Args:
            max_bytes: Most bytes to return.
            deadline_s: On the clock of `time.monotonic`.

        Raises:
            CoreUnavailableError: The peer is gone, or the transport was closed.
        """

    def close(self) -> None:
        """Release the stream; twice is fine."""


class MemoryTransport:
    """A peer in this process: bytes written are served at once, its answer waits to be read.

    Nothing can arrive later than at once, so a read without an answer returns before its deadline.
    """

    def __init__(
        self, serve: Callable[[bytes], bytes], *, release: Callable[[], None] | None = None
    ) -> None:
        """Take the peer: `serve` maps bytes to bytes, `release` is called once on close."""
        self._serve = serve
        self._release = release
        self._inbox = memoryview(b"")
        self._closed = False

    def write(self, data: bytes) -> None:
        """Hand `data` to the peer and keep what it answers."""
        self._require_open()
        self._inbox = memoryview(self._inbox.tobytes() + self._serve(data))

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return what the peer has answered, at most `max_bytes`; none if there is nothing."""
        self._require_open()
        data, self._inbox = self._inbox[:max_bytes].tobytes(), self._inbox[max_bytes:]
        return data

    def close(self) -> None:
        """Release the peer; twice is fine."""
        if not self._closed:
            self._closed = True
            if self._release is not None:
                self._release()

    def _require_open(self) -> None:
        if self._closed:
            raise CoreUnavailableError("the transport is closed; open the chip again")
