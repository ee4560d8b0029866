"""Faulty transport: any transport with the faults of a plan on its line. For tests and benches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

from drivers.fault_plan import FaultCounts, FaultPlan, FaultyLine
from drivers.throttle import Line
from drivers.transport import Transport

__all__ = ["FaultyTransport"]

_READ_BYTES = 1 << 16


@final
class FaultyTransport:
    """Passes bytes to and from `inner`, and strikes them on the way.

    Bytes that are held up leave with the first call after their time. Faults of the board (resets,
    brown-outs, boot text) are no business of a line: `drivers.serving_board` has them.

    Attributes:
        outward, inward: What was done to frames of the host, and to those of the board.
    """

    def __init__(
        self,
        inner: Transport,
        plan: FaultPlan,
        *,
        stream: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over `inner`; `stream` tells lines of one seed apart."""
        self.outward, self.inward = FaultCounts(), FaultCounts()
        self._inner = inner
        self._clock = clock
        self._out = FaultyLine(plan=plan, stream=stream, direction=0, counts=self.outward)
        self._in = FaultyLine(plan=plan, stream=stream, direction=1, counts=self.inward)
        self._sending, self._arriving = Line(), Line()
        self._arrived = bytearray()

    def write(self, data: bytes) -> None:
        """Send what is left of `data`."""
        now_s = self._clock()
        for piece in self._out.feed(data):
            self._sending.put(piece.data, now_s, hold_s=piece.hold_s)
        self._send()

    def _send(self) -> None:
        for data in self._sending.take(self._clock()):
            self._inner.write(data)

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return what arrives; none if the deadline passes, or if nothing can come any more."""
        while not self._arrived:
            self._send()
            due = [t for t in (self._sending.due_s(), self._arriving.due_s()) if t is not None]
            until_s = min([deadline_s, *due])
            came = self._inner.read(_READ_BYTES, until_s)
            now_s = self._clock()
            for piece in self._in.feed(came):
                self._arriving.put(piece.data, now_s, hold_s=piece.hold_s)
            self._arrived += b"".join(self._arriving.take(now_s))
            if self._arrived or came:
                continue
            if not due or now_s >= deadline_s:
                return b""
            if until_s > now_s:  # a peer in this process does not wait
                time.sleep(until_s - now_s)
        data = bytes(memoryview(self._arrived)[:max_bytes])
        del self._arrived[:max_bytes]
        return data

    def close(self) -> None:
        """Close the transport within; twice is fine."""
        self._inner.close()
