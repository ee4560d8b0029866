"""Bad line: both directions of a line with the faults of a plan, and frames that overtake others.

Sans-io and without a clock: what is held up arrives behind the frames that follow it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import fields
from typing import final

from drivers.fault_plan import FaultCounts, FaultPlan, FaultyLine
from hil.bench.line import LineFaults

__all__ = ["BadLine", "bad_plan", "total_faults"]

_ZERO = b"\x00"


def bad_plan(rate: float, seed: int) -> FaultPlan:
    """Return a plan that loses, spoils, repeats and splits `rate` of the frames, each."""
    return FaultPlan(loss=rate, flip=rate, duplicate=rate, split=rate, seed=seed)


@final
class BadLine:
    """One direction: bytes in, the pieces that arrive now out.

    Attributes:
        counts: What the plan did.
        delayed: Frames that were held up, with all behind them, until the next bytes came.
        reordered: Frames that one or more later frames overtook.
    """

    def __init__(self, rate: float, *, seed: int, direction: int) -> None:
        """Strike frames with each kind of fault at `rate`; each direction has draws of its own."""
        self.counts = FaultCounts()
        self.delayed = self.reordered = 0
        plan = bad_plan(rate, seed)
        self._line = FaultyLine(plan=plan, direction=direction, counts=self.counts)
        self._random = random.Random(f"{seed} {direction}")
        self._rate = rate
        self._held: list[bytes] = []  # to be overtaken by what comes next
        self._behind: list[bytes] = []  # held up, in order

    def feed(self, data: bytes) -> list[bytes]:
        """Return what arrives now of whole frames in `data` and of what was held up."""
        frames = self._overtaken(data)
        arriving = self._behind + [piece.data for f in frames for piece in self._line.feed(f)]
        self._behind = []
        if arriving and self._random.random() < self._rate:
            cut = self._random.randrange(len(arriving))
            arriving, self._behind = arriving[:cut], arriving[cut:]
            self.delayed += len(self._behind)
        return arriving

    def _overtaken(self, data: bytes) -> list[bytes]:
        frames = [frame + _ZERO for frame in data.split(_ZERO)[:-1]]
        out: list[bytes] = []
        for frame in frames:
            if self._random.random() < self._rate:
                self._held.append(frame)
                self.reordered += 1
                continue
            out.append(frame)
            if self._held and self._random.random() < 0.5:
                out += self._held
                self._held.clear()
        return out

    def flush(self) -> list[bytes]:
        """Return what was held up: nothing else is coming."""
        held, self._held = self._held, []
        arriving = self._behind + [piece.data for f in held for piece in self._line.feed(f)]
        self._behind = []
        return arriving

    def cut(self) -> None:
        """Lose what is under way: an end was switched off."""
        self._held.clear()
        self._behind.clear()
        self._line.clear()


def total_faults(lines: Iterable[BadLine]) -> LineFaults:
    """Return what was done on all lines together."""
    lines = list(lines)
    sums = {
        f.name: sum(getattr(line.counts, f.name) for line in lines) for f in fields(FaultCounts)
    }
    return LineFaults(
        frames=sums["frames"],
        lost=sums["lost"],
        flipped=sums["flipped"],
        duplicated=sums["duplicated"],
        delayed=sum(line.delayed for line in lines),
        reordered=sum(line.reordered for line in lines),
        split=sums["split"],
    )
