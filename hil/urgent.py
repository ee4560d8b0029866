"""SAFE for any board, whoever holds it. The board driver does it; this is the door to it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from hil.address import Address, parse_address

__all__ = ["SafeProof", "make_board_safe"]


@dataclass(frozen=True, kw_only=True)
class SafeProof:
    """What was read back after SAFE.

    Attributes:
        serial: Serial of the chip.
        cores: Cores, all of which say that they are in their safe state.
        owner: Who owns the device's lease now, "" for nobody: SAFE from another stream ends it.
    """

    serial: str
    cores: int
    owner: str


class _Urgent(Protocol):
    def safe_board(self, address: Address) -> SafeProof: ...


def make_board_safe(address: str) -> SafeProof:
    """Put every core at `address` into its safe state and read back that it is so.

    Needs no session, no lease and no lock of the host; twice is fine.

    Raises:
        RequestError: The scheme is unknown, or nothing outside this process is behind it.
        CoreUnavailableError: Nothing can be reached there.
        CoreTimeoutError: It does not answer.
        DeviceFaultError: It does not show that it is safe.
    """
    parsed = parse_address(address)
    return cast("_Urgent", import_module("drivers.urgent")).safe_board(parsed)
