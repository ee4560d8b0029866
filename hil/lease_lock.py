"""The owner's lock of a chip: one process at a time, by its serial. Knows files, opens no chip.

The operating system holds the lock while the file is open, so that a crash frees it at once and
nothing stale is ever left. Beside it stands who holds it, for the one who comes second.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, final

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from hil.chip_records import chip_folder, make_chip_folder
from hil.errors import CoreUnavailableError, RecordError
from hil.record import now_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Holder", "OwnerLock", "holder_of", "operator_name"]

LOCK_FILE = "owner.lock"
LOOKS, LOOK_INTERVAL_S = 5, 0.02
"""Tries to take the lock: somebody may just be looking whether it is held."""
LONGEST_RECORD = 4096


class Holder(BaseModel):
    """Who holds a chip: person, machine, process, command, since when (ISO 8601)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str
    host: str
    pid: int
    command: str
    since: str

    @classmethod
    def here(cls, command: Sequence[str]) -> Self:
        """Describe this process."""
        return cls(
            user=operator_name(),
            host=socket.gethostname(),
            pid=os.getpid(),
            command=" ".join(command)[:1000],
            since=now_text(),
        )

    @override
    def __str__(self) -> str:
        return (
            f"{self.user}@{self.host}, process {self.pid}, since {self.since}"
            f"{': ' + self.command if self.command else ''}"
        )


@final
class OwnerLock:
    """Ownership of one chip by this process; a context manager."""

    def __init__(self, descriptor: int, holder: Holder) -> None:
        """Hold an open and locked file; use `acquire`."""
        self._descriptor = descriptor
        self.holder = holder

    @classmethod
    def acquire(cls, serial: str, command: Sequence[str] = ()) -> Self:
        """Become the owner of the chip with this serial.

        Raises:
            CoreUnavailableError: Another process owns it; the sentence says who.
            RecordError: The chip's folder cannot be written.
        """
        path = make_chip_folder(serial) / LOCK_FILE
        descriptor = _open(path)
        if not _take(descriptor):
            os.close(descriptor)
            raise _held(serial, _read(path))
        try:
            holder = Holder.here(command)
            _write(descriptor, holder.model_dump_json().encode())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, holder)

    def release(self) -> None:
        """Give the chip up; twice is fine."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            _write(descriptor, b"")
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder_of(serial: str) -> Holder | None:
    """Say who owns a chip, None if nobody does; changes nothing, makes no file."""
    path = chip_folder(serial) / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(path) or Holder(
            user="unknown", host="unknown", pid=0, command="", since="unknown"
        )
    finally:
        os.close(descriptor)
    return None


def operator_name() -> str:
    """Return who runs this process, by the operating system's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in a container
        return f"uid {os.getuid()}"


def _held(serial: str, holder: Holder | None) -> CoreUnavailableError:
    return CoreUnavailableError(
        f"chip {serial} is held by {holder or 'a process that has not said who it is'}; wait until "
        "it ends, or stop its drivers now with hil safe ADDRESS",
        serial=serial,
        holder=None if holder is None else holder.model_dump(),
    )


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise RecordError(f"{path} cannot be opened: {error.strerror}") from error


def _take(descriptor: int) -> bool:
    for attempt in range(LOOKS):
        if attempt:
            time.sleep(LOOK_INTERVAL_S)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        return True
    return False


def _read(path: Path) -> Holder | None:
    try:
        with path.open("rb") as file:
            return Holder.model_validate_json(file.read(LONGEST_RECORD))
    except (OSError, ValidationError):
        return None


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
