"""Loopback: board driver + device emulator + any inner chip in one process, every byte encoded.

Knows the inner chip by its address only.
"""

from __future__ import annotations

from dataclasses import replace

from drivers.board import LeaseTerms, open_board
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil.address import Address
from hil.backends import open_chip
from hil.core import Chip

__all__ = ["open_loopback"]


def open_loopback(address: Address) -> Chip:
    """Open "loopback:INNER": the chip at address INNER, reached through encoded frames.

    The chip says what the device behind it says (backend kind, serial); only the address is its
    own. Closing it closes the inner chip.

    Raises:
        RequestError: The inner address is wrong.
    """
    inner = open_chip(address.text.partition(":")[2])
    emulator = DeviceEmulator(inner)
    transport = MemoryTransport(emulator.receive, release=inner.close)
    board = open_board(transport, address=address.text, lease=LeaseTerms(lapse_s=0.0))
    return replace(board, _preserve=lambda folder: f"{address.scheme}:{inner.preserve(folder)}")
