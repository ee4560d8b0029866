"""The wear log: one record per pulse request, appended, with a CRC-32. Bytes only, no budget.

A record is a 16-byte head with its CRC-32, the places it names and a CRC-32 of them. Places are
indices into (devices, rows, cols), row-major: a list of (index, count), or a bitmap with one count
where that is shorter. A record that a crash has torn is the last one and its pulse never left; any
other damage is told from that by the head's own CRC.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.errors import RecordError
from hil.info import PulseFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hil.requests import Pulse

__all__ = ["FAMILIES", "WearRecord", "encode_record", "read_records", "record_of"]

FAMILIES = (PulseFamily.SET, PulseFamily.RESET)
"""Order of the families in ledger and log; never changes."""

Shape = tuple[int, int, int]

_MAGIC = 0x5AA5
_HEAD = struct.Struct("<HBBHhII")  # magic, layout, family, core, sign, entries, body bytes
_CRC = struct.Struct("<I")
_LEAST = _HEAD.size + 2 * _CRC.size
_SPARSE, _BITMAP = 0, 1
_ENTRY = np.dtype([("place", "<u4"), ("count", "<u2")])


@dataclass(frozen=True, kw_only=True, eq=False)
class WearRecord:
    """Pulses of one request: core, family, index and count per place; sign -1 takes them back."""

    core: int
    family: PulseFamily
    sign: int
    places: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def record_of(core: int, pulse: Pulse, shape: Shape, *, sign: int = 1) -> WearRecord:
    """Return the record of a pulse request to a core of `shape` (devices, rows, cols)."""
    places = np.ravel_multi_index((pulse.device, pulse.rows, pulse.cols), shape)
    return WearRecord(
        core=core,
        family=pulse.family,
        sign=sign,
        places=np.asarray(places, np.int64),
        counts=pulse.count.astype(np.int64),
    )


def encode_record(record: WearRecord, shape: Shape) -> bytes:
    """Write a record in the shorter of its layouts."""
    entries, total = record.places.size, int(np.prod(shape))
    bitmap_bytes = 2 + (total + 7) // 8
    uniform = entries > 0 and bool((record.counts == record.counts[0]).all())
    if uniform and bitmap_bytes < entries * _ENTRY.itemsize:
        layout = _BITMAP
        bits = np.zeros(total, np.bool_)
        bits[record.places] = True
        body = struct.pack("<H", record.counts[0]) + np.packbits(bits).tobytes()
    else:
        layout = _SPARSE
        rows = np.empty(entries, _ENTRY)
        rows["place"], rows["count"] = record.places, record.counts
        body = rows.tobytes()
    family = FAMILIES.index(record.family)
    head = _HEAD.pack(_MAGIC, layout, family, record.core, record.sign, entries, len(body))
    return head + _CRC.pack(zlib.crc32(head)) + body + _CRC.pack(zlib.crc32(body))


def read_records(data: bytes, shapes: Mapping[int, Shape]) -> tuple[list[WearRecord], int]:
    """Return the whole records at the start of `data`, and the bytes they take.

    What follows them is a record that a crash has torn.

    Raises:
        RecordError: A record is damaged although others stand behind it.
    """
    records: list[WearRecord] = []
    at = 0
    while len(data) - at >= _LEAST:
        head = data[at : at + _HEAD.size]
        (crc,) = _CRC.unpack_from(data, at + _HEAD.size)
        size = _LEAST + _HEAD.unpack(head)[-1]
        if crc != zlib.crc32(head):
            if not any(data[at:]):
                break  # a file system's zeros after a loss of power
            raise RecordError(f"byte {at} begins a damaged record", at=at)
        if at + size > len(data):
            break
        record = _parse(data[at : at + size], shapes)
        if record is None:
            if at + size < len(data):
                raise RecordError(f"byte {at} begins a damaged record", at=at)
            break
        records.append(record)
        at += size
    return records, at


def _parse(raw: bytes, shapes: Mapping[int, Shape]) -> WearRecord | None:
    magic, layout, family, core, sign, entries, _ = _HEAD.unpack_from(raw)
    body = raw[_HEAD.size + _CRC.size : -_CRC.size]
    (crc,) = _CRC.unpack_from(raw, len(raw) - _CRC.size)
    shape = shapes.get(core)
    if magic != _MAGIC or crc != zlib.crc32(body) or shape is None:
        return None
    total = int(np.prod(shape))
    found = _sparse(body, entries) if layout == _SPARSE else _bitmap(body, total)
    if found is None or family >= len(FAMILIES) or abs(sign) != 1:
        return None
    places, counts = found
    if places.size != entries or (entries and int(places.max()) >= total):
        return None
    return WearRecord(core=core, family=FAMILIES[family], sign=sign, places=places, counts=counts)


def _sparse(
    body: bytes, entries: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    if len(body) != entries * _ENTRY.itemsize:
        return None
    rows: npt.NDArray[Any] = np.frombuffer(body, _ENTRY)
    return rows["place"].astype(np.int64), rows["count"].astype(np.int64)


def _bitmap(body: bytes, total: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    if len(body) != 2 + (total + 7) // 8:
        return None
    (count,) = struct.unpack_from("<H", body)
    bits = np.unpackbits(np.frombuffer(body, np.uint8, offset=2), count=total)
    places = np.flatnonzero(bits).astype(np.int64)
    return places, np.full(places.size, count, np.int64)
