"""`hil bench fuzz`: every decoder of the line against bytes from anywhere, for a given time.

A run is a row of short rounds, each repeated by its seed: a finding ends its round and no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from hil.bench.line import FuzzBench, FuzzTarget
from hil.bench.machine import Machine
from hil.bench.memory import peak_increase
from hil.errors import RequestError
from hil.progress import Progress, Silent, Task
from protocols.wire.fuzz import fuzz_decoders
from protocols.wire.scpi_fuzz import fuzz_scpi

__all__ = ["LIMIT_BYTES", "TARGETS", "Round", "Seen", "bench_fuzz"]

LIMIT_BYTES = 1 << 26
"""How far the whole run may raise the memory of the process, 64 MiB."""

_ROUND_S = 1.0
_KEPT_FAILURES = 5

Until = Callable[[], bool]


class Seen(NamedTuple):
    """What a round has seen: inputs, their bytes, messages in them, most bytes that were held."""

    cases: int
    fed_bytes: int
    found: int
    peak_bytes: int


Round = Callable[[int, Until], Seen]
"""Seed and when to stop -> what was seen; raises what it finds."""


def _binary(seed: int, until: Until) -> Seen:
    report = fuzz_decoders(seed=seed, until=until)
    return Seen(report.cases, report.fed_bytes, report.decoded, report.peak_bytes)


def _control(seed: int, until: Until) -> Seen:
    report = fuzz_scpi(seed=seed, until=until)
    return Seen(report.cases, report.fed_bytes, report.messages, report.peak_bytes)


TARGETS: dict[str, Round] = {
    "binary plane, both ends": _binary,
    "control plane (SCPI)": _control,
}
"""Name -> a round of one decoder's fuzzing."""


def bench_fuzz(
    *,
    seconds: float = 600.0,
    seed: int = 0,
    targets: dict[str, Round] | None = None,
    progress: Progress | None = None,
) -> FuzzBench:
    """Give each decoder inputs for its share of `seconds`.

    Args:
        seconds: For all decoders together.
        seed: Of the first round; each further round takes the next.
        targets: Decoders.
        progress: Is told of the work, in seconds.

    Raises:
        RequestError: There is no time.
    """
    if not seconds > 0:
        raise RequestError(f"{seconds} seconds are none; ask for more than 0")
    chosen = TARGETS if targets is None else targets
    with (progress or Silent()).task("fuzzing", seconds) as task:
        done, resident = peak_increase(
            lambda: [
                _fuzz(name, run, seconds / len(chosen), seed, task) for name, run in chosen.items()
            ]
        )
    return FuzzBench(
        machine=Machine.here(),
        seed=seed,
        limit_bytes=LIMIT_BYTES,
        resident_bytes=resident,
        targets=tuple(done),
    )


def _fuzz(name: str, run: Round, seconds: float, seed: int, task: Task) -> FuzzTarget:
    task.say(name)
    rounds = cases = size = found = peak = 0
    failures: list[str] = []
    began = told = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0 or not rounds:
        end = time.monotonic() + min(left, _ROUND_S)
        try:
            seen = run(seed + rounds, lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - any of them is a finding
            failures.append(f"seed {seed + rounds}: {type(error).__name__}: {error}"[:400])
        else:
            cases, size, found = cases + seen.cases, size + seen.fed_bytes, found + seen.found
            peak = max(peak, seen.peak_bytes)
        rounds += 1
        now = time.monotonic()
        task.advance(now - told)
        told = now
    return FuzzTarget(
        target=name,
        seconds=time.monotonic() - began,
        rounds=rounds,
        cases=cases,
        bytes=size,
        found=found,
        failures=len(failures),
        first_failures=tuple(failures[:_KEPT_FAILURES]),
        peak_bytes=peak,
    )
