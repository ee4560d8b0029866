"""Link timing: how long a reply may take, and when to ask again. Knows no clock, no transport."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LinkTiming", "RetryEstimate"]


@dataclass(frozen=True, kw_only=True)
class LinkTiming:
    """How long a reply may take: base + bytes both ways / rate + the announced execution time.

    Attributes:
        base_s: For the link's latency and a busy device.
        bytes_per_s: Slowest rate worth waiting for; 0.3 MB/s is a serial line at 3 Mbaud.
        execution_factor: Margin on the execution time that `CoreInfo` announces.
        first_retry_s: Wait before the first repetition while nothing is known of the link.
        longest_retry_s: Longest wait between two repetitions.
        silent_tries: Repetitions over a transport that says at once that nothing can come.
    """

    base_s: float = 5.0
    bytes_per_s: float = 100e3
    execution_factor: float = 1.5
    first_retry_s: float = 0.25
    longest_retry_s: float = 2.0
    silent_tries: int = 16

    def limit_s(self, moved_bytes: int, execution_s: float) -> float:
        """Return how long to wait for a reply."""
        return self.base_s + moved_bytes / self.bytes_per_s + self.execution_factor * execution_s


class RetryEstimate:
    """When a reply is late: smoothed round trip and its variation (Jacobson, SIGCOMM 1988)."""

    _LEAST_S = 0.02  # scheduling of two processes on one core

    def __init__(self, timing: LinkTiming) -> None:
        self._longest_s = timing.longest_retry_s
        self._smooth_s: float | None = None
        self._varies_s = 0.0
        self._first_s = timing.first_retry_s

    def note(self, round_trip_s: float) -> None:
        """Take a round trip of a request that was sent once (Karn's rule)."""
        if self._smooth_s is None:
            self._smooth_s, self._varies_s = round_trip_s, round_trip_s / 2
            return
        self._varies_s += (abs(round_trip_s - self._smooth_s) - self._varies_s) / 4
        self._smooth_s += (round_trip_s - self._smooth_s) / 8

    def wait_s(self, tries: int) -> float:
        """Return how long to wait after `tries` repetitions; doubles with each."""
        once_s = self._first_s
        if self._smooth_s is not None:
            once_s = max(self._LEAST_S, self._smooth_s + 4 * self._varies_s)
        return min(self._longest_s, once_s * float(1 << min(tries, 16)))
