"""Time the exact static net against a plain sparse solution, badcrossbar and ngspice, in one run.

All of them solve the same net. Ours and the sparse solution are timed in turn, on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from hil.bench.machine import Machine, torch_threads
from hil.bench.nets import NetPeer, NetsBench, NetTiming
from hil.errors import RequestError
from hil.progress import Progress, Silent
from sim_backend import bench_badcrossbar
from sim_backend.circuit import NetWires, effective_net
from sim_backend.circuit.spice import spice_currents
from sim_backend.circuit.spice_netlist import RestInput
from sim_backend.circuit.spice_run import SpiceError, ngspice_path

__all__ = ["bench_nets"]

Array = npt.NDArray[np.float64]
T = TypeVar("T")

OHM = 1.0  # per segment, as in the peers' own comparisons
WINDOW_SIEMENS = (0.25e-6, 25e-6)  # S, the same
SWING_VOLT = 0.2  # V
PEER_VECTORS = 100
"""Vectors of a peer's batch: badcrossbar takes as long per vector for 1000, twice that for 10."""
PRODUCTS = 5  # of our matrix and a batch, per repeat: each takes milliseconds
PEER_REPEATS = 2  # of badcrossbar, which takes seconds
PEER_TIMEOUT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class _Problem:
    siemens: Array
    volt: Array  # (vectors, rows)

    @property
    def few(self) -> Array:
        return self.volt[:PEER_VECTORS]


def bench_nets(
    *,
    sizes: tuple[int, ...] = (64, 128, 256),
    batch: int = 1000,
    repeats: int = 5,
    ngspice_sizes: tuple[int, ...] = (64,),
    peer_python: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> NetsBench:
    """Time square nets of `sizes` cells a side.

    Args:
        sizes: Rows, and cols, of each net.
        batch: Vectors of our batch.
        repeats: Timed repeats of ours and of the sparse solution; badcrossbar has 2 at most.
        ngspice_sizes: Sizes that ngspice solves too: 64 takes seconds, 128 minutes.
        peer_python: Python that has badcrossbar; None: this one, if it has it.
        seed: Of conductances and inputs.
        progress: Where to say how far it is.

    Raises:
        RequestError: A size, batch or number of repeats makes no measurement, or `peer_python`
            has no badcrossbar.
    """
    if min(*sizes, batch, repeats) < 1:
        raise RequestError(f"sizes {sizes}, batch {batch} and repeats {repeats} must be 1 or more")
    absent = []
    python = peer_python or (sys.executable if find_spec("badcrossbar") else None)
    if python is None:
        absent.append("badcrossbar: not installed here; give a Python that has it (--peer-python)")
    if ngspice_path() is None:
        absent.append("ngspice: not installed")
    timings = []
    with torch_threads(1), (progress or Silent()).task("timing nets", len(sizes)) as task:
        for size in sizes:
            task.say(f"{size} x {size}")
            problem = _problem(size, batch, seed)
            wanted = size in ngspice_sizes and ngspice_path() is not None
            timings.append(_timing(problem, repeats, python, with_ngspice=wanted))
            task.advance()
    return NetsBench(
        batch=batch,
        repeats=repeats,
        sizes=tuple(timings),
        absent=tuple(absent),
        machine=Machine.here(),
    )


def _problem(size: int, batch: int, seed: int) -> _Problem:
    rng = np.random.default_rng([seed, size])
    return _Problem(
        siemens=rng.uniform(*WINDOW_SIEMENS, (size, size)),
        volt=rng.uniform(0.0, SWING_VOLT, (max(batch, PEER_VECTORS), size)),
    )


def _timing(
    problem: _Problem, repeats: int, python: str | None, *, with_ngspice: bool
) -> NetTiming:
    siemens, volt = torch.from_numpy(problem.siemens), torch.from_numpy(problem.volt)[:, None]
    wires = NetWires.uniform(OHM)
    first, vector, sparse_first, sparse_vector = [], [], [], []
    effective_net(siemens, wires)  # plans the joins, once per size and process
    plain, expected = np.empty(0), np.empty(0)
    for _ in range(repeats):
        seconds, net = _timed(lambda: effective_net(siemens, wires))
        first.append(seconds)
        for _ in range(PRODUCTS):
            seconds, out = _timed(partial(net.currents, volt))
            vector.append(seconds / len(volt))
            expected = out.numpy()
        seconds, solver = _timed(lambda: _Sparse(problem.siemens))
        matrix_s, matrix = _timed(solver.transfer)
        sparse_first.append(seconds + matrix_s)
        seconds, _ = _timed(partial(solver.currents, problem.few))
        sparse_vector.append(seconds / len(problem.few))
        plain = problem.volt @ matrix
    ours = median(first), median(vector)
    scipy = (median(sparse_first), median(sparse_vector))
    peers = [_peer("scipy SuperLU", scipy, len(problem.few), _apart(plain, expected), ours)]
    if python is not None:
        peers.append(_badcrossbar(problem, min(PEER_REPEATS, repeats), python, expected, ours))
    if with_ngspice:
        peers.append(_ngspice(problem, wires, expected, ours))
    rows, cols = problem.siemens.shape
    return NetTiming(
        rows=rows, cols=cols, first_s=ours[0], per_vector_s=ours[1], peers=tuple(peers)
    )


class _Sparse:
    """The nodal matrix, factored by SuperLU with a symmetric ordering."""

    def __init__(self, siemens: Array) -> None:
        rows, cols = siemens.shape
        self._shape = rows, cols
        word = np.arange(rows * cols).reshape(rows, cols)
        bit = word + rows * cols
        ends = [
            (word[:, :-1], word[:, 1:], np.full((rows, cols - 1), 1.0 / OHM)),
            (bit[:-1], bit[1:], np.full((rows - 1, cols), 1.0 / OHM)),
            (word, bit, siemens),
        ]
        one = np.concatenate([a.ravel() for a, _, _ in ends])
        other = np.concatenate([b.ravel() for _, b, _ in ends])
        value = np.concatenate([v.ravel() for _, _, v in ends])
        nodes = 2 * rows * cols
        half = sparse.coo_matrix((value, (one, other)), shape=(nodes, nodes)).tocsc()
        joined = half + half.T
        diagonal = np.asarray(joined.sum(0)).ravel()
        diagonal[word[:, 0]] += 1.0 / OHM
        diagonal[bit[-1]] += 1.0 / OHM
        matrix = (sparse.diags_array(diagonal) - joined).tocsc()
        self._factor = splu(
            matrix,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def transfer(self) -> Array:
        """Return the effective matrix, (rows, cols), S: a solution of the adjoint per col."""
        rows, cols = self._shape
        right = np.zeros((2 * rows * cols, cols))
        right[(2 * rows - 1) * cols + np.arange(cols), np.arange(cols)] = 1.0 / OHM
        return np.asarray(self._factor.solve(right)[np.arange(rows) * cols] / OHM)

    def currents(self, volt: Array) -> Array:
        """Return outputs, (vectors, cols), A: a solution per vector."""
        rows, cols = self._shape
        right = np.zeros((2 * rows * cols, len(volt)))
        right[np.arange(rows) * cols] = volt.T / OHM
        return np.asarray(self._factor.solve(right)[(2 * rows - 1) * cols :].T / OHM)


def _badcrossbar(
    problem: _Problem, repeats: int, python: str, expected: Array, ours: tuple[float, float]
) -> NetPeer:
    with tempfile.TemporaryDirectory(prefix="crossbar-") as name:
        given, answered = Path(name, "problem.npz"), Path(name, "result.npz")
        np.savez(given, siemens=problem.siemens, volt=problem.few.T, ohm=OHM, repeats=repeats)
        script = str(Path(bench_badcrossbar.__file__))
        command = [python, "-P", script, str(given), str(answered)]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=PEER_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RequestError(f"badcrossbar did not run in {python}: {error}") from error
        if done.returncode != 0 or not answered.is_file():
            raise RequestError(
                f"badcrossbar failed in {python}: {done.stderr.strip()[-300:]}; give a Python that "
                "has it (--peer-python)"
            )
        with np.load(answered) as result:
            seconds, ampere = float(np.median(result["seconds"])), result["ampere"]
    vectors = len(problem.few)
    apart = _apart(ampere, expected[:vectors])
    return _peer("badcrossbar", (None, seconds / vectors), vectors, apart, ours)


def _ngspice(
    problem: _Problem, wires: NetWires, expected: Array, ours: tuple[float, float]
) -> NetPeer:
    net = RestInput(
        device_siemens=problem.siemens[None], wires=wires, drive_volt=problem.volt[:1, None]
    )
    try:
        seconds, ampere = _timed(lambda: spice_currents(net, timeout_s=PEER_TIMEOUT_S))
    except SpiceError as error:
        raise RequestError(f"{error}; leave ngspice out, or take a smaller size") from error
    return _peer("ngspice", (None, seconds), 1, _apart(ampere, expected[:1]), ours)


def _peer(
    name: str,
    seconds: tuple[float | None, float],
    vectors: int,
    disagreement: float,
    ours: tuple[float, float],
) -> NetPeer:
    first, vector = seconds
    return NetPeer(
        name=name,
        first_s=first,
        per_vector_s=vector,
        vectors=vectors,
        disagreement=disagreement,
        first_ratio=None if first is None else first / ours[0],
        per_vector_ratio=vector / ours[1],
    )


def _apart(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found
