"""Progress as values: what is under way, how far it is, in a few words. Draws nothing.

Work that takes time is handed a `Progress` and tells it; the command line draws bars from it, a
test collects it, and `Silent` drops it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, final, runtime_checkable

from typing_extensions import override

__all__ = ["Progress", "Silent", "Task"]


class Task(Protocol):
    """One piece of work that has begun."""

    def advance(self, steps: float = 1.0) -> None:
        """Say that `steps` more of the total are done."""
        ...

    def say(self, text: str) -> None:
        """Show a few words beside the bar, for example an error reached."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Something that can be told of work."""

    def task(self, name: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Begin a piece of work of `total` steps (None: not known); it ends with the block."""
        ...


@final
class Silent(Progress):
    """Drops what it is told."""

    @override
    def task(self, name: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Begin a piece of work that nobody watches."""
        return nullcontext(_Nothing())


@final
class _Nothing(Task):
    @override
    def advance(self, steps: float = 1.0) -> None:
        """Drop it."""

    @override
    def say(self, text: str) -> None:
        """Drop it."""
