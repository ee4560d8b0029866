"""Leases: who may touch the cells. One owner at a time, tokens that only rise. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["Lease", "LeaseTable", "cut_name"]

LONGEST_LAPSE_S = 3600.0
SHORTEST_LAPSE_S = 0.2
MOST_HOLDER_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to mutate, as it stands.

    Attributes:
        token: Fencing token; a mutation that carries another one is refused.
        holder: Who asked for it, to show to others.
        client: The session that holds it.
        lapse_s: Silence after which it ends, s; 0: never.
        renewed_s: When its owner was last heard, on the device's clock.
    """

    token: int
    holder: str
    client: object
    lapse_s: float
    renewed_s: float

    @property
    def due_s(self) -> float | None:
        """When it lapses unless renewed, on the device's clock; None: never."""
        return self.renewed_s + self.lapse_s if self.lapse_s else None


class LeaseTable:
    """The lease of one device.

    Attributes:
        last_token: Highest token given so far, over the whole life of the device.
        current: The lease in force; None: nobody has it.
    """

    def __init__(self, *, last_token: int = 0, keep: Callable[[int], None] | None = None) -> None:
        """Go on behind `last_token`; `keep` stores a token before it is given away."""
        self.last_token = last_token
        self.current: Lease | None = None
        self._keep = keep

    def lock(self, client: object, *, holder: str, lapse_s: float, now_s: float) -> Lease:
        """Give the lease to `client`, whoever had it, with a new token; bound its lapse time."""
        token = self.last_token + 1
        if self._keep is not None:
            self._keep(token)
        self.last_token = token
        bounded_s = min(max(lapse_s, SHORTEST_LAPSE_S), LONGEST_LAPSE_S) if lapse_s > 0 else 0.0
        self.current = Lease(
            token=token,
            holder=cut_name(holder) or "a host without a name",
            client=client,
            lapse_s=bounded_s,
            renewed_s=now_s,
        )
        return self.current

    def held_by(self, client: object) -> Lease | None:
        """Return the lease if `client` has it."""
        lease = self.current
        return lease if lease is not None and lease.client is client else None

    def free_for(self, client: object) -> bool:
        """Whether `client` may have it without taking it from anyone."""
        return self.current is None or self.current.client is client

    def renew(self, client: object, now_s: float) -> None:
        """Note that the owner lives; others change nothing."""
        lease = self.held_by(client)
        if lease is not None and lease.lapse_s:
            self.current = replace(lease, renewed_s=now_s)

    def release(self, client: object) -> Lease | None:
        """End the lease of `client`; return what ended, None if it had none."""
        lease = self.held_by(client)
        if lease is not None:
            self.current = None
        return lease

    def lapse(self, now_s: float) -> Lease | None:
        """End a lease whose owner was silent for too long; return what ended."""
        lease = self.current
        if lease is None or lease.due_s is None or now_s < lease.due_s:
            return None
        self.current = None
        return lease


def cut_name(name: str) -> str:
    """Return as much of a name as a device keeps: the wire allows more than it has memory for."""
    return name.encode()[:MOST_HOLDER_BYTES].decode(errors="ignore")
