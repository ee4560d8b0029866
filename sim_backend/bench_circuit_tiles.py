"""Tiles that the benchmark of the circuit times, and how a call's time grows with their size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hil.bench.circuit import CircuitScaling
from hil.progress import Task
from sim_backend.circuit.magnitudes import random_case
from sim_backend.circuit.network import Drive, IdleDevices, LineNetwork, tile_network
from sim_backend.circuit.options import SolverName

__all__ = ["AXES", "CASES", "BenchTile", "draw_scaling", "measure_scaling", "seconds_of"]

G_MAX_MICROSIEMENS = 25.0
OHM = 0.15
SLOTS = 127
EXACT_VECTORS = 4
"""Vectors of the exact solver's batch: it takes a good part of a second for each."""
CASES = (
    (SolverName.LINEAR, IdleDevices.CLAMPED),
    (SolverName.RAPID, IdleDevices.CLAMPED),
    (SolverName.RAPID, IdleDevices.DISCONNECTED),
    (SolverName.EXACT, IdleDevices.CLAMPED),
    (SolverName.EXACT, IdleDevices.DISCONNECTED),
)

AXES = {
    "rows": (128, 256, 512, 1024),
    "cols": (128, 256, 512, 1024),
    "batch": (64, 128, 256, 512),
    "slots": (15, 31, 63, 127, 255),
}
"""Sizes of one axis while the others stay at `STILL`."""
STILL = {"rows": 256, "cols": 256, "batch": 128, "slots": SLOTS}
EXACT_STILL = {"rows": 256, "cols": 256, "batch": 4, "slots": SLOTS}
EXACT_BATCHES = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class BenchTile:
    """Weights and inputs on the device that computes."""

    weights: Float[Tensor, "rows cols"]
    widths: Float[Tensor, "batch rows"]
    slots: int = SLOTS

    @staticmethod
    def of(
        rows: int, cols: int, batch: int, seed: int, *, slots: int = SLOTS, device: str = "cpu"
    ) -> BenchTile:
        """Draw one, its largest weight 1; windows of other lengths hold the same shares of on."""
        weights, widths = random_case(rows, cols, batch, seed)
        widths = (widths * (slots / SLOTS)).round()
        weights = weights / weights.abs().max()
        return BenchTile(weights=weights.to(device), widths=widths.to(device), slots=slots)

    def network(self, idle: IdleDevices) -> LineNetwork:
        """Return its bit lines."""
        g = self.weights * (G_MAX_MICROSIEMENS * 1e-6)
        return tile_network(
            g.clamp(min=0),
            (-g).clamp(min=0),
            ohm_per_cell=OHM,
            drive=Drive(adc_volt=0.4),
            idle=idle,
        )

    def exact(self, idle: IdleDevices) -> Float[Tensor, "few cols"]:
        """Return the exact charges of its first vectors, C."""
        few = self.widths[:EXACT_VECTORS]
        return SolverName.EXACT.make().prepare(self.network(idle)).charge(few, self.slots)


def measure_scaling(seed: int, compute: str, task: Task) -> tuple[CircuitScaling, ...]:
    """Time every solver against every size; the fastest of five calls, of one where it is slow."""
    found = []
    for axis, sizes in AXES.items():
        task.say(f"scaling of {axis}")
        for name, idle in CASES:
            if (name, idle) == (SolverName.RAPID, IdleDevices.CLAMPED):
                continue  # it is the linear solver
            slow = name is SolverName.EXACT
            still = EXACT_STILL if slow else STILL
            chosen = EXACT_BATCHES if slow and axis == "batch" else sizes
            seconds = []
            for size in chosen:
                shape = {**still, axis: size}
                tile = BenchTile.of(
                    shape["rows"],
                    shape["cols"],
                    shape["batch"],
                    seed,
                    slots=shape["slots"],
                    device=compute,
                )
                prepared = name.make().prepare(tile.network(idle))
                widths = tile.widths if slow else tile.widths.float()
                call = partial(prepared.charge, widths, tile.slots)
                call()
                seconds.append(min(seconds_of(call) for _ in range(1 if slow else 5)))
            slope = np.polyfit(np.log(chosen), np.log(seconds), 1)[0]
            found.append(
                CircuitScaling(
                    solver=name,
                    idle=idle,
                    axis=axis,
                    sizes=tuple(chosen),
                    seconds=tuple(seconds),
                    exponent=float(slope),
                )
            )
        task.advance()
    return tuple(found)


def draw_scaling(scaling: tuple[CircuitScaling, ...], path: Path) -> None:
    """Draw time against each size, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, axis in zip(figure.subplots(1, len(AXES)), AXES, strict=True):
        drawn = [s for s in scaling if s.axis == axis]
        for each in drawn:
            label = f"{each.solver}, {each.idle}: {each.exponent:.2f}"
            axes.loglog(each.sizes, each.seconds, marker="o", markersize=3, label=label)
        sizes = sorted({size for each in drawn for size in each.sizes})
        axes.set_xticks(sizes, [str(size) for size in sizes], rotation=60, fontsize=7)
        axes.set_xticks([], minor=True)
        axes.set_xlabel(axis)
        if drawn:
            place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
            axes.legend(fontsize=7, title="slope", title_fontsize=7, frameon=False, **place)
    figure.axes[0].set_ylabel("time of a call, s")
    figure.savefig(path, dpi=150)


def seconds_of(work: Callable[[], object]) -> float:
    """Time a call, s, until an accelerator has done it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
