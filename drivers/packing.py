"""Packing: numpy integers and flags <-> bytes of the wire. Knows no request and no message."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import DeviceFaultError
from hil.units import CodeScale
from protocols.wire.fields import Codes

__all__ = [
    "pack",
    "pack_bits",
    "pack_scale",
    "pack_trim",
    "unpack",
    "unpack_bits",
    "unpack_scale",
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
    if array.size and not scale.min_code <= int(array.min()) <= int(array.max()) <= scale.max_code:
        raise DeviceFaultError(
            f"codes {array.min()}...{array.max()} leave the scale "
            f"{scale.min_code}...{scale.max_code}"
        )
    return pack(array, scale.min_code, scale.max_code)


def unpack(codes: Codes, least: npt.DTypeLike) -> IntArray:
    """Return native integers of dtype `least`, or wider where the items are wider."""
    array = np.frombuffer(codes.data, _ITEM_DTYPES[codes.item_bytes])
    return array.astype(np.promote_types(np.dtype(least), array.dtype.newbyteorder("=")))


def unpack_scale(name: str, codes: Codes, scale: CodeScale, shape: tuple[int, ...]) -> IntArray:
    """Return codes of `scale`; a wrong number or a code outside it is the device's fault."""
    array = np.frombuffer(codes.data, _ITEM_DTYPES[codes.item_bytes])
    if array.size != int(np.prod(shape)):
        raise DeviceFaultError(f"the device answered {array.size} {name}s instead of {shape}")
    if array.size and not scale.min_code <= int(array.min()) <= int(array.max()) <= scale.max_code:
        raise DeviceFaultError(
            f"the device answered {name} {array.min()}...{array.max()} outside "
            f"{scale.min_code}...{scale.max_code}"
        )
    return array.astype(scale.dtype).reshape(shape)


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
    """Pack flags, eight to a byte, bit 7 of the first byte first."""
    return np.packbits(flags.ravel()).tobytes()


def unpack_bits(bitmap: bytes, shape: tuple[int, ...]) -> BoolArray:
    """Undo `pack_bits`; a wrong number of bytes is the device's fault."""
    count = int(np.prod(shape))
    if len(bitmap) != -(-count // 8):
        raise DeviceFaultError(f"the device answered {len(bitmap)} bytes of flags for {count}")
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=count)
    return bits.astype(np.bool_).reshape(shape)
