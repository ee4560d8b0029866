"""The file of a recording: records of JSON and integer arrays, a CRC each, only ever appended.

Knows bytes, numbers and arrays; no core and no link. A record is written with one call, so that a
killed process leaves whole records and at most one torn tail. Layout: the magic line, then records:

    head    length u32 | CRC-32 of the payload u32 | kind u8 | verb u8 | core u16 | CRC-32 of these
            twelve bytes u32; little-endian
    payload zlib( JSON length u32 | JSON | bytes of the arrays ), `length` bytes

The JSON is {"values": ..., "arrays": [[dtype, stored dtype, shape], ...]}; where a value is an
array, it stands as {"array": index}. Integers are stored in the narrowest dtype, booleans in bits.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from hil.errors import RecordError

__all__ = ["Kind", "Place", "TapeReader", "TapeWriter", "Values"]

_logger = logging.getLogger(__name__)

Values = Mapping[str, Any]
"""What a record says: text, numbers, booleans, None, lists, mappings and integer arrays."""

MAGIC = b"aimc-hil recording 1\n"
_HEAD = struct.Struct("<IIBBH")
_SUM = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _SUM.size
MAX_PAYLOAD_BYTES = 1 << 28
"""Longest payload, 256 MiB: a bound on what a file can make us read at once."""
MAX_UNPACKED_BYTES = 1 << 30
"""Longest payload after decompression, 1 GiB."""
_MAX_DIMENSIONS = 8
_COMPRESSION = 1  # the fastest level: codes of an ADC are mostly noise
_READ_BYTES = 1 << 20
_DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8")
_NARROW = ("|i1", "<i2", "<i4", "<i8")
_NEXT_STEP = "record the run again"


class Kind(IntEnum):
    """What a record is about."""

    CHIP = 1
    VERB = 2
    SENT = 3
    RECEIVED = 4
    END = 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a record stands in its file, and what its head says of it."""

    number: int
    offset: int
    length: int
    kind: Kind
    verb: int
    core: int


class TapeWriter:
    """Appends records to a new file; never overwrites one."""

    def __init__(self, path: Path) -> None:
        """Make the file, and its folder where it is missing.

        Raises:
            RecordError: It exists already, or cannot be made.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise RecordError(
                f"{path} exists already and a recording is never overwritten; one file holds one "
                "opening of one chip: give another name",
                path=str(path),
            ) from error
        except OSError as error:
            raise RecordError(
                f"recording {path} cannot be made: {error.strerror}; give another name",
                path=str(path),
            ) from error
        self.records = 0
        self._turn = threading.Lock()  # a keep-alive may write bytes beside a verb
        self._put(MAGIC)

    def write(self, kind: Kind, values: Values, *, verb: int = 0, core: int = 0) -> None:
        """Append one record.

        Raises:
            RecordError: The disk is full, or the record is larger than a reader would take.
        """
        payload = _packed(values)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise RecordError(
                f"recording {self.path}: a record of {len(payload)} bytes is more than "
                f"{MAX_PAYLOAD_BYTES}; record smaller batches"
            )
        head = _HEAD.pack(len(payload), zlib.crc32(payload), kind, verb, core)
        with self._turn:
            self._put(head + _SUM.pack(zlib.crc32(head)) + payload)
            self.records += 1

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file: nothing came of it."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise RecordError(
                f"recording {self.path} cannot be written: {why}; what it holds can be replayed",
                path=str(self.path),
            ) from error


class TapeReader:
    """A recording, checked from end to end when it is opened; records are read when asked for.

    Attributes:
        path: The file.
        places: Its records, in order.
        torn: Bytes behind the last whole record: the recording process was killed.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check every CRC.

        Raises:
            RecordError: It is missing, no recording, or damaged before its last record.
        """
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordError(
                f"recording {path} cannot be read: {error.strerror}; give the file that a "
                "recording was written to",
                path=str(path),
            ) from error
        self.places: list[Place] = []
        self.torn = 0
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise
        if self.torn:
            _logger.warning("recording %s: %s", path, self.tail_text)

    @property
    def tail_text(self) -> str:
        """Say that the tail is torn; empty if it is not."""
        if not self.torn:
            return ""
        return (
            f"its last {self.torn} bytes are a record that was never finished (the recording "
            "process was killed)"
        )

    def read(self, place: Place) -> dict[str, Any]:
        """Return the values of a record, arrays in their own dtype.

        Raises:
            RecordError: Its payload is no record of this version.
        """
        try:
            self._file.seek(place.offset + HEAD_BYTES)
            payload = self._file.read(place.length)
        except (OSError, ValueError) as error:
            raise RecordError(f"recording {self.path} cannot be read: {error}") from error
        try:
            return _unpacked(payload)
        except (ValueError, KeyError, TypeError, IndexError, struct.error, zlib.error) as error:
            raise RecordError(
                f"recording {self.path}: record {place.number} at byte {place.offset} makes no "
                f"sense ({error}); {_NEXT_STEP}",
                path=str(self.path),
                record=place.number,
            ) from error

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._file.read(len(MAGIC)) != MAGIC:
            raise RecordError(
                f"{self.path} is no recording of version 1 (its first line is another); give the "
                "file that a recording was written to",
                path=str(self.path),
            )
        size = self.path.stat().st_size
        offset = len(MAGIC)
        while offset < size:
            place = self._next(offset, size)
            if place is None:
                self.torn = size - offset
                return
            self.places.append(place)
            offset += HEAD_BYTES + place.length

    def _next(self, offset: int, size: int) -> Place | None:
        """Return the record at `offset`; None if the file ends within it."""
        self._file.seek(offset)
        raw = self._file.read(HEAD_BYTES)
        if len(raw) < HEAD_BYTES:
            return None
        head, (check,) = raw[: _HEAD.size], _SUM.unpack(raw[_HEAD.size :])
        length, crc, kind, verb, core = _HEAD.unpack(head)
        if check != zlib.crc32(head) or length > MAX_PAYLOAD_BYTES or kind not in set(Kind):
            raise self._damaged(offset)
        end = offset + HEAD_BYTES + length
        if end > size:
            return None
        if self._crc(length) != crc:
            if end == size:
                return None
            raise self._damaged(offset)
        return Place(
            number=len(self.places),
            offset=offset,
            length=length,
            kind=Kind(kind),
            verb=verb,
            core=core,
        )

    def _crc(self, length: int) -> int:
        value = 0
        while length > 0:
            part = self._file.read(min(length, _READ_BYTES))
            if not part:
                break
            value = zlib.crc32(part, value)
            length -= len(part)
        return value

    def _damaged(self, offset: int) -> RecordError:
        number = len(self.places)
        return RecordError(
            f"recording {self.path}: record {number} at byte {offset} is damaged (its CRC does "
            f"not match); {_NEXT_STEP}",
            path=str(self.path),
            record=number,
            offset=offset,
        )


def _packed(values: Values) -> bytes:
    arrays: list[npt.NDArray[Any]] = []
    plain = _without_arrays(values, arrays)
    kinds, parts = [], []
    for array in arrays:
        stored, data = _stored(array)
        kinds.append([array.dtype.newbyteorder("<").str, stored, list(array.shape)])
        parts.append(data)
    text = json.dumps({"values": plain, "arrays": kinds}, separators=(",", ":")).encode()
    return zlib.compress(b"".join([_SUM.pack(len(text)), text, *parts]), _COMPRESSION)


def _without_arrays(value: object, arrays: list[npt.NDArray[Any]]) -> object:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {str(key): _without_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(item, arrays) for item in value]
    return value


def _stored(array: npt.NDArray[Any]) -> tuple[str, bytes]:
    """Return the dtype an array is stored in, and its bytes."""
    if array.dtype == np.bool_:
        return "|b1", np.packbits(array.reshape(-1), bitorder="little").tobytes()
    if array.dtype.kind not in "iu":
        raise RecordError(f"a recording holds codes; an array of {array.dtype} is none")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    narrow = (n for n in _NARROW if np.iinfo(n).min <= low and high <= np.iinfo(n).max)
    stored = next(narrow, "<u8")
    return stored, array.astype(stored, order="C").tobytes()


def _unpacked(payload: bytes) -> dict[str, Any]:
    machine = zlib.decompressobj()
    data = machine.decompress(payload, MAX_UNPACKED_BYTES)
    if not machine.eof or machine.unconsumed_tail or machine.unused_data:
        raise ValueError(f"it does not unpack to at most {MAX_UNPACKED_BYTES} bytes")
    (length,) = _SUM.unpack(data[: _SUM.size])
    end = _SUM.size + length
    document = json.loads(data[_SUM.size : end])
    arrays = list(_arrays(document["arrays"], memoryview(data)[end:]))
    values = _with_arrays(document["values"], arrays)
    if not isinstance(values, dict):
        raise TypeError("its values are no mapping")
    return values


def _arrays(kinds: list[Any], data: memoryview) -> Iterator[npt.NDArray[Any]]:
    for dtype, stored, shape in kinds:
        if dtype not in _DTYPES or stored not in _DTYPES:
            raise ValueError(f"dtype {dtype!r}, stored as {stored!r}, is none of codes")
        if len(shape) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"shape {shape} is none")
        count = prod(shape)
        bits = stored == "|b1"
        size = (count + 7) // 8 if bits else count * np.dtype(stored).itemsize
        if size > len(data):
            raise ValueError(f"an array of {size} bytes is cut short")
        raw, data = data[:size], data[size:]
        if bits:
            flat = np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little")
        else:
            flat = np.frombuffer(raw, stored)
        yield flat.astype(dtype).reshape(shape)
    if len(data):
        raise ValueError(f"{len(data)} bytes are left over")


def _with_arrays(value: object, arrays: list[npt.NDArray[Any]]) -> object:
    if isinstance(value, dict):
        if set(value) == {"array"}:
            index = value["array"]
            if type(index) is not int or index < 0:
                raise ValueError(f"array {index!r} is no index")
            return arrays[index]
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    return value
