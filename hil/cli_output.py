"""What the command line shows: words and bars on stderr, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from typing_extensions import override

from hil.progress import Progress, Task

__all__ = ["Bars", "Lines", "console", "duration_text", "emit", "make_progress", "say", "table"]

LINE_INTERVAL_S = 5.0
"""Time between two lines of progress where stderr is not a terminal, s."""
PLAIN_WIDTH = 160
"""Characters per line where stderr is not a terminal."""
FIRST_LINE_S = 2.0
"""Work shorter than this shows no line of progress, s."""


def console() -> Console:
    """Return a console on the present stderr."""
    width = None if sys.stderr.isatty() else PLAIN_WIDTH
    return Console(stderr=True, highlight=False, width=width)


def say(text: str) -> None:
    """Write a sentence for the person at the terminal."""
    console().print(text, markup=False, soft_wrap=True)


def emit(values: Mapping[str, Any]) -> None:
    """Write one line of JSON on stdout; NaN and infinity are refused, numbers stay exact."""
    print(json.dumps(values, separators=(",", ":"), allow_nan=False), flush=True)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table: first column text, the others right-aligned."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for k, head in enumerate(heads):
        grid.add_column(head, justify="left" if k == 0 else "right", no_wrap=k == 0)
    for row in rows:
        grid.add_row(*row)
    console().print(grid)


def duration_text(seconds: float) -> str:
    """Write a duration in the unit a person would take."""
    for size, unit in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


@contextmanager
def make_progress() -> Iterator[Progress]:
    """Show progress as bars on a terminal, as a line now and then elsewhere."""
    screen = console()
    if not screen.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with RichProgress(*columns, console=screen, transient=True) as bars:
        yield Bars(bars)


@final
class Bars(Progress):
    """Bars that rich draws; finished ones disappear."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @override
    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Show a bar until the block ends."""
        index = self._bars.add_task(name, total=total, words="")
        try:
            yield _Bar(self._bars, index)
        finally:
            self._bars.remove_task(index)


@final
class _Bar(Task):
    def __init__(self, bars: RichProgress, index: TaskID) -> None:
        self._bars, self._index = bars, index

    @override
    def advance(self, steps: float = 1.0) -> None:
        """Move the bar."""
        self._bars.advance(self._index, steps)

    @override
    def say(self, text: str) -> None:
        """Show words to the right of the bar."""
        self._bars.update(self._index, words=text)


@final
class Lines(Progress):
    """A line of text now and then: how far, how long still."""

    @override
    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Tell of a piece of work until the block ends."""
        yield _Line(name, total)


@final
class _Line(Task):
    def __init__(self, name: str, total: float | None) -> None:
        self._name, self._total = name, total
        self._done, self._words = 0.0, ""
        self._began = time.monotonic()
        self._next = self._began + FIRST_LINE_S

    @override
    def advance(self, steps: float = 1.0) -> None:
        """Count; write a line if the last one is old."""
        self._done += steps
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_INTERVAL_S
            say(f"{self._name}: {self._far(now - self._began)}{self._words}")

    @override
    def say(self, text: str) -> None:
        """Keep words for the next line."""
        self._words = f", {text}"

    def _far(self, elapsed_s: float) -> str:
        if not self._total or not self._done:
            return f"{self._done:.0f} done in {duration_text(elapsed_s)}"
        share = min(1.0, self._done / self._total)
        left_s = elapsed_s * (1 - share) / share
        return f"{self._done:.0f} of {self._total:g}, {duration_text(left_s)} left"
