"""The journal of a run: one JSON line per verb with a CRC-32, appended. Knows files, opens no chip.

A line is a JSON object whose last key, "crc", is the CRC-32 of the text before it. A line that was
torn by a crash fails that check; reading stops there and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from hil.errors import RecordError

__all__ = ["Journal", "JournalLine", "digest_of", "read_journal"]

_CRC_KEY = ',"crc":"'


@dataclass(frozen=True, kw_only=True)
class JournalLine:
    """One line as read back: its fields without the CRC."""

    number: int
    values: dict[str, Any]


class Journal:
    """An append-only journal file; a context manager.

    Args:
        path: The file; created if missing, appended to otherwise.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", newline="\n")
        self._number = 0

    def write(self, values: dict[str, Any], *, to_disk: bool = False) -> None:
        """Append one line; with `to_disk` it has reached the disk when this returns."""
        body = json.dumps({"n": self._number, **values}, separators=(",", ":"))[:-1]
        self._number += 1
        self._file.write(f'{body}{_CRC_KEY}{_crc(body)}"}}\n')
        self._file.flush()
        if to_disk:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close; twice is fine."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def read_journal(path: Path) -> Iterator[JournalLine]:
    """Yield the lines of a journal in order; a torn last line (a crash) ends it silently.

    Raises:
        RecordError: The file is missing, or a line other than the last is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"journal {path} cannot be read: {error.strerror}") from error
    complete, torn = lines[:-1], lines[-1]
    for number, raw in enumerate(complete):
        values = _parse(raw)
        if values is None:
            if number == len(complete) - 1 and not torn:
                return
            raise RecordError(
                f"journal {path}: line {number + 1} is damaged (its CRC does not match); "
                "the lines before it can be trusted",
                path=str(path),
                line=number + 1,
            )
        yield JournalLine(number=number, values=values)


def digest_of(value: object) -> str:
    """Return a hash of the codes in a request or result: arrays, counts and enums, no floats.

    Times and temperatures are left out, so that equal codes give equal digests on any back-end.
    """
    digest = hashlib.blake2b(digest_size=12)
    for part in _hashable(value):
        digest.update(part)
    return digest.hexdigest()


def _hashable(value: object) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield f"{item.name}=".encode()
            yield from _hashable(getattr(value, item.name))
    elif isinstance(value, Enum):
        yield str(value.value).encode()
    elif value is None or isinstance(value, (bool, int, str)):
        yield repr(value).encode()


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        body, separator, rest = raw.decode("utf-8").rpartition(_CRC_KEY)
    except UnicodeDecodeError:
        return None
    if not separator or rest != f'{_crc(body)}"}}':
        return None
    values = json.loads(body + "}")
    return values if isinstance(values, dict) else None


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8')):08x}"
