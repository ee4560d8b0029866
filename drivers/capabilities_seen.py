"""The least that must be known of a board to make it safe: its serial and how many cores it has.

Reads a capabilities document whatever else is wrong with it.
"""

from __future__ import annotations

import json

from hil.errors import DeviceFaultError

__all__ = ["cores_of"]

MOST_CORES = 4096


def cores_of(document: bytes) -> tuple[str, int]:
    """Return serial and number of cores.

    Raises:
        DeviceFaultError: The document makes no sense.
    """
    try:
        said = json.loads(document)
        serial, cores = str(said["serial"]), len(said["cores"])
    except (ValueError, TypeError, KeyError) as error:
        raise DeviceFaultError("the board's capabilities make no sense") from error
    if not 1 <= cores <= MOST_CORES:
        raise DeviceFaultError(f"the board says it has {cores} cores")
    return serial, cores
