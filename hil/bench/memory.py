"""Peak memory of a piece of work: how far it raised the process above where it stood."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

__all__ = ["peak_increase"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to clear_refs: the peak resident size starts again from the present one."""

T = TypeVar("T")


def peak_increase(work: Callable[[], T]) -> tuple[T, int]:
    """Do some work; return its result and the rise of the peak resident size over before, bytes.

    Memory that earlier work left to the process is given back first, where the C library can.
    Where the peak cannot be reset (outside Linux) the answer is 0 if earlier work needed more.
    """
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    before = _restarted_peak()
    result = work()
    return result, max(0, _peak() - before)


def _restarted_peak() -> int:
    with suppress(OSError):  # not Linux, or not allowed: the peak so far stands
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
    return _peak()


def _peak() -> int:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # noqa: PLC0415 - not on every system

        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
