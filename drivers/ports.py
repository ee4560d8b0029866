"""Ports: a descriptor of the operating system as a byte stream, in blocks. Knows no frame.

Serial lines, pseudo-terminals and sockets are read and written alike once they are open. POSIX.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from hil.errors import CoreTimeoutError, CoreUnavailableError

__all__ = ["STALL_S", "DescriptorTransport", "lock_holder"]

STALL_S = 30.0
"""A peer that neither takes nor sends a byte for so long is not coming back, s."""
MAX_INBOX_BYTES = 1 << 26
"""Most bytes kept that came in while more was to be sent, 64 MiB."""

_BLOCK_BYTES = 1 << 16
_LONGEST_WAIT_MS = 1 << 30
_PROC = Path("/proc")


@final
class DescriptorTransport:
    """A byte stream on an open, non-blocking descriptor.

    Whatever arrives while a write waits is taken and kept: two ends that both send more than the
    line between them holds do not wait for each other. One thread at a time; `abort` from any.

    Attributes:
        description: What it leads to, to show.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        description: str,
        release: Callable[[], None],
        stall_s: float = STALL_S,
    ) -> None:
        """Use `descriptor`; `release` closes it and is called once."""
        self.description = description
        self._descriptor = descriptor
        self._release = release
        self._stall_s = stall_s
        self._inbox = bytearray()
        self._closed = self._aborted = False
        os.set_blocking(descriptor, False)
        self._wake, self._waker = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)

    def write(self, data: bytes) -> None:
        """Send all of `data`, however slowly the peer takes it.

        Raises:
            CoreUnavailableError: The peer is gone, or the transport was closed or aborted.
            CoreTimeoutError: Not a byte moved either way for `stall_s`.
        """
        rest = memoryview(data)
        limit_s = time.monotonic() + self._stall_s
        self._require_open()
        while rest:
            try:
                sent = os.write(self._descriptor, rest[:_BLOCK_BYTES])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise self._gone(error) from error
            rest = rest[sent:]
            if sent or self._make_way(limit_s, len(rest)):
                limit_s = time.monotonic() + self._stall_s

    def _make_way(self, limit_s: float, left: int) -> bool:
        """Wait until there is room to send or something to take; tell whether bytes came."""
        taking = select.POLLIN if len(self._inbox) < MAX_INBOX_BYTES else 0
        ready = self._wait(select.POLLOUT | taking, limit_s)
        if not ready:
            raise CoreTimeoutError(
                f"{self.description} took no byte for {self._stall_s:g} s with {left} to go; its "
                "state is unknown: check flow control and power, and open the chip again",
                limit_s=self._stall_s,
                left_bytes=left,
            )
        if not ready & ~select.POLLOUT:
            return False
        data = self._take(_BLOCK_BYTES)
        self._inbox += data
        return bool(data)

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return 1 ... max_bytes bytes as soon as there are any; none if the deadline passes.

        Args:
            max_bytes: Most bytes to return.
            deadline_s: On the clock of `time.monotonic`.

        Raises:
            CoreUnavailableError: The peer is gone, or the transport was closed or aborted.
        """
        self._require_open()
        if self._inbox:
            kept = bytes(memoryview(self._inbox)[:max_bytes])
            del self._inbox[:max_bytes]
            return kept
        while self._wait(select.POLLIN, deadline_s):
            data = self._take(max_bytes)
            if data:
                return data
        return b""

    def abort(self) -> None:
        """End every wait, now and from now on; from any thread, twice is fine."""
        if not (self._closed or self._aborted):
            self._aborted = True
            os.write(self._waker, b"\0")

    def close(self) -> None:
        """Release the descriptor; twice is fine."""
        if not self._closed:
            self._closed = True
            os.close(self._wake)
            os.close(self._waker)
            self._release()

    def _wait(self, events: int, deadline_s: float) -> int:
        """Return the events that came, 0 when the deadline passes; at least one look is taken."""
        self._poll.register(self._descriptor, events)
        left_ms = math.ceil(1e3 * min(max(0.0, deadline_s - time.monotonic()), _LONGEST_WAIT_MS))
        found = dict(self._poll.poll(min(left_ms, _LONGEST_WAIT_MS)))
        self._require_open()
        return found.get(self._descriptor, 0)

    def _take(self, max_bytes: int) -> bytes:
        try:
            data = os.read(self._descriptor, max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone(None)
        return data

    def _gone(self, error: OSError | None) -> CoreUnavailableError:
        why = "it hung up" if error is None else f"{error.strerror}"
        return CoreUnavailableError(
            f"{self.description} is gone ({why}); check cable, power and program at the other end, "
            "and open the chip again"
        )

    def _require_open(self) -> None:
        if self._closed or self._aborted:
            raise CoreUnavailableError(f"{self.description} was closed here; open the chip again")


def lock_holder(path: Path) -> str:
    """Say which process has locked a file, as far as the operating system tells."""
    unknown = "another process"
    try:
        status = path.stat()
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return unknown
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == place and words[4].isdecimal():
            return _process_name(words[4])
    return unknown


def _process_name(process: str) -> str:
    try:
        command = (_PROC / process / "cmdline").read_bytes().replace(b"\0", b" ").strip()
    except OSError:
        command = b""
    text = command.decode("utf-8", "replace")
    return f"process {process}" + (f" ({text[:80]})" if text else "")
