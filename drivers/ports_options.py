"""Options that every board's address takes: patience and the lease. Opens nothing."""

from __future__ import annotations

from drivers.board import LeaseTerms
from hil.address import Address

__all__ = ["BOARD_OPTIONS", "lease_of", "patience_of"]

BOARD_OPTIONS = ("base_s", "lapse_s", "takeover")
"""base_s: longest wait for a board that is busy with nothing; lapse_s: silence after which it frees
the lease and goes into its safe state; takeover=1: take the lease from whoever has it."""


def patience_of(address: Address) -> float:
    """Return option base_s, s."""
    return address.number("base_s", 5.0, 0.01, 3600.0)


def lease_of(address: Address) -> LeaseTerms:
    """Return the terms that options lapse_s and takeover ask for."""
    return LeaseTerms(
        lapse_s=address.number("lapse_s", LeaseTerms.lapse_s, 0.2, 3600.0),
        takeover=address.choice("takeover", "0", ("0", "1")) == "1",
    )
