"""Device memory: what a board keeps without power, in a file of one fact a line, each with a CRC.

It stands for battery-backed memory: what was written survives the process, so an emulator that was
killed knows at its next start which mutation was under way. Knows no message and no core.
"""

from __future__ import annotations

import fcntl
import json
import zlib
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

from hil.errors import RecordError, RequestError

__all__ = ["DeviceMemory"]

Fact = dict[str, Any]


class DeviceMemory:
    """Facts in the order in which they were written; one process at a time has them.

    Attributes:
        facts: What the file held when it was opened; a line torn by a crash is left out.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the memory.

        Raises:
            RequestError: It cannot be opened, or another process has it.
            RecordError: It is damaged.
        """
        self._path = path
        self._file = _opened(path, "ab+")
        self._held = [self._file]  # replaced files stay locked, so that nobody takes them over
        try:
            self.facts = self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> list[Fact]:
        self._file.seek(0)
        data = self._file.readall() or b""
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            self._file.truncate(whole)  # torn while it was written: it was never a fact
        facts = []
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            body, _, crc = line.rpartition(b" ")
            if crc != _crc(body):
                raise RecordError(
                    f"device memory {self._path}: line {number} is damaged; remove the file to "
                    "begin with a device that remembers nothing",
                    path=str(self._path),
                    line=number,
                )
            facts.append(json.loads(body))
        return facts

    def write(self, fact: Fact) -> None:
        """Append one fact; it survives the process when this returns."""
        self._file.write(_line(fact))

    def compact(self, facts: Iterable[Fact]) -> None:
        """Replace everything by `facts`, at once: what still matters after a start."""
        fresh = self._path.with_name(self._path.name + ".new")
        file = _opened(fresh, "wb+")
        self._held.append(file)
        file.write(b"".join(_line(fact) for fact in facts))
        fresh.replace(self._path)
        self._file = file

    def close(self) -> None:
        """Release the file; twice is fine."""
        for file in self._held:
            file.close()


def _opened(path: Path, mode: str) -> FileIO:
    try:
        file = FileIO(path, mode.replace("b", ""))
    except OSError as error:
        raise RequestError(f"device memory {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RequestError(
            f"device memory {path} belongs to a running emulator; stop it or name another file"
        ) from error
    return file


def _line(fact: Fact) -> bytes:
    body = json.dumps(fact, separators=(",", ":")).encode()
    return b"%b %b\n" % (body, _crc(body))


def _crc(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
