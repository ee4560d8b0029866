"""What the benchmark of the tile circuit gives, as documents. The simulator measures it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hil.bench.machine import Machine

__all__ = ["CircuitBench", "CircuitError", "CircuitScaling", "CircuitTiming", "TilePeer"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CircuitTiming(_Document):
    """One solver on one circuit; medians over the repeats, s.

    Attributes:
        solver, idle: As in an address.
        batch: Vectors of a call.
        prepare_s: From conductances to what serves every batch.
        per_vector_s: Time of a batch over its vectors.
        matmul_ratio: That over the time of a plain product of the same batch, repeat by repeat.
        peak_bytes: How far a call raised the memory of the process; None on an accelerator.
        worst_error: Largest difference from the exact solution over its largest charge.
    """

    solver: str
    idle: str
    batch: int
    prepare_s: float
    per_vector_s: float
    matmul_ratio: float
    peak_bytes: int | None
    worst_error: float


class TilePeer(_Document):
    """A time-stepped tile of another program on the same weights and inputs, idle devices clamped.

    Attributes:
        name: Program, version and how it solves.
        vectors: Vectors of its batch.
        per_vector_s: Time of its batch over its vectors.
        peak_bytes: Peak memory of its process.
        worst_error: As of ours, and of the same exact solution.
        ratios: Its time per vector over ours, by solver and idle devices.
    """

    name: str
    vectors: int
    per_vector_s: float
    peak_bytes: int
    worst_error: float
    ratios: dict[str, float]


class CircuitScaling(_Document):
    """Time of one call while one size grows, and the slope of its logarithms.

    Attributes:
        solver, idle: As in an address.
        axis: rows, cols, batch or slots.
        sizes, seconds: What was measured.
        exponent: Time goes as size to this power, by least squares.
    """

    solver: str
    idle: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float


class CircuitError(_Document):
    """Error of the rapid solver on one kind of tile, over ordinary and hostile patterns.

    Attributes:
        rows, g_max_siemens, ohm_per_cell: The tile.
        ordinary_median, ordinary_worst: Over Gaussian weights and random inputs.
        worst, worst_case: Over all patterns, and where; relative to the largest charge of the case.
        worst_drop: Largest loss by the wires in that case, likewise.
    """

    rows: int
    g_max_siemens: float
    ohm_per_cell: float
    ordinary_median: float
    ordinary_worst: float
    worst: float
    worst_case: str
    worst_drop: float


class CircuitBench(_Document):
    """The tile circuit of 25 uS devices and 0.15 ohm per cell, one thread on a CPU.

    Attributes:
        matmul_per_vector_s: Plain product of the largest batch over its vectors.
        absent: What was not there to measure, and why.
    """

    schema_version: int = 1
    rows: int
    cols: int
    compute: str
    repeats: int
    matmul_per_vector_s: float
    timings: tuple[CircuitTiming, ...]
    peers: tuple[TilePeer, ...]
    errors: tuple[CircuitError, ...]
    scaling: tuple[CircuitScaling, ...]
    absent: tuple[str, ...]
    machine: Machine

    @property
    def least_peer_ratio(self) -> float | None:
        """Least speed-up of the rapid solver over any peer; None without peers."""
        ratios = [r for p in self.peers for name, r in p.ratios.items() if "rapid" in name]
        return min(ratios, default=None)

    @property
    def closer_than_peers(self) -> bool:
        """Whether each of ours is closer to the exact solution than every peer."""
        ours = max((t.worst_error for t in self.timings), default=0.0)
        return all(ours < peer.worst_error for peer in self.peers)
