"""The gzipped idx format of MNIST: file to uint8 array. Knows no data set."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

__all__ = ["read_idx_gz"]

UNSIGNED_BYTE = 0x08
"""Type code of uint8, third byte of the header (LeCun, the MNIST file format)."""


def read_idx_gz(path: Path, item_shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read `path` as uint8, (items, *item_shape).

    The header is checked first, and no more than it announces is unpacked.

    Args:
        path: A gzip file of one idx array.
        item_shape: Shape that one item must have; () for labels.

    Raises:
        RequestError: No gzip, another type, rank or item shape, empty, truncated or too long.
    """
    rank = 1 + len(item_shape)
    try:
        with gzip.open(path, "rb") as file:
            header = file.read(4 + 4 * rank)
            shape = _shape(header, rank, item_shape, path)
            size = math.prod(shape)
            body = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(
            f"{path} cannot be read as a gzip file ({error}); fetch it again", path=str(path)
        ) from error
    if len(body) != size:
        found = f"only {len(body)}" if len(body) < size else f"more than {size}"
        raise RequestError(
            f"{path} holds {found} data bytes where its header announces {size}; fetch it again",
            path=str(path),
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _shape(header: bytes, rank: int, item_shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    magic = bytes((0, 0, UNSIGNED_BYTE, rank))
    if header[:4] != magic:
        raise RequestError(
            f"{path} begins with {header[:4].hex() or 'nothing'}, not with {magic.hex()}: it is "
            f"no idx file of uint8 with {rank} dimensions",
            path=str(path),
        )
    if len(header) != 4 + 4 * rank:
        raise RequestError(f"{path} ends within its header; fetch it again", path=str(path))
    shape: tuple[int, ...] = struct.unpack(f">{rank}I", header[4:])
    if shape[1:] != item_shape or shape[0] == 0:
        raise RequestError(
            f"{path} announces shape {shape}, not (n >= 1, {', '.join(map(str, item_shape))})",
            path=str(path),
        )
    return shape
