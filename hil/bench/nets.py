"""What the benchmark of static nets gives, as documents. The simulator measures it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hil.bench.machine import Machine

__all__ = ["NetPeer", "NetTiming", "NetsBench"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetPeer(_Document):
    """Another program on the same net, timed in turn with ours; medians, s.

    Attributes:
        first_s: From conductances to the effective matrix; None where it makes none.
        per_vector_s: Time of a batch over its vectors, with all that a new batch costs.
        vectors: Vectors of that batch.
        disagreement: Largest difference of an output from ours over the largest output.
        first_ratio, per_vector_ratio: Its time over ours.
    """

    name: str
    first_s: float | None
    per_vector_s: float
    vectors: int
    disagreement: float
    first_ratio: float | None
    per_vector_ratio: float


class NetTiming(_Document):
    """One size of net; medians over the repeats, s.

    Attributes:
        first_s: From conductances to the effective matrix.
        per_vector_s: Time of one batch over its vectors, once the matrix is there.
    """

    rows: int
    cols: int
    first_s: float
    per_vector_s: float
    peers: tuple[NetPeer, ...]


class NetsBench(_Document):
    """Static nets with 1 ohm per segment of both lines and devices of 0.25 to 25 uS, one thread.

    Attributes:
        batch: Vectors of our batch.
        absent: Peers that were not there to measure, and why.
    """

    schema_version: int = 1
    batch: int
    repeats: int
    sizes: tuple[NetTiming, ...]
    absent: tuple[str, ...]
    machine: Machine

    def least_ratio(self, peer: str) -> float | None:
        """Return the smallest ratio per vector to one peer, None where it was not measured."""
        ratios = [p.per_vector_ratio for s in self.sizes for p in s.peers if p.name == peer]
        return min(ratios, default=None)

    @property
    def worst_disagreement(self) -> float:
        """The largest disagreement with any peer."""
        return max((p.disagreement for s in self.sizes for p in s.peers), default=0.0)
