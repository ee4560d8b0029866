"""The journal of a run: one JSON line per verb with a CRC-32, appended. Knows files, opens no chip.

A line is a JSON object whose first key, "n", counts the lines and whose last, "crc", is the CRC-32
of the text before it. Arrays stand in `journal.bin` beside it; "blob" is their offset there. A last
line that a crash has torn ends the journal; damage anywhere else is an error.

Points of `fsync`: a line written with `to_disk`, and every line and array before it, has reached
the disk when `write` returns. So has all when the journal is closed. Lines between are handed to
the operating system at once: a killed process loses none of them, a power cut those since the last
such point.
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
from hil.journal_blobs import BlobReader, BlobWriter

__all__ = ["Journal", "JournalLine", "blobs_beside", "digest_of", "read_journal", "whole_lines"]

_CRC_KEY = ',"crc":"'


@dataclass(frozen=True, kw_only=True)
class JournalLine:
    """One line as read back: its number, its fields without the CRC, its length on disk."""

    number: int
    values: dict[str, Any]
    bytes: int = 0


class Journal:
    """An append-only journal; it goes on behind the last whole line of an earlier attempt.

    Args:
        path: The file; created if missing. What a crash has torn off its end is cut away.

    Attributes:
        torn_bytes: Bytes of a torn last line that were cut away.
    """

    def __init__(self, path: Path) -> None:
        lines = whole_lines(path) if path.exists() else []
        length = sum(line.bytes for line in lines)
        self.torn_bytes = path.stat().st_size - length if path.exists() else 0
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(length)
        self._file.seek(length)
        offsets = [line.values["blob"] for line in lines if "blob" in line.values]
        beside = blobs_beside(path)
        self._blobs = BlobWriter(beside, end=BlobReader(beside).end(offsets[-1]) if offsets else 0)
        self._number = len(lines)
        _sync_folder(path.parent)

    @property
    def lines(self) -> int:
        """Lines so far: the number of the next one."""
        return self._number

    @property
    def blob_bytes(self) -> int:
        """Bytes of packed arrays so far."""
        return self._blobs.bytes

    def write(
        self, values: dict[str, Any], *, blob: bytes | None = None, to_disk: bool = False
    ) -> int:
        """Append one line, and its packed arrays before it; return the line's number.

        With `to_disk` it has reached the disk when this returns, and all before it.

        Raises:
            RecordError: The disk is full or gone.
        """
        number = self._number
        line = {"n": number, **values} | ({"disk": True} if to_disk else {})
        try:
            if blob is not None:
                line["blob"] = self._blobs.write(blob)
            body = json.dumps(line, separators=(",", ":"))[:-1]
            if to_disk:
                self._blobs.sync()
            self._file.write(f'{body}{_CRC_KEY}{_crc(body)}"}}\n'.encode())
            self._file.flush()
            if to_disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise RecordError(
                f"journal {self._file.name} cannot be written: {error.strerror}; make room and "
                "resume the run"
            ) from error
        self._number += 1
        return number

    def close(self) -> None:
        """Sync and close; twice is fine."""
        if not self._file.closed:
            self._blobs.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def blobs_beside(path: Path) -> Path:
    """Return the file with the arrays of a journal."""
    return path.with_suffix(".bin")


def read_journal(path: Path) -> Iterator[JournalLine]:
    """Yield the lines of a journal in order; a torn last line (a crash) ends it silently.

    Raises:
        RecordError: The file is missing, a line other than the last is damaged, or one is missing.
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
        if values.get("n") != number:
            raise RecordError(
                f"journal {path}: line {number + 1} says that it is number {values.get('n')}, "
                f"not {number}: lines are missing; those before it can be trusted",
                path=str(path),
                line=number + 1,
            )
        yield JournalLine(number=number, values=values, bytes=len(raw) + 1)


def whole_lines(path: Path) -> list[JournalLine]:
    """Return the lines whose arrays are whole as well, in order.

    Raises:
        RecordError: As `read_journal`; or arrays are damaged that had reached the disk.
    """
    lines = list(read_journal(path))
    blobs = BlobReader(blobs_beside(path))
    safe = max((line.number for line in lines if "disk" in line.values), default=-1)
    for line in lines:
        if "blob" in line.values:
            try:
                blobs.end(line.values["blob"])
            except RecordError:
                if line.number <= safe:
                    raise
                return lines[: line.number]  # a power cut took what was not synced yet
    return lines


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


def _sync_folder(path: Path) -> None:
    """Have the names of new files reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
