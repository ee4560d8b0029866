"""Signals of a command: the first ends it and the chip goes to its safe state, undisturbed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hil.cli_output import say

__all__ = ["stop_on_signals"]

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
"""From the keyboard, from the system, from a terminal that was closed."""
GIVE_UP_AT = 3
"""The signal that ends a command even while it makes its chip safe."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn a stopping signal into KeyboardInterrupt, so that every chip held is made safe.

    A second one does not break into that; a third does. A signal that this process was started to
    ignore (nohup, a background job) stays ignored.
    """
    heard = 0

    def stop(_number: int, _frame: object) -> None:
        nonlocal heard
        heard += 1
        if heard in (1, GIVE_UP_AT):
            raise KeyboardInterrupt
        if heard < GIVE_UP_AT:
            say("hil: the chip is being put into its safe state; once more gives that up")

    numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
