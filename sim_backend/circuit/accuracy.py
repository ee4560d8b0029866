"""How far the rapid solver is from the exact one, over ordinary and hostile inputs. Prints nothing.

Full scale is the largest charge that the exact solver finds in the same case, so that an error of
a case of small charges is not measured against another's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sim_backend.circuit.exact import ExactSolver
from sim_backend.circuit.magnitudes import random_case
from sim_backend.circuit.network import Drive, IdleDevices, tile_network
from sim_backend.circuit.rapid import RapidSolver

__all__ = ["RapidError", "hostile_loads", "hostile_widths", "rapid_errors"]

SLOTS = 127
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RapidError:
    """Errors of one case, over all of its cols and vectors, relative to full scale.

    Attributes:
        loads, widths: Which conductances and which inputs.
        drop: Largest difference between the exact solution and ideal wires.
        median, p99, worst: Of the rapid solver's error.
    """

    loads: str
    widths: str
    drop: float
    median: float
    p99: float
    worst: float


def rapid_errors(
    rows: int,
    g_max_siemens: float,
    ohm_per_cell: float,
    *,
    solver: RapidSolver | None = None,
    cols: int = 8,
    vectors: int = 8,
    seed: int = 0,
) -> tuple[RapidError, ...]:
    """Compare on every pair of conductances and inputs, idle devices disconnected."""
    rapid = solver or RapidSolver()
    inputs = hostile_widths(rows, vectors, seed)
    sizes = [len(each) for each in inputs.values()]
    every = torch.cat(list(inputs.values()))
    found = []
    for name, (plus, minus) in hostile_loads(rows, cols, g_max_siemens, seed).items():
        charges = []
        for ohm, way in ((ohm_per_cell, ExactSolver()), (ohm_per_cell, rapid), (0.0, rapid)):
            network = tile_network(
                plus,
                minus,
                ohm_per_cell=ohm,
                drive=Drive(adc_volt=0.4),
                idle=IdleDevices.DISCONNECTED,
            )
            charges.append(torch.split(way.prepare(network).charge(every, SLOTS).double(), sizes))
        for kind, exact, ours, ideal in zip(inputs, *charges, strict=True):
            full = exact.abs().max()
            error = (ours - exact).abs().flatten() / full
            found.append(
                RapidError(
                    loads=name,
                    widths=kind,
                    drop=float((ideal - exact).abs().max() / full),
                    median=float(error.median()),
                    p99=float(error.quantile(0.99)),
                    worst=float(error.max()),
                )
            )
    return tuple(found)


def hostile_loads(
    rows: int, cols: int, g_max_siemens: float, seed: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Adding and subtracting devices, S: Gaussian, with stuck rows, and all at g_max."""
    rng = np.random.default_rng(seed)
    weights, _ = random_case(rows, cols, 1, seed)
    w = weights * g_max_siemens
    full = torch.full_like(w, g_max_siemens)
    stuck = torch.from_numpy(rng.random((rows, 1)) < 0.05)
    adds = torch.from_numpy(rng.random((rows, cols)) < 0.5)
    return {
        "gaussian": (w.clamp(min=0), (-w).clamp(min=0)),
        "gaussian, 5 % of rows stuck": (torch.where(stuck, full, w.clamp(min=0)), -w.clamp(max=0)),
        "all g_max, one sign": (full, 0 * full),
        "all g_max, random signs": (full * adds, full * ~adds),
    }


def hostile_widths(rows: int, vectors: int, seed: int) -> dict[str, Tensor]:
    """Signed pulse widths, slots: random ones, and patterns that no average over rows describes."""
    rng = np.random.default_rng(seed)
    at = np.arange(rows)
    signed = rng.integers(-SLOTS, SLOTS + 1, (vectors, rows))

    def levels(near: int, far: int, share: float = 0.5) -> npt.NDArray[np.int64]:
        return np.where(at < share * rows, far, near)[None]

    made: dict[str, npt.NDArray[np.generic]] = {
        "dense": signed,
        "half zero": signed * (rng.random((vectors, rows)) < 0.5),
        "rectified": np.abs(signed) * (rng.random((vectors, rows)) < 0.5),
        "90 % zero": signed * (rng.random((vectors, rows)) < 0.1),
        "one bit": np.where(rng.random((vectors, rows)) < 0.5, SLOTS, 0),
        "all on": levels(SLOTS, SLOTS),
        "first half on": levels(0, SLOTS),
        "last half on": levels(SLOTS, 0),
        "first eighth on": levels(0, SLOTS, 0.125),
        "every other on": np.where(at % 2 == 0, SLOTS, 0)[None],
        "first half ends early": levels(100, 40),
        "last half ends early": levels(40, 100),
        "first half dense": signed * (at < rows / 2),
        "one on": np.where(at == rng.integers(rows, size=(vectors, 1)), SLOTS, 0),
        "mixed blocks": np.stack([_mixed(rows, rng) for _ in range(4 * vectors)]),
    }
    return {name: torch.from_numpy(each.astype(np.float64)) for name, each in made.items()}


def _mixed(rows: int, rng: np.random.Generator) -> Array:
    """One to five blocks of rows, each with a distribution of its own."""
    edges = np.concatenate([[0], np.sort(rng.integers(0, rows + 1, rng.integers(0, 5))), [rows]])
    out = np.zeros(rows)
    for start, stop in pairwise(edges):
        count = stop - start
        low, high = np.sort(rng.integers(0, SLOTS + 1, 2))
        kinds: tuple[Array, ...] = (
            np.full(count, float(high)),
            rng.integers(low, high + 1, count).astype(float),
            np.zeros(count),
            np.where(rng.random(count) < 0.5, float(high), float(low)),
            rng.integers(0, SLOTS + 1, count) * (rng.random(count) < rng.random()),
        )
        out[start:stop] = kinds[rng.integers(len(kinds))]
    signs: Array = rng.choice([-1.0, 1.0], rows) if rng.random() < 0.5 else np.ones(rows)
    return out * signs
