"""Board info: what a board says of itself, checked before it is believed, kept by its hash."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from hil.errors import DeviceFaultError
from hil.info import ChipInfo, CoreInfo

__all__ = ["checked_info", "known_info"]

_MAX_CAPABILITIES_BYTES = 1 << 22
_MAX_KNOWN = 16
_CODE_LIMIT = 1 << 31  # codes are at most 32-bit integers

_known: dict[bytes, ChipInfo] = {}


def known_info(sha256: bytes) -> ChipInfo | None:
    """Return the description with this hash if this process has checked it before."""
    return _known.get(sha256)


def checked_info(document: bytes, sha256: bytes) -> ChipInfo:
    """Return the description in a capabilities document of the announced hash.

    Raises:
        DeviceFaultError: It is too large, of another hash, or makes no sense.
    """
    if len(document) > _MAX_CAPABILITIES_BYTES:
        raise DeviceFaultError(
            f"capabilities of {len(document)} bytes are more than {_MAX_CAPABILITIES_BYTES}"
        )
    if hashlib.sha256(document).digest() != sha256:
        raise DeviceFaultError("the board's capabilities are not those whose hash it announced")
    try:
        info = ChipInfo.model_validate_json(document)
    except ValidationError as error:
        raise DeviceFaultError(f"the board's capabilities make no sense: {error}") from error
    for index, core in enumerate(info.cores):
        if (core.core, core.chip_serial, core.backend) != (index, info.serial, info.backend):
            raise DeviceFaultError(
                f"capabilities of chip {info.serial!r} list core {core.core} of chip "
                f"{core.chip_serial!r} ({core.backend.value}) at place {index}"
            )
        _check_scales(core)
    if len(_known) >= _MAX_KNOWN:
        del _known[next(iter(_known))]
    _known[sha256] = info
    return info


def _check_scales(info: CoreInfo) -> None:
    scales = [info.input, info.output_codes, info.read]
    scales += [s for s in (info.gain_trim, info.offset_trim) if s is not None]
    scales += [s for limits in info.pulses for s in (limits.amplitude, limits.width)]
    for scale in scales:
        if not -_CODE_LIMIT <= scale.min_code <= scale.max_code < _CODE_LIMIT:
            raise DeviceFaultError(
                f"capabilities list codes {scale.min_code}...{scale.max_code}; 32 bits are the most"
            )
