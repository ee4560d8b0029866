"""What the benchmarks of a board's line give, as documents. The drivers measure them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hil.bench.machine import Machine

__all__ = [
    "BoardFaults",
    "Efficiency",
    "FaultBench",
    "FuzzBench",
    "FuzzTarget",
    "LineFaults",
    "LinkBench",
    "LinkParts",
    "LinkRate",
    "SerialRate",
]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LinkRate(_Document):
    """MVMs of `batch` vectors through the protocol alone, between two processes.

    Attributes:
        window: Requests open at a time; 1 is lock-step.
        requests_per_s: Of the median block of requests.
        requests_per_s_best: Of the fastest block.
        sent_mb_per_s, received_mb_per_s: Codes to the device and from it, both under way at the
            same time, of the median block, 1e6 bytes/s.
        host_cpu_s, device_cpu_s: Processor time of a request at either end, mean, s.
    """

    batch: int
    window: int
    requests_per_s: float
    requests_per_s_best: float
    sent_mb_per_s: float
    received_mb_per_s: float
    host_cpu_s: float
    device_cpu_s: float


class LinkParts(_Document):
    """Where the time of one request goes, lock-step, mean over requests, s.

    Attributes:
        batch: Vectors of the request.
        host_encode_s, host_decode_s: Message to bytes and back, at the host.
        device_decode_s, execute_s, device_encode_s: The same at the device, and its core.
        wire_s: Everything else: system calls, the socket, and waking up the other process.
        round_trip_s: All of them.
    """

    batch: int
    host_encode_s: float
    wire_s: float
    device_decode_s: float
    execute_s: float
    device_encode_s: float
    host_decode_s: float
    round_trip_s: float


class Efficiency(_Document):
    """Codes over bytes on the line, for one MVM request and its reply; nothing is saturated."""

    batch: int
    request: float
    reply: float


class SerialRate(_Document):
    """A real `hil emulate` board at a throttled pseudo-terminal, through the whole driver.

    Attributes:
        address: Chip behind the board.
        baud: Rate each way, ten bits a byte.
        vectors: Vectors that were multiplied, in batches of `batch`.
        seconds: From the first request to the last result.
        sent_bytes, received_bytes: On the line.
        share: Bytes of the busier direction over what the line carries in that time.
        payload_share: Codes of that direction over its bytes.
    """

    address: str
    baud: int
    batch: int
    vectors: int
    seconds: float
    sent_bytes: int
    received_bytes: int
    share: float
    payload_share: float


class LinkBench(_Document):
    """Throughput of the line. All inputs are vectors of 256 codes of 8 bits, all outputs too."""

    schema_version: int = 1
    machine: Machine
    cobs: str
    rates: tuple[LinkRate, ...]
    parts: tuple[LinkParts, ...]
    efficiency: tuple[Efficiency, ...]
    serial: SerialRate | None

    @property
    def windowed_mvm_per_s(self) -> float:
        """Single-vector MVMs with more than one request open, at the best window."""
        rates = (r.requests_per_s for r in self.rates if r.batch == 1 and r.window > 1)
        return max(rates, default=0.0)

    @property
    def batched_mb_per_s(self) -> float:
        """Codes of one direction, the other as busy, with the best batch, 1e6 bytes/s."""
        rates = (min(r.sent_mb_per_s, r.received_mb_per_s) for r in self.rates if r.batch > 1)
        return max(rates, default=0.0)


class LineFaults(_Document):
    """What was done to the frames of a run, both directions."""

    frames: int
    lost: int
    flipped: int
    duplicated: int
    delayed: int
    reordered: int
    split: int


class BoardFaults(_Document):
    """Requests of one part of the run and what became of them.

    Attributes:
        part: Which ends took part.
        faults: What the line did.
        requests: Requests made, of which `mutations` pulse cells.
        answered: Ended in the right answer.
        unknown: Ended in "effect unknown" after a device reset, and were then settled by asking.
        resets: Times the device lost power.
        repeats: Times that open requests were asked after.
        dropped: Frames that an end refused.
        wrong: Replies that an ideal core would not have given. Must be 0.
        twice: Mutations applied more often than once, or out of order. Must be 0.
        unended: Requests without an outcome, or with an unknown one though no device was reset.
            Must be 0.
        first_violation: What was wrong first; empty if nothing was.
        seconds: How long it took, s.
    """

    part: str
    faults: LineFaults
    requests: int
    mutations: int
    answered: int
    unknown: int
    resets: int
    repeats: int
    dropped: int
    wrong: int
    twice: int
    unended: int
    first_violation: str
    seconds: float

    @property
    def lawful(self) -> bool:
        """Whether no law was broken."""
        return not (self.wrong or self.twice or self.unended or self.first_violation)


class FaultBench(_Document):
    """Both ends of the line over one that does everything wrong."""

    schema_version: int = 1
    machine: Machine
    rate: float
    seed: int
    parts: tuple[BoardFaults, ...]

    @property
    def frames(self) -> int:
        """Frames on all lines, both directions."""
        return sum(part.faults.frames for part in self.parts)

    @property
    def lawful(self) -> bool:
        """Whether no law was broken in any part."""
        return all(part.lawful for part in self.parts)


class FuzzTarget(_Document):
    """Inputs that one decoder met.

    Attributes:
        target: Name of the decoder.
        seconds: How long, s.
        rounds: Seeds; a finding ends its round.
        cases, bytes: Inputs of the rounds that ended without a finding, and their bytes.
        found: Messages that were understood in them.
        failures: Rounds that ended in a broken law or an exception that is not documented.
        first_failures: Seed and error of the first few.
        peak_bytes: Most bytes of unfinished input that a decoder held.
    """

    target: str
    seconds: float
    rounds: int
    cases: int
    bytes: int
    found: int
    failures: int
    first_failures: tuple[str, ...]
    peak_bytes: int


class FuzzBench(_Document):
    """Decoders against bytes from anywhere.

    Attributes:
        limit_bytes: How far the run may raise the memory of the process.
        resident_bytes: How far it did.
    """

    schema_version: int = 1
    machine: Machine
    seed: int
    limit_bytes: int
    resident_bytes: int
    targets: tuple[FuzzTarget, ...]

    @property
    def lawful(self) -> bool:
        """Whether nothing was found and memory stayed within its bound."""
        return self.resident_bytes <= self.limit_bytes and not any(
            target.failures for target in self.targets
        )
