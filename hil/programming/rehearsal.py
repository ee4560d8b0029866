"""Rehearsal: a programming method on a simulated block of the same chip type, for its pulses.

What a method sends depends on the devices and hardly on the target: a block of ordinary weights on
the simulated chip of that model tells pulses per device to about a sixth, and the time of methods
that stop by themselves within a factor of two. Nothing of the real chip is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.backends import open_chip
from hil.errors import RequestError
from hil.programming.base import ProgrammingAlgorithm, ProgrammingJob, run_programming
from hil.requests import Pulse, Window

if TYPE_CHECKING:
    from hil.core import VerbEvent
    from hil.info import CoreInfo

__all__ = ["Rehearsal", "rehearse"]

SIDE = 64
"""Rows and cols of the rehearsed block: pulses per device depend little on them from here on."""
SIGMAS = 3.0
"""The largest weight of the block, in standard deviations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """What a method did on the simulated block.

    Attributes:
        devices: Devices of the block.
        pulses_per_device, most_per_device: Mean and highest.
        requests: Pulse requests.
        reads_per_device: Devices read, per device of the block.
        mvms: Vectors multiplied.
        wait_s: Time it waited between pulses and probes, s.
        pulses: The requests themselves.
    """

    devices: int
    pulses_per_device: float
    most_per_device: int
    requests: int
    reads_per_device: float
    mvms: int
    wait_s: float
    pulses: tuple[Pulse, ...]


def rehearse(method: ProgrammingAlgorithm[Any], info: CoreInfo) -> Rehearsal | None:
    """Rehearse `method` on a simulated chip of the model of `info`; None if there is none."""
    return _rehearsed(
        method, info.model, info.devices_per_polarity, min(SIDE, info.rows, info.cols)
    )


@lru_cache(maxsize=32)
def _rehearsed(
    method: ProgrammingAlgorithm[Any], model: str, devices: int, side: int
) -> Rehearsal | None:
    address = f"sim:{model}?rows={side}&cols={side}&devices={devices}&serial=REHEARSAL"
    try:
        chip = open_chip(address)
    except RequestError:
        return None
    pulses: list[Pulse] = []
    waits: list[float] = []

    def watch(event: VerbEvent) -> None:
        if isinstance(event.request, Pulse):
            pulses.append(event.request)
        elif event.verb == "wait" and isinstance(event.request, float):
            waits.append(event.request)

    with chip:
        core = chip.cores[0]
        core.observe(watch)
        weights = np.random.default_rng(0).standard_normal((side, side)) / SIGMAS
        target = np.clip(weights, -1.0, 1.0) * core.info.device.g_max_siemens
        block = Window(row=0, col=0, rows=side, cols=side)
        job = ProgrammingJob(core=core, window=block, target_siemens=target)
        (result,) = run_programming(method, [job], seed=0)
    return Rehearsal(
        devices=result.pulses.size,
        pulses_per_device=float(result.pulses.mean()),
        most_per_device=int(result.pulses.max()),
        requests=len(pulses),
        reads_per_device=result.reads / result.pulses.size,
        mvms=result.mvms,
        wait_s=sum(waits),
        pulses=tuple(pulses),
    )
