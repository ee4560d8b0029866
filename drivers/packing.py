"""Packing: numpy integers and flags <-> bytes of the wire. Knows no request and no message.

Two forms: `Codes`, arrays of whole bytes for lists, and bit strings with the fewest bits that hold
a scale, first code in the lowest bits of the first byte, for everything that comes in bulk.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import DeviceFaultError
from hil.units import CodeScale
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.fields import Codes

__all__ = [
    "pack",
    "pack_bits",
    "pack_codes",
    "pack_scale",
    "pack_trim",
    "unpack",
    "unpack_bits",
    "unpack_codes",
    "unpack_trim",
]

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

_ITEM_DTYPES: dict[int, np.dtype[np.signedinteger[Any]]] = {
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    4: np.dtype("<i4"),
}
_INT16 = np.iinfo(np.int16)
_PACKINGS = (1, 2, 4, 8, 12, 16, 32)  # bits of a code in a bit string


def _item_bytes(low: int, high: int) -> int:
    for size, dtype in _ITEM_DTYPES.items():
        limit = np.iinfo(dtype)
        if limit.min <= low and high <= limit.max:
            return size
    raise DeviceFaultError(f"codes {low}...{high} do not fit 32 bits")


def pack(array: IntArray, low: int, high: int) -> Codes:
    """Pack integers known to lie in low...high; the caller has checked them."""
    size = _item_bytes(low, high)
    return Codes(item_bytes=size, data=array.astype(_ITEM_DTYPES[size]).tobytes())


def pack_scale(array: IntArray, scale: CodeScale) -> Codes:
    """Pack codes of `scale` with as many bytes as the scale needs."""
    _check_scale(array, scale)
    return pack(array, scale.min_code, scale.max_code)


def unpack(codes: Codes, least: npt.DTypeLike) -> IntArray:
    """Return native integers of dtype `least`, or wider where the items are wider."""
    array = np.frombuffer(codes.data, _ITEM_DTYPES[codes.item_bytes])
    return array.astype(np.promote_types(np.dtype(least), array.dtype.newbyteorder("=")))


def pack_codes(array: IntArray, scale: CodeScale) -> tuple[int, bytes]:
    """Return bits per code and the bit string of `array`, row-major."""
    bits = _bits(scale)
    _check_scale(array, scale)
    flat = np.ascontiguousarray(array).reshape(-1)
    if bits >= 8 and bits != 12:
        return bits, flat.astype(f"<i{bits // 8}").tobytes()
    if bits == 12:
        low = np.zeros(flat.size + flat.size % 2, np.uint16)
        low[: flat.size] = flat.astype(np.uint16, casting="unsafe") & 0xFFF
        pair = low.reshape(-1, 2)
        out = np.empty((pair.shape[0], 3), np.uint8)
        out[:, 0] = pair[:, 0] & 0xFF
        out[:, 1] = (pair[:, 0] >> 8) | ((pair[:, 1] & 0xF) << 4)
        out[:, 2] = pair[:, 1] >> 4
        return bits, out.tobytes()[: _size(flat.size, bits)]
    per_byte = 8 // bits
    small = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    small[: flat.size] = flat.astype(np.uint8, casting="unsafe") & ((1 << bits) - 1)
    groups = small.reshape(-1, per_byte)
    packed = groups[:, 0].copy()
    for place in range(1, per_byte):
        packed |= groups[:, place] << (bits * place)
    return bits, packed.tobytes()


def unpack_codes(bits: int, data: bytes, scale: CodeScale, count: int) -> IntArray:
    """Undo `pack_codes`: codes (count,), two's complement where the scale has negative ones.

    Raises:
        RemoteProtocolError: No such packing, or the bytes are not those of `count` codes.
    """
    if bits not in _PACKINGS or len(data) != _size(count, bits):
        raise RemoteProtocolError(f"{len(data)} bytes are not {count} codes of {bits} bits")
    signed = scale.min_code < 0
    if bits >= 8 and bits != 12:
        codes = np.frombuffer(data, f"<{'i' if signed else 'u'}{bits // 8}")
        return codes.astype(np.promote_types(scale.dtype, codes.dtype.newbyteorder("=")))
    if bits == 12:
        raw = np.zeros(-(-count // 2) * 3, np.uint16)
        raw[: len(data)] = np.frombuffer(data, np.uint8)
        triple = raw.reshape(-1, 3)
        pair = np.empty((triple.shape[0], 2), np.uint16)
        pair[:, 0] = triple[:, 0] | ((triple[:, 1] & 0xF) << 8)
        pair[:, 1] = (triple[:, 1] >> 4) | (triple[:, 2] << 4)
        return _signed(pair.reshape(-1)[:count].astype(np.int16), bits, signed=signed, scale=scale)
    bytes_ = np.frombuffer(data, np.uint8)
    places = np.arange(0, 8, bits, dtype=np.uint8)
    small = (bytes_[:, None] >> places & ((1 << bits) - 1)).reshape(-1)[:count]
    return _signed(small.astype(np.int16), bits, signed=signed, scale=scale)


def _signed(codes: IntArray, bits: int, *, signed: bool, scale: CodeScale) -> IntArray:
    if signed:
        half = 1 << (bits - 1)
        codes = (codes ^ half) - half
    return codes.astype(scale.dtype, copy=False)


def _bits(scale: CodeScale) -> int:
    signed = scale.min_code < 0
    for bits in _PACKINGS:
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        if low <= scale.min_code and scale.max_code <= high:
            return bits
    raise DeviceFaultError(f"codes {scale.min_code}...{scale.max_code} do not fit 32 bits")


def _size(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def _check_scale(array: IntArray, scale: CodeScale) -> None:
    if array.size and not scale.min_code <= int(array.min()) <= int(array.max()) <= scale.max_code:
        raise DeviceFaultError(
            f"codes {array.min()}...{array.max()} leave the scale "
            f"{scale.min_code}...{scale.max_code}"
        )


def pack_trim(array: IntArray | None, scale: CodeScale | None) -> Codes | None:
    """Pack trim codes that the core takes; None stays None."""
    if array is None:
        return None
    return pack(array, _INT16.min, _INT16.max) if scale is None else pack_scale(array, scale)


def unpack_trim(codes: Codes | None, scale: CodeScale | None) -> IntArray | None:
    """Undo `pack_trim`."""
    if codes is None:
        return None
    return unpack(codes, np.int16 if scale is None else scale.dtype)


def pack_bits(flags: BoolArray) -> bytes:
    """Pack flags, eight to a byte, the first in bit 0 of the first byte; no byte if none is set."""
    if not flags.any():
        return b""
    return np.packbits(flags.ravel(), bitorder="little").tobytes()


def unpack_bits(bitmap: bytes, shape: tuple[int, ...]) -> BoolArray:
    """Undo `pack_bits`; a wrong number of bytes is the device's fault."""
    if not bitmap:
        return np.zeros(shape, np.bool_)
    count = math.prod(shape)
    if len(bitmap) != -(-count // 8):
        raise DeviceFaultError(f"the device answered {len(bitmap)} bytes of flags for {count}")
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=count, bitorder="little")
    return bits.view(np.bool_).reshape(shape)
