"""Chips to measure on: opened by address, programmed by a method, true conductances read out.

What a validation compares is what a chip does, so every figure goes through `open_sim`, the verbs
and a programming method. True conductances exist in a simulator only; they stand for a reader
without error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hil.address import parse_address
from hil.core import CellRead
from hil.measure import measure_mvm, whole
from hil.programming import OpenLoop, ProgrammingAlgorithm, ProgrammingJob, run_programming
from sim_backend.array import PhysicalArray
from sim_backend.opening import open_sim
from sim_backend.sim_core import SimCore

__all__ = [
    "HeldCells",
    "one_hot_magnitude",
    "open_cores",
    "program_cells",
    "program_matrix",
    "true_siemens",
]

Array = npt.NDArray[np.float64]


@contextmanager
def open_cores(preset: str, **options: str | int) -> Iterator[tuple[SimCore, ...]]:
    """Open "sim:PRESET?..." and hand out its cores, which share one clock."""
    query = "&".join(f"{key}={value}" for key, value in options.items())
    with open_sim(parse_address(f"sim:{preset}?{query}")) as chip:
        cores = tuple(core for core in chip.cores if isinstance(core, SimCore))
        yield cores


def program_matrix(
    core: SimCore, target_siemens: Array, algorithm: ProgrammingAlgorithm[Any] | None = None
) -> None:
    """Program a whole core, (rows, cols) S signed; None is open loop."""
    job = ProgrammingJob(core=core, window=whole(core.info), target_siemens=target_siemens)
    run_programming(algorithm or OpenLoop(), [job], seed=0)


def one_hot_magnitude(core: SimCore) -> float:
    """Mean magnitude of the outputs of one fully driven row at a time, S: in effect the mean |w|.

    aihwkit reads it out for its global drift compensation.
    """
    codes = core.info.input.max_code * np.eye(core.info.rows, dtype=core.info.input.dtype)
    return float(np.abs(measure_mvm(core, codes, output_range=0).siemens).mean())


def true_siemens(core: SimCore) -> Array:
    """Conductance of every device now, without read noise, S, (devices, rows, cols)."""
    assert isinstance(core.array, PhysicalArray)  # noqa: S101 - no validation opens an ideal chip
    return np.asarray(core.array.conductance_siemens(core.now_s()).double().cpu().numpy())


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldCells:
    """Cells of several cores that were programmed to signed targets; all relative to g_max.

    The polarity that holds a target is looked at, summed over its devices; the other is at zero.

    Attributes:
        cores: The cores.
        wanted: Magnitude of the target, (cells,).
        usable: Accepted by the method, and without a device that no pulse moves, (cells,).
    """

    cores: tuple[SimCore, ...]
    wanted: Array
    usable: npt.NDArray[np.bool_]
    _positive: tuple[npt.NDArray[np.bool_], ...]

    def conductance(self) -> Array:
        """True conductance now, (cells,)."""
        return self._held([true_siemens(core) for core in self.cores])

    def read(self) -> Array:
        """One read of every device now, (cells,): what converters give, summed per polarity."""
        found = []
        for core in self.cores:
            info = core.info
            shape = (info.devices_per_cell, info.rows, info.cols)
            device, rows, cols = np.indices(shape).reshape(3, -1)
            codes = core.read(CellRead.of(device=device, rows=rows, cols=cols)).codes
            found.append(info.read.to_si(codes).reshape(shape))
        return self._held(found)

    @property
    def read_step(self) -> float:
        """One code of a read."""
        info = self.cores[0].info
        return info.read.step / info.device.g_max_siemens

    def wait_until(self, at_s: float) -> None:
        """Let time pass up to a device time, s."""
        self.cores[0].wait(max(0.0, at_s - self.cores[0].now_s()))

    def _held(self, devices: list[Array]) -> Array:
        parts = []
        for core, positive, siemens in zip(self.cores, self._positive, devices, strict=True):
            half = core.info.devices_per_polarity
            held = np.where(positive, siemens[:half].sum(0), siemens[half:].sum(0))
            parts.append(held.ravel() / core.info.device.g_max_siemens)
        return np.concatenate(parts)


def program_cells(
    cores: tuple[SimCore, ...],
    relative: Array,
    algorithm: ProgrammingAlgorithm[Any],
    rng: np.random.Generator,
) -> HeldCells:
    """Program magnitudes drawn from `relative` to every cell, all equally likely; random signs."""
    jobs, wanted, positive = [], [], []
    for core in cores:
        info = core.info
        size = rng.choice(relative, (info.rows, info.cols))
        sign = rng.choice([-1.0, 1.0], size.shape)
        target = size * sign * info.device.g_max_siemens
        jobs.append(ProgrammingJob(core=core, window=whole(info), target_siemens=target))
        wanted.append(size.ravel())
        positive.append(sign > 0)
    results = run_programming(algorithm, jobs, seed=int(rng.integers(2**31)))
    usable = [
        (result.done & ~_stuck(core).any(0)).ravel()
        for core, result in zip(cores, results, strict=True)
    ]
    return HeldCells(
        cores=cores,
        wanted=np.concatenate(wanted),
        usable=np.concatenate(usable),
        _positive=tuple(positive),
    )


def _stuck(core: SimCore) -> npt.NDArray[np.bool_]:
    assert isinstance(core.array, PhysicalArray)  # noqa: S101
    stuck: torch.Tensor = core.array.pcm.stuck
    return np.asarray(stuck.cpu().numpy())
