"""COBS, consistent overhead byte stuffing: bytes <-> bytes without zeros. Knows no frame.

Cheshire & Baker, IEEE/ACM Trans. Networking 7, 159 (1999). The compiled codec of the package
`cobs` is used where it is installed; it gives the same bytes.
"""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

from protocols.wire.errors import RemoteProtocolError

__all__ = ["BLOCK_BYTES", "cobs_decode", "cobs_encode", "pure_cobs_decode", "pure_cobs_encode"]

BLOCK_BYTES = 254
"""Most data bytes behind one code byte."""

_FULL = 0xFF  # code of a full block: no zero follows it
_CODES = tuple(bytes([n + 1]) for n in range(BLOCK_BYTES))  # code in front of n < 254 data bytes


def pure_cobs_encode(data: bytes) -> bytes:
    """Encode without zero bytes; costs at most one byte in 254, plus one."""
    codes = _CODES
    runs = data.split(b"\x00")
    parts = [codes[len(run)] + run if len(run) < BLOCK_BYTES else _long_run(run) for run in runs]
    encoded = b"".join(parts)
    # A full block at the very end needs no code behind it.
    return encoded[:-1] if runs[-1] and len(runs[-1]) % BLOCK_BYTES == 0 else encoded


def _long_run(run: bytes) -> bytes:
    cut = len(run) // BLOCK_BYTES * BLOCK_BYTES
    blocks = [b"\xff" + run[at : at + BLOCK_BYTES] for at in range(0, cut, BLOCK_BYTES)]
    return b"".join((*blocks, _CODES[len(run) - cut], run[cut:]))


def pure_cobs_decode(data: bytes) -> bytes:
    """Undo `pure_cobs_encode`.

    A code byte stands where a zero was, so zeros are written in place; only the code behind a full
    block (which stands for no zero) is cut out.

    Raises:
        RemoteProtocolError: A zero byte within, no bytes, or a block runs past the end.
    """
    size = len(data)
    if size == 0 or 0 in data:
        raise RemoteProtocolError("a COBS frame is empty or holds a zero byte")
    out = bytearray(data)
    cuts = [0]
    at = 0
    while at < size:
        code = data[at]
        out[at] = 0
        at += code
        if code == _FULL and at < size:
            cuts.append(at)
    if at != size:
        raise RemoteProtocolError(f"a COBS block runs {at - size} bytes past the end of the frame")
    if len(cuts) == 1:
        return bytes(out[1:])
    cuts.append(size)
    return b"".join(out[a + 1 : b] for a, b in pairwise(cuts))


def _compiled() -> Any:  # noqa: ANN401 - an extension module without types
    try:
        return import_module("cobs.cobs._cobs_ext")
    except ImportError:
        return None


_EXTENSION = _compiled()


def _fast_decode(data: bytes) -> bytes:
    if not data or 0 in data:
        raise RemoteProtocolError("a COBS frame is empty or holds a zero byte")
    try:
        decoded: bytes = _EXTENSION.decode(data)
    except _EXTENSION.DecodeError as error:
        raise RemoteProtocolError("a COBS block runs past the end of the frame") from error
    return decoded


cobs_encode = pure_cobs_encode if _EXTENSION is None else _EXTENSION.encode
"""Encode, by the compiled codec where there is one."""

cobs_decode = pure_cobs_decode if _EXTENSION is None else _fast_decode
"""Undo `cobs_encode`; RemoteProtocolError as `pure_cobs_decode` raises it."""
