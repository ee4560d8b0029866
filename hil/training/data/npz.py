"""Arrays in a numpy .npz file, checked before they are unpacked. Knows no data set, no pickle."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

__all__ = ["ArraySpec", "read_npz"]

MAX_BYTES = 2**31
"""Most bytes that one array may unpack to."""
MAX_HEADER_BYTES = 4096
_DAMAGED = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What an array must be: dtype, and shape with a name where the length is open.

    Arrays of one file with the same name in their shapes must have the same length there.
    """

    dtype: str
    shape: tuple[int | str, ...]


def read_npz(path: Path, specs: Mapping[str, ArraySpec]) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of these names; others in the file are left alone.

    Raises:
        RequestError: No zip archive, an array missing, of another dtype or shape, pickled,
            damaged, truncated or larger than 2 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_arrays(archive, specs, path)
    except RequestError:
        raise
    except (*_DAMAGED, ValueError) as error:  # a damaged directory can be any of these
        raise RequestError(
            f"{path} cannot be read as a .npz file ({error}); get it again", path=str(path)
        ) from error


def _read_arrays(
    archive: zipfile.ZipFile, specs: Mapping[str, ArraySpec], path: Path
) -> dict[str, npt.NDArray[Any]]:
    present = {name.removesuffix(".npy") for name in archive.namelist()}
    missing = [name for name in specs if name not in present]
    if missing:
        held = ", ".join(sorted(present)) or "nothing"
        raise RequestError(f"{path} lacks {', '.join(missing)}; it holds {held}", path=str(path))
    arrays: dict[str, npt.NDArray[Any]] = {}
    lengths: dict[str, int] = {}
    for name, spec in specs.items():
        try:
            arrays[name] = _read_array(archive, name, spec, lengths)
        except ValueError as error:
            raise RequestError(
                f"array {name} of {path} {error}; get the file again", path=str(path)
            ) from error
        shape = zip(spec.shape, arrays[name].shape, strict=True)
        lengths = lengths | {want: got for want, got in shape if isinstance(want, str)}
    return arrays


@dataclass(frozen=True, kw_only=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def _read_array(
    archive: zipfile.ZipFile, name: str, spec: ArraySpec, lengths: dict[str, int]
) -> npt.NDArray[Any]:
    """Read one array; `lengths` are those that the arrays before it have fixed.

    Raises:
        ValueError: It is not as wanted; the sentence begins with what it is.
    """
    with archive.open(f"{name}.npy") as file:
        header = _read_header(file)
        if not _fits(header, spec, lengths):
            known = ", ".join(f"{key} = {length}" for key, length in lengths.items())
            wanted = ", ".join(map(str, spec.shape)) + ("," if len(spec.shape) == 1 else "")
            raise ValueError(
                f"is {header.dtype} {header.shape}; {spec.dtype} ({wanted}) is needed"
                f"{f' with {known}' if known else ''}"
            )
        if header.size > MAX_BYTES:
            raise ValueError(f"announces {header.size} bytes, more than {MAX_BYTES}")
        body = file.read(header.size + 1)
    if len(body) != header.size:
        found = "more" if len(body) > header.size else f"only {len(body)}"
        raise ValueError(f"announces {header.size} bytes and holds {found}")
    return np.frombuffer(body, header.dtype).reshape(
        header.shape, order="F" if header.fortran else "C"
    )


def _read_header(file: IO[bytes]) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, KeyError, struct.error) as error:
        raise ValueError(f"has no readable header ({error})") from error
    return _Header(shape=shape, fortran=fortran, dtype=dtype)


def _fits(header: _Header, spec: ArraySpec, lengths: dict[str, int]) -> bool:
    if header.dtype != np.dtype(spec.dtype) or len(header.shape) != len(spec.shape):
        return False
    wanted = [
        lengths.get(want, got) if isinstance(want, str) else want
        for want, got in zip(spec.shape, header.shape, strict=True)
    ]
    return tuple(wanted) == header.shape and min(header.shape, default=1) >= 1
