"""Opens chips outside of sessions: to use one as its owner, or to look at it.

The device's lease comes with opening. A chip that others can reach has more: the owner's lock of
this machine for whoever uses it, and an audit log that names who was driven off it. Pulses past a
session are counted by nobody: they are for simulated chips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hil.audit import append_audit
from hil.backends import open_chip
from hil.chip_records import is_shared, remember_chip
from hil.core import Chip
from hil.lease_lock import OwnerLock

__all__ = ["note_takeover", "open_noted", "open_owned"]


def open_noted(address: str, *, command: Sequence[str] = ()) -> Chip:
    """Open a chip to look at it; its log says so if that drove somebody off.

    Raises:
        HilError: As `open_chip`, or the log cannot be written.
    """
    chip = open_chip(address)
    try:
        note_takeover(chip, command)
    except BaseException:
        chip.close()
        raise
    return chip


def open_owned(address: str, *, command: Sequence[str] = ()) -> Chip:
    """Open a chip to use it; one that others can reach is locked and logged until it is closed.

    Raises:
        CoreUnavailableError: Somebody else owns it; the sentence says who.
        HilError: As `open_chip`, or its records cannot be written.
    """
    chip = open_noted(address, command=command)
    if not is_shared(chip.info):
        return chip
    try:
        lock = OwnerLock.acquire(chip.serial, command)
        try:
            remember_chip(chip.info)
            append_audit(chip.serial, "opened", command=list(command), address=chip.address)
        except BaseException:
            lock.release()
            raise
    except BaseException:
        chip.close()
        raise

    def release() -> None:
        try:
            chip.close()
            append_audit(chip.serial, "closed", pulses=[])
        finally:
            lock.release()  # last: until then the chip is not at rest

    return replace(chip, _release=release)


def note_takeover(chip: Chip, command: Sequence[str] = ()) -> None:
    """Log whom opening a chip has driven off, whatever comes of opening it.

    Raises:
        RecordError: The log cannot be written.
    """
    if chip.taken_from and is_shared(chip.info):
        append_audit(chip.serial, "lease taken over", holder=chip.taken_from, command=list(command))
