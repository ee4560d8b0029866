"""One host's line to an emulated board: rate, latency and faults in both directions. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from drivers.fault_plan import FaultCounts, FaultPlan, FaultyLine
from drivers.serving_board import EmulatedBoard
from drivers.throttle import Line

__all__ = ["HostLine", "LineSettings"]

BITS_PER_BYTE = 10
MAX_INWARD_BYTES = 1 << 16
"""Bytes taken from a host ahead of the line's rate: enough that the line never runs dry."""
MAX_OUTWARD_BYTES = 1 << 23
"""Bytes kept for a host; while there are more, nothing is taken from it, 8 MiB."""


@dataclass(frozen=True, kw_only=True)
class LineSettings:
    """What every line of a board is like.

    Attributes:
        baud: Rate each way, ten bits a byte; None: as fast as it goes.
        latency_s: Time on the way, each way, s.
        plan: Faults.
    """

    baud: int | None = None
    latency_s: float = 0.0
    plan: FaultPlan = field(default_factory=FaultPlan)

    def line(self) -> Line:
        """Return one direction of a line."""
        rate = None if self.baud is None else self.baud / BITS_PER_BYTE
        return Line(bytes_per_s=rate, latency_s=self.latency_s)


@final
class HostLine:
    """Bytes of one host: taken, passed to the board in their time, answered in theirs.

    Attributes:
        unsent: Bytes that are due and that the host has not yet taken.
    """

    def __init__(
        self, board: EmulatedBoard, settings: LineSettings, *, index: int, counts: FaultCounts
    ) -> None:
        """Open a stream on `board`; `index` tells the lines of one seed apart."""
        self.unsent = bytearray()
        self._stream = board.open_stream()
        self._inward, self._outward = settings.line(), settings.line()
        plan = settings.plan
        self._to_board = FaultyLine(plan=plan, stream=index, direction=0, counts=counts)
        self._to_host = FaultyLine(plan=plan, stream=index, direction=1, counts=counts)

    @property
    def takes(self) -> bool:
        """Whether bytes of the host are taken now."""
        owed = len(self.unsent) + self._outward.waiting
        return self._inward.waiting < MAX_INWARD_BYTES and owed < MAX_OUTWARD_BYTES

    def receive(self, data: bytes, now_s: float) -> None:
        """Take bytes from the host."""
        for piece in self._to_board.feed(data):
            self._inward.put(piece.data, now_s, hold_s=piece.hold_s)

    def deliver(self, now_s: float) -> None:
        """Give the board what has reached it."""
        for data in self._inward.take(now_s):
            self._stream.accept(data)

    def collect(self, now_s: float) -> None:
        """Put what the board says on the line, and move what has reached the host's end."""
        while len(self.unsent) + self._outward.waiting < MAX_OUTWARD_BYTES:
            said = self._stream.take_output()
            if not said:
                break
            for piece in self._to_host.feed(said):
                self._outward.put(piece.data, now_s, hold_s=piece.hold_s)
        for data in self._outward.take(now_s):
            self.unsent += data

    def due_s(self) -> float | None:
        """Return when something is due next; None: nothing is on the way."""
        due = [t for t in (self._inward.due_s(), self._outward.due_s()) if t is not None]
        return min(due, default=None)

    def close(self) -> None:
        """End the host's session on the board."""
        self._stream.close()
