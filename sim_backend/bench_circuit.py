"""Time the solvers of the tile circuit beside a plain product and another program's tile.

All solve the same tile: Gaussian weights on 25 uS devices, 0.15 ohm per cell, ADC node at the idle
potential, inputs of 7 bits and sign of which half are zero. Each repeat times a solver and the
plain product in turn, so that a busy machine slows both. Errors are against the exact solution.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from hil.bench.circuit import (
    CircuitBench,
    CircuitError,
    CircuitTiming,
    TilePeer,
)
from hil.bench.machine import Machine, torch_threads
from hil.bench.memory import peak_increase
from hil.errors import RequestError
from hil.progress import Progress, Silent, Task
from sim_backend import bench_aihwkit_tile
from sim_backend.bench_circuit_tiles import (
    AXES,
    CASES,
    EXACT_VECTORS,
    G_MAX_MICROSIEMENS,
    OHM,
    BenchTile,
    draw_scaling,
    measure_scaling,
    seconds_of,
)
from sim_backend.circuit.accuracy import RapidError, rapid_errors
from sim_backend.circuit.network import Drive, IdleDevices
from sim_backend.circuit.options import SolverName

__all__ = ["bench_circuit"]

PEER_REPEATS = 3
PEER_SEGMENTS = 8  # its default
PEER_TIMEOUT_S = 1800.0
ACCURACY = tuple(
    (rows, g, ohm)
    for rows in (256, 512, 1008)
    for g, ohm in ((25e-6, 0.15), (25e-6, 0.35), (5e-6, 0.35))
)
"""Rows, S and ohm of the tiles on which rapid and exact are compared over all patterns."""
ORDINARY = ("dense", "half zero", "rectified", "90 % zero")


def bench_circuit(
    *,
    rows: int = 512,
    cols: int = 512,
    batch: int = 1024,
    repeats: int = 5,
    peer_python: str | None = None,
    peer_vectors: int = 4,
    with_errors: bool = True,
    with_scaling: bool = True,
    compute: str = "cpu",
    plot: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CircuitBench:
    """Time one tile, compare it with the exact solution, and scale it.

    Args:
        rows, cols: Size of the tile; the peer needs rows that are a multiple of 8.
        batch: Vectors of a batch of the linear and the rapid solver.
        repeats: Timed repeats; the exact solver has one.
        peer_python: Python that has aihwkit; None: this one, if it has it.
        peer_vectors: Vectors of the peer's batch: it needs some 0.1 GB for each.
        with_errors: Compare rapid and exact over patterns and tiles: a minute.
        with_scaling: Time against rows, cols, batch and slots: a minute.
        compute: cpu or cuda.
        plot: Where to draw the scaling, a PNG file.
        seed: Of weights and inputs.
        progress: Where to say how far it is.

    Raises:
        RequestError: A size makes no measurement, there is no such device, or `peer_python` has no
            aihwkit.
    """
    if min(rows, cols, batch, repeats, peer_vectors) < 1:
        raise RequestError("rows, cols, batch, repeats and peer vectors must be 1 or more")
    if compute != "cpu" and not torch.cuda.is_available():
        raise RequestError(f"compute={compute}, but torch sees no CUDA device; use cpu")
    tile = BenchTile.of(rows, cols, batch, seed, device=compute)
    parts = len(CASES) + 1 + with_errors * len(ACCURACY) + with_scaling * len(AXES)
    with torch_threads(1), (progress or Silent()).task("timing the tile circuit", parts) as task:
        exact = {idle: tile.exact(idle) for idle in IdleDevices}
        timings = tuple(_timing(tile, case, exact[case[1]], repeats, task) for case in CASES)
        plain = _plain(tile, repeats)
        task.say("peers")
        peers, absent = _peers(tile, exact[IdleDevices.CLAMPED], timings, peer_python, peer_vectors)
        task.advance()
        errors = tuple(_errors(*each, task) for each in ACCURACY) if with_errors else ()
        scaling = measure_scaling(seed, compute, task) if with_scaling else ()
    if plot is not None and scaling:
        draw_scaling(scaling, plot)
    return CircuitBench(
        rows=rows,
        cols=cols,
        compute=compute,
        repeats=repeats,
        matmul_per_vector_s=plain,
        timings=timings,
        peers=peers,
        errors=errors,
        scaling=scaling,
        absent=absent,
        machine=Machine.here(),
    )


def _timing(
    tile: BenchTile,
    case: tuple[SolverName, IdleDevices],
    exact: Tensor,
    repeats: int,
    task: Task,
) -> CircuitTiming:
    name, idle = case
    task.say(f"{name}, {idle}")
    slow = name is SolverName.EXACT
    solver, network = name.make(), tile.network(idle)
    prepare_s = seconds_of(lambda: solver.prepare(network))
    prepared = solver.prepare(network)
    double = tile.widths[:EXACT_VECTORS] if slow else tile.widths
    widths = double if slow else double.float()
    plain, weights = tile.widths.float(), tile.weights.float()
    call = partial(prepared.charge, widths, tile.slots)
    _, peak = peak_increase(call)
    ours, ratios = [], []
    for _ in range(1 if slow else repeats):
        ours.append(seconds_of(call) / len(widths))
        ratios.append(ours[-1] / (seconds_of(lambda: plain @ weights) / len(plain)))
    few = prepared.charge(widths[:EXACT_VECTORS], tile.slots).double()
    task.advance()
    return CircuitTiming(
        solver=name,
        idle=idle,
        batch=len(widths),
        prepare_s=prepare_s,
        per_vector_s=median(ours),
        matmul_ratio=median(ratios),
        peak_bytes=peak if tile.widths.device.type == "cpu" else None,
        worst_error=float((few - exact).abs().max() / exact.abs().max()),
    )


def _plain(tile: BenchTile, repeats: int) -> float:
    x, w = tile.widths.float(), tile.weights.float()
    return median(seconds_of(lambda: x @ w) for _ in range(repeats + 1)) / len(x)


def _peers(
    tile: BenchTile,
    exact: Tensor,
    timings: tuple[CircuitTiming, ...],
    peer_python: str | None,
    vectors: int,
) -> tuple[tuple[TilePeer, ...], tuple[str, ...]]:
    python = peer_python or (sys.executable if find_spec("aihwkit") else None)
    if python is None:
        return (), ("aihwkit: not installed here; give a Python that has it (--peer-python)",)
    found, absent = [], []
    for extension in (False, True):
        peer = _peer(tile, exact, timings, python, vectors, extension=extension)
        if isinstance(peer, str):
            absent.append(peer)
        else:
            found.append(peer)
    if not found:
        raise RequestError(f"{python} did not run aihwkit's tile: {absent[0]}")
    return tuple(found), tuple(absent)


def _peer(
    tile: BenchTile,
    exact: Tensor,
    timings: tuple[CircuitTiming, ...],
    python: str,
    vectors: int,
    *,
    extension: bool,
) -> TilePeer | str:
    """The peer's figures, or why there are none."""
    with tempfile.TemporaryDirectory() as name:
        problem, result = Path(name) / "problem.npz", Path(name) / "result.npz"
        widths = tile.widths[:vectors].cpu().numpy()
        np.savez(
            problem,
            weights=tile.weights.cpu().numpy(),
            codes=widths,
            ohm=OHM,
            g_max_microsiemens=G_MAX_MICROSIEMENS,
            segments=PEER_SEGMENTS,
            extension=extension,
            repeats=PEER_REPEATS,
        )
        script = str(bench_aihwkit_tile.__file__)
        try:
            done = subprocess.run(
                [python, "-I", script, str(problem), str(result)],
                capture_output=True,
                text=True,
                timeout=PEER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"aihwkit: {error}"
        if done.returncode:
            return f"aihwkit: {done.stderr.strip().splitlines()[-1:] or ['no word of why']}"
        with np.load(result) as answer:
            seconds = float(np.median(answer["seconds"])) / vectors
            outputs, peak = torch.from_numpy(answer["outputs"]), int(answer["peak_bytes"])
            label = str(answer["name"])
    scale = G_MAX_MICROSIEMENS * 1e-6 * 0.2 * Drive().slot_s
    both = min(vectors, EXACT_VECTORS)
    reference = exact[:both].cpu() / scale
    apart = (outputs[:both].double() - reference).abs().max() / reference.abs().max()
    return TilePeer(
        name=label,
        vectors=vectors,
        per_vector_s=seconds,
        peak_bytes=peak,
        worst_error=float(apart),
        ratios={f"{t.solver}, {t.idle}": seconds / t.per_vector_s for t in timings},
    )


def _errors(rows: int, g_max_siemens: float, ohm: float, task: Task) -> CircuitError:
    task.say(f"{rows} rows, {g_max_siemens * 1e6:g} uS, {ohm} ohm")
    found = rapid_errors(rows, g_max_siemens, ohm)
    ordinary = [e for e in found if e.loads == "gaussian" and e.widths in ORDINARY]

    def worst(errors: list[RapidError]) -> RapidError:
        return max(errors, key=lambda error: error.worst)

    last = worst(list(found))
    task.advance()
    return CircuitError(
        rows=rows,
        g_max_siemens=g_max_siemens,
        ohm_per_cell=ohm,
        ordinary_median=median(e.median for e in ordinary),
        ordinary_worst=worst(ordinary).worst,
        worst=last.worst,
        worst_case=f"{last.loads}; {last.widths}",
        worst_drop=last.drop,
    )
