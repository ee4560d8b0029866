"""The same work on a chip directly and through the board's bytes: equal codes, and at what cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.backends import open_chip
from hil.bench.machine import Machine
from hil.core import Chip, VerbEvent
from hil.journal import digest_of
from hil.matrix import program_matrix
from hil.progress import Progress, Silent

__all__ = ["DEFAULT_LOOPBACK_ADDRESS", "LoopbackBench", "bench_loopback", "first_difference"]

DEFAULT_LOOPBACK_ADDRESS = "sim:hermes?seed=1&rows=128&cols=128"
PREFIX = "loopback:"
VECTORS = 1024
REPEATS = 10


class LoopbackBench(BaseModel):
    """Twins compared.

    Attributes:
        bit_equal: Every request and every result had equal codes.
        verbs: Verbs compared.
        first_difference: Number and name of the first verb that differed; None if none did.
        direct_s, encoded_s: Wall time of calibration, programming by both methods and MVMs, s.
        ratio: encoded_s / direct_s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    address: str
    encoded_address: str
    chip_serial: str
    bit_equal: bool
    verbs: int
    first_difference: str | None
    direct_s: float
    encoded_s: float
    ratio: float
    machine: Machine


@dataclass(kw_only=True)
class _Trace:
    """What a chip was asked and answered: verb and digest, in order."""

    lines: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    serial: str = ""

    def note(self, event: VerbEvent) -> None:
        """Keep a verb that ended."""
        request, result = digest_of(event.request), digest_of(event.result)
        self.lines.append(f"{event.verb} {request} {result}")


def bench_loopback(
    address: str = DEFAULT_LOOPBACK_ADDRESS,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> LoopbackBench:
    """Calibrate, program by gradient descent and by program-and-verify, multiply: on both twins.

    Raises:
        RequestError: The address is not one that `loopback:` can wrap.
    """
    encoded = PREFIX + address
    traces = []
    with (progress or Silent()).task("twins", 2) as task:
        for one in (address, encoded):
            task.say(one)
            with open_chip(one) as chip:
                traces.append(_work(chip, seed))
            task.advance()
    direct, through = traces
    difference = first_difference(direct.lines, through.lines)
    return LoopbackBench(
        address=address,
        encoded_address=encoded,
        chip_serial=direct.serial,
        bit_equal=difference is None,
        verbs=len(direct.lines),
        first_difference=difference,
        direct_s=direct.wall_s,
        encoded_s=through.wall_s,
        ratio=through.wall_s / direct.wall_s,
        machine=Machine.here(),
    )


def first_difference(one: Sequence[str], other: Sequence[str]) -> str | None:
    """Name the first verb at which two traces part, by number; None if they are equal."""
    for number, (a, b) in enumerate(zip_longest(one, other, fillvalue="nothing")):
        if a != b:
            names = [line.partition(" ")[0] for line in (a, b)]
            return f"verb {number}: {names[0]}, {names[1]}"
    return None


def _work(chip: Chip, seed: int) -> _Trace:
    trace = _Trace(serial=chip.serial)
    for core in chip.cores:
        core.observe(trace.note)
    info = chip.cores[0].info
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    for method in ("gdp", "verify"):
        weights = rng.standard_normal((info.rows, info.cols))
        matrix = program_matrix(chip, weights, method=method, seed=seed)
        for _ in range(REPEATS):
            matrix.matmul(rng.standard_normal((VECTORS, info.rows)))
    trace.wall_s = time.perf_counter() - began
    return trace
