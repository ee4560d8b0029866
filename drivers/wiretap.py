"""Wire tap: shows every byte of the transports that are opened within a block. Knows no frame.

A driver hands each transport to `tapped` before it uses it; outside of `tapping` that returns the
transport itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import final

from drivers.transport import Transport

__all__ = ["Tap", "tapped", "tapping"]

Tap = Callable[[int, bool, bytes], None]
"""Called with the transport's number in order of opening, whether bytes went out, and the bytes."""

_tap: ContextVar[Callable[[Transport], Transport] | None] = ContextVar("tap", default=None)


@contextmanager
def tapping(tap: Tap) -> Iterator[None]:
    """Show `tap` the bytes of every transport opened in this block, for as long as it is open."""
    numbers = count()
    token = _tap.set(lambda transport: _TappedTransport(transport, next(numbers), tap))
    try:
        yield
    finally:
        _tap.reset(token)


def tapped(transport: Transport) -> Transport:
    """Return `transport`, seen by the tap in force if there is one."""
    wrap = _tap.get()
    return transport if wrap is None else wrap(transport)


@final
class _TappedTransport:
    def __init__(self, inner: Transport, number: int, tap: Tap) -> None:
        self._inner = inner
        self._number = number
        self._tap = tap

    def write(self, data: bytes) -> None:
        self._tap(self._number, True, bytes(data))
        self._inner.write(data)

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        data = self._inner.read(max_bytes, deadline_s)
        if data:
            self._tap(self._number, False, data)
        return data

    def close(self) -> None:
        self._inner.close()
