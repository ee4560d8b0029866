"""Packed arrays beside a journal: `journal.bin`, records with a length and a CRC-32. Knows no verb.

A record is a 12-byte header (magic, length, CRC-32 of what follows, little endian), then the bytes.
A journal line points at a record by its offset, so a record that no line points at never counts.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import RecordError

__all__ = ["BlobReader", "BlobWriter", "pack_arrays", "unpack_arrays"]

_HEADER = struct.Struct("<4sII")  # magic, length, CRC-32
_MAGIC = b"AIMB"
_NARROW = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")

IntArray = npt.NDArray[np.integer[Any]]


class BlobWriter:
    """Appends records; bytes behind `end`, left by a crash, are cut off first.

    Args:
        path: The file; created if missing.
        end: Where the last record that counts ends.
    """

    def __init__(self, path: Path, *, end: int = 0) -> None:
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(end)
        self._file.seek(end)
        self._at = end
        self._unsynced = False

    def write(self, content: bytes) -> int:
        """Append a record; return its offset."""
        offset = self._at
        self._file.write(_HEADER.pack(_MAGIC, len(content), zlib.crc32(content)))
        self._file.write(content)
        self._file.flush()
        self._at += _HEADER.size + len(content)
        self._unsynced = True
        return offset

    @property
    def bytes(self) -> int:
        """Length of the file so far."""
        return self._at

    def sync(self) -> None:
        """Have every record reach the disk."""
        if self._unsynced:
            os.fsync(self._file.fileno())
            self._unsynced = False

    def close(self) -> None:
        """Sync and close; twice is fine."""
        if not self._file.closed:
            self.sync()
            self._file.close()


class BlobReader:
    """Reads records by their offset, when they are asked for; a missing file holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: mmap.mmap | bytes = b""
        try:
            with path.open("rb") as file:
                if path.stat().st_size:
                    self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror}") from error

    def read(self, offset: int) -> bytes:
        """Return the record at `offset`.

        Raises:
            RecordError: It is not there, or damaged.
        """
        return self._content[offset + _HEADER.size : self.end(offset)]

    def end(self, offset: int) -> int:
        """Return where the record at `offset` ends; raises as `read`."""
        head = self._content[offset : offset + _HEADER.size]
        if offset >= 0 and len(head) == _HEADER.size:
            magic, length, crc = _HEADER.unpack(head)
            body = self._content[offset + _HEADER.size : offset + _HEADER.size + length]
            if magic == _MAGIC and len(body) == length and zlib.crc32(body) == crc:
                return int(offset + _HEADER.size + length)
        raise RecordError(
            f"{self._path}: the record at byte {offset} is damaged or cut off (its CRC does not "
            "match); the run cannot be resumed from it, run it again",
            path=str(self._path),
            offset=offset,
        )


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]], *, compress: bool = False) -> bytes:
    """Pack arrays of integers or booleans: constants as one number, the rest as narrow as they fit.

    Args:
        arrays: By name; any shape.
        compress: Deflate the bodies: pays for addresses, hardly for converter codes.
    """
    heads: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    for name, array in arrays.items():
        head: dict[str, Any] = {"name": name, "dtype": array.dtype.str, "shape": array.shape}
        body = b""
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low == high:
            head["all"] = low
        elif array.dtype.kind == "b":
            body = np.packbits(array).tobytes()
        else:
            head["as"] = next((d for d in _NARROW if _holds(d, low, high)), array.dtype.str)
            body = array.astype(head["as"]).tobytes()
        if compress and body:
            body, head["deflated"] = zlib.compress(body, 1), True
        heads.append({**head, "bytes": len(body)})
        bodies.append(body)
    return json.dumps(heads, separators=(",", ":")).encode() + b"\n" + b"".join(bodies)


def unpack_arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return what `pack_arrays` was given: same names, types, shapes and values."""
    first, _, rest = content.partition(b"\n")
    arrays: dict[str, npt.NDArray[Any]] = {}
    at = 0
    for head in json.loads(first):
        body = rest[at : at + head["bytes"]]
        at += head["bytes"]
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        if "all" in head:
            arrays[head["name"]] = np.full(shape, head["all"], dtype)
            continue
        raw = zlib.decompress(body) if head.get("deflated") else body
        if dtype.kind == "b":
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=int(np.prod(shape)))
            arrays[head["name"]] = bits.astype(np.bool_).reshape(shape)
        else:
            arrays[head["name"]] = np.frombuffer(raw, head["as"]).astype(dtype).reshape(shape)
    return arrays


def _holds(dtype: str, low: int, high: int) -> bool:
    limit = np.iinfo(np.dtype(dtype))
    return bool(limit.min <= low and high <= limit.max)
