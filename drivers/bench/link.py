"""`hil bench link`: what the protocol does in a second, where the time goes, what framing costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from drivers.bench.framing_cost import efficiency
from drivers.bench.serial_board import serial_rate
from drivers.bench.socket_host import VECTOR_BYTES, device_process, mvm_request
from hil.bench.line import LinkBench, LinkParts, LinkRate
from hil.bench.machine import Machine
from hil.progress import Progress, Silent
from protocols.wire import messages as wire
from protocols.wire.cobs import cobs_encode, pure_cobs_encode

__all__ = ["BATCHES", "EFFICIENCY_BATCHES", "WINDOWS", "bench_link"]

WINDOWS = (1, 2, 4, 8, 16)
BATCHES = (16, 31, 128, 1000)
EFFICIENCY_BATCHES = (1, 16, 31, 1000)
PARTS_BATCHES = (1, 31, 1000)

_BATCH_WINDOW = 4
_BLOCK_BYTES = 1 << 20  # input codes of one timed block of batches
_BLOCK_VECTORS = 500  # single vectors of one timed block
_FEWEST_BLOCKS = 2


def bench_link(
    *,
    seconds: float = 2.0,
    baud: int | None = 3_000_000,
    serial_address: str = "sim:hermes?seed=1",
    serial_batches: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> LinkBench:
    """Measure the protocol between two processes, and a board at a throttled pseudo-terminal.

    Args:
        seconds: Least time of each measurement of the protocol.
        baud: Rate of the pseudo-terminal; None: leave it out.
        serial_address: Chip of the board there.
        serial_batches: Batches of 128 vectors that cross there.
        seed: Seed of all inputs.
        progress: Is told of the work.

    Raises:
        DeviceFaultError: A reply is wrong.
        CoreTimeoutError: A process does not answer.
    """
    rng = np.random.default_rng(seed)
    kinds = [(window, 1) for window in WINDOWS] + [(_BATCH_WINDOW, batch) for batch in BATCHES]
    steps = len(kinds) + len(PARTS_BATCHES) + (baud is not None)
    rates, parts = [], []
    serial = None
    with (progress or Silent()).task("link", steps) as task:
        for window, batch in kinds:
            task.say(f"batch {batch}, window {window}")
            rates.append(_rate(_requests(rng, batch), window, seconds))
            task.advance()
        for batch in PARTS_BATCHES:
            task.say(f"parts of batch {batch}")
            parts.append(_parts(_requests(rng, batch)))
            task.advance()
        if baud is not None:
            task.say(f"a pseudo-terminal at {baud} baud")
            serial = serial_rate(serial_address, baud=baud, batches=serial_batches, seed=seed)
            task.advance()
    return LinkBench(
        machine=Machine.here(),
        cobs="pure Python" if cobs_encode is pure_cobs_encode else "compiled",
        rates=tuple(rates),
        parts=tuple(parts),
        efficiency=tuple(efficiency(batch, rng) for batch in EFFICIENCY_BATCHES),
        serial=serial,
    )


def _requests(rng: np.random.Generator, batch: int) -> list[wire.MvmRequest]:
    size = batch * VECTOR_BYTES
    count = _BLOCK_VECTORS if batch == 1 else max(2 * _BATCH_WINDOW, _BLOCK_BYTES // size)
    data = rng.bytes(size * count)
    return [mvm_request(data[at : at + size]) for at in range(0, len(data), size)]


def _rate(requests: Sequence[wire.MvmRequest], window: int, seconds: float) -> LinkRate:
    """Exchange a block of requests again and again for `seconds`."""
    batch, count = requests[0].batch, len(requests)
    with device_process(window=window, batch=batch) as (host, device):
        host.exchange(requests, window=window)
        times: list[float] = []
        cpu_s = time.process_time()
        while sum(times) < seconds or len(times) < _FEWEST_BLOCKS:
            times.append(host.exchange(requests, window=window))
        cpu_s = time.process_time() - cpu_s
    rate = count / statistics.median(times)
    mb_per_s = rate * batch * VECTOR_BYTES / 1e6
    return LinkRate(
        batch=batch,
        window=window,
        requests_per_s=rate,
        requests_per_s_best=count / min(times),
        sent_mb_per_s=mb_per_s,
        received_mb_per_s=mb_per_s,  # as many codes come as go
        host_cpu_s=cpu_s / (count * len(times)),
        device_cpu_s=device.cpu_s / device.requests,
    )


def _parts(requests: Sequence[wire.MvmRequest]) -> LinkParts:
    count = len(requests)
    with device_process(window=1, batch=requests[0].batch, timed=True) as (host, device):
        host_s = host.exchange_timed(requests)
    decode_s, execute_s, encode_s = (part / count for part in device.parts_s)
    host_encode_s, host_decode_s = host_s.encode_s / count, host_s.decode_s / count
    total_s = host_s.total_s / count
    return LinkParts(
        batch=requests[0].batch,
        host_encode_s=host_encode_s,
        wire_s=total_s - host_encode_s - host_decode_s - decode_s - execute_s - encode_s,
        device_decode_s=decode_s,
        execute_s=execute_s,
        device_encode_s=encode_s,
        host_decode_s=host_decode_s,
        round_trip_s=total_s,
    )
