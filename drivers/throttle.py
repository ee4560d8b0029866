"""Throttle: one direction of a line with a rate and a latency. Sans-io; the clock is handed in.

Times are those of one steady clock, in seconds. Each block of bytes is scheduled from the end of
the one before it, never from the moment it happened to be looked at: no error adds up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import final

__all__ = ["GRAIN_S", "Line"]

GRAIN_S = 2e-3
"""Bytes of a long block come out at steps of this size, s."""


@dataclass
class _Block:
    data: bytes
    begin_s: float  # when its first bit is on the line
    end_s: float  # when its last bit is
    taken: int = 0


@final
class Line:
    """Bytes put in come out in order, at the line's rate, after its latency.

    Attributes:
        waiting: Bytes on the way.
    """

    def __init__(self, *, bytes_per_s: float | None = None, latency_s: float = 0.0) -> None:
        """Make an idle line; without a rate it takes no time to pass bytes on."""
        self.waiting = 0
        self._rate = bytes_per_s
        self._latency_s = latency_s
        self._free_s = float("-inf")
        self._blocks: deque[_Block] = deque()

    def put(self, data: bytes, now_s: float, *, hold_s: float = 0.0) -> None:
        """Send a block that is there at `now_s`; `hold_s` more passes before it leaves."""
        if not data:
            return
        begin_s = max(now_s + hold_s, self._free_s)
        takes_s = 0.0 if self._rate is None else len(data) / self._rate
        self._free_s = begin_s + takes_s
        self._blocks.append(_Block(data, begin_s, self._free_s))
        self.waiting += len(data)

    def take(self, now_s: float) -> list[bytes]:
        """Return what has arrived by `now_s`; a block may come in several parts."""
        arrived = []
        at_s = now_s - self._latency_s
        while self._blocks:
            block = self._blocks[0]
            whole = at_s >= block.end_s
            end = len(block.data) if whole else self._passed(block, at_s)
            if end > block.taken:
                arrived.append(block.data[block.taken : end])
                self.waiting -= end - block.taken
                block.taken = end
            if not whole:
                break
            self._blocks.popleft()
        return arrived

    def _passed(self, block: _Block, at_s: float) -> int:
        if self._rate is None or at_s <= block.begin_s:
            return 0
        return min(len(block.data) - 1, int((at_s - block.begin_s) * self._rate))

    def due_s(self) -> float | None:
        """Return when it is worth to look again; None: nothing is on the way."""
        if not self._blocks:
            return None
        block = self._blocks[0]
        if self._rate is None:
            return block.end_s + self._latency_s
        taken_s = block.begin_s + block.taken / self._rate
        return min(taken_s + GRAIN_S, block.end_s) + self._latency_s

    def clear(self) -> None:
        """Lose what is on the way: the line was cut."""
        self._blocks.clear()
        self.waiting = 0
        self._free_s = float("-inf")
