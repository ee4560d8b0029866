"""The idx format of MNIST, gzipped or plain: file to uint8 array. Knows no data set."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

__all__ = ["idx_items", "read_idx"]

UNSIGNED_BYTE = 0x08
"""Type code of uint8, third byte of the header (LeCun, the MNIST file format)."""


def read_idx(
    path: Path, item_shape: tuple[int, ...], items: int | None = None
) -> npt.NDArray[np.uint8]:
    """Read `path` as uint8, (items, *item_shape).

    The header is checked first, and no more than it announces is unpacked.

    Args:
        path: A file of one idx array; gzipped if its name ends in .gz.
        item_shape: Shape that one item must have; () for labels.
        items: Only so many, from the first; what follows them is not looked at. None: all.

    Raises:
        RequestError: No gzip, another type, rank or item shape, empty, truncated or too long.
    """
    with _opened(path) as file:
        shape = _shape(file, item_shape, path)
        announced = shape[0]
        wanted = announced if items is None else min(items, announced)
        size = wanted * math.prod(item_shape)
        body = file.read(size if wanted < announced else size + 1)
    if len(body) != size:
        found = f"only {len(body)}" if len(body) < size else f"more than {size}"
        raise RequestError(
            f"{path} holds {found} data bytes where its header announces {size}; fetch it again",
            path=str(path),
        )
    return np.frombuffer(body, np.uint8).reshape(wanted, *item_shape)


def idx_items(path: Path, item_shape: tuple[int, ...]) -> int:
    """Return the number of items that the header announces. Raises as `read_idx`."""
    with _opened(path) as file:
        return _shape(file, item_shape, path)[0]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    packed = path.suffix == ".gz"
    try:
        with path.open("rb") as plain:
            yield cast("BinaryIO", gzip.GzipFile(fileobj=plain)) if packed else plain
    except (OSError, EOFError, zlib.error) as error:
        kind = "a gzip" if packed else "an idx"
        raise RequestError(
            f"{path} cannot be read as {kind} file ({error}); fetch it again", path=str(path)
        ) from error


def _shape(file: BinaryIO, item_shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    rank = 1 + len(item_shape)
    header = file.read(4 + 4 * rank)
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
