"""The virtual clock that the cores of a chip share. It never runs back."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Seconds since the chip was opened, advanced by what the chip does and by waiting."""

    def __init__(self) -> None:
        self._now_s = 0.0

    @property
    def now_s(self) -> float:
        """Device time, s."""
        return self._now_s

    def advance(self, seconds: float) -> float:
        """Let `seconds` >= 0 pass; return the time after it, s."""
        self._now_s += seconds
        return self._now_s
