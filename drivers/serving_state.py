"""What an emulated board's cells keep when its process ends: a file, written after every pulse."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.address import address_with, parse_address
from hil.backends import open_chip
from hil.core import Chip, VerbEvent
from hil.errors import RequestError

__all__ = ["kept_chip"]


@contextmanager
def kept_chip(address: str, file: Path | None) -> Iterator[Chip]:
    """Open the chip at `address` as `file` has it, and keep it there: as silicon would.

    The file is replaced at once after each pulse request, before its reply leaves, and at the end;
    a process that is killed leaves the cells as the last pulses made them.

    Args:
        address: Of the chip; its state is that of `file`, if there is one.
        file: Where to keep it; None: the chip vanishes with the process.

    Raises:
        RequestError: This kind of chip has no state to keep, or it cannot be written.
    """
    if file is not None and file.exists():
        address = address_with(address, state=str(file))
    with open_chip(address) as chip:
        if file is None:
            yield chip
            return
        _save(chip, file)

        def save_after_pulses(event: VerbEvent) -> None:
            if event.verb == "program":
                _save(chip, file)

        for core in chip.cores:
            core.observe(save_after_pulses)
        try:
            yield chip
        finally:
            _save(chip, file)


def _save(chip: Chip, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{file.name}-", dir=file.parent))
    except OSError as error:
        raise RequestError(f"state file {file} cannot be written: {error.strerror}") from error
    try:
        written = parse_address(chip.preserve(folder)).path("state")
        if written is None or written.parent != folder:
            raise RequestError(
                f"the chip at {chip.address} has no state to keep; leave --state out"
            )
        written.replace(file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
