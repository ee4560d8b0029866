"""Time an MVM through a core against a plain torch product of the same size, in the same run.

The core does all it ever does: checks, input conversion, two products (signal and read-noise
variance), a draw per output, converters, saturation flags. The yardstick is x @ W in float32.
Both are timed in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from hil.bench.machine import Machine, torch_threads
from hil.core import MvmRequest
from hil.errors import RequestError
from hil.info import BackendKind
from hil.measure import choose_output_range, measure_mvm, whole
from hil.owned_chip import open_owned
from hil.programming import OpenLoop, ProgrammingJob, run_programming
from hil.progress import Progress, Silent
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Core

__all__ = ["DEFAULT_MVM_ADDRESS", "MvmBench", "MvmTiming", "bench_mvm"]

DEFAULT_MVM_ADDRESS = "sim:pcm90?seed=1"
BATCHES = (1, 128, 1024)
REPEATS = 60
LEAST_REPEATS = 30
WARM_UP = 5
AGE_S = 86_400.0
"""Age of the array, s: so old that no repeat finds it drifted, which would be a pulse's cost."""


class MvmTiming(BaseModel):
    """One batch size on one number of threads; medians over the repeats, in s.

    Attributes:
        core_s, matmul_s: Time of `Core.mvm`, of x @ W.
        ratio: core_s / matmul_s.
        ratio_quartiles: Lower and upper quartile of the ratio, repeat by repeat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    threads: int
    core_s: float
    matmul_s: float
    ratio: float
    ratio_quartiles: tuple[float, float]


class MvmBench(BaseModel):
    """Times of one core.

    Attributes:
        first_s: Time of the first MVM of 128 vectors after a pulse or after ageing, when
            conductances, wires and noise are computed anew, s.
        timings: A row per number of threads and batch size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    address: str
    chip_serial: str
    backend: BackendKind
    model: str
    rows: int
    cols: int
    repeats: int
    first_s: float
    timings: tuple[MvmTiming, ...]
    machine: Machine

    def worst_ratio(self, least_batch: int) -> float:
        """Return the largest ratio at batches of `least_batch` or more."""
        ratios = [t.ratio for t in self.timings if t.batch >= least_batch]
        if not ratios:
            raise RequestError(f"no batch of {least_batch} or more was timed")
        return max(ratios)


def bench_mvm(
    address: str = DEFAULT_MVM_ADDRESS,
    *,
    batches: tuple[int, ...] = BATCHES,
    repeats: int = REPEATS,
    seed: int = 0,
    progress: Progress | None = None,
) -> MvmBench:
    """Time MVMs of the first core at `address`, on one thread and on torch's default threads.

    Raises:
        RequestError: Too few repeats, or a batch the core does not take.
    """
    if repeats < LEAST_REPEATS:
        raise RequestError(f"repeats {repeats} is below {LEAST_REPEATS}: a median needs them")
    machine = Machine.here()
    threads = sorted({1, machine.torch_threads})
    with (
        open_owned(address) as chip,
        (progress or Silent()).task("timing MVMs", len(threads) * len(batches)) as task,
    ):
        core = chip.cores[0]
        for batch in batches:
            if not 1 <= batch <= core.info.max_batch:
                raise RequestError(f"batch {batch} is outside 1...{core.info.max_batch}")
        rng = np.random.default_rng(seed)
        _write(core, rng)
        first_s = _first(core, rng)
        timings = []
        for count in threads:
            for batch in batches:
                task.say(f"batch {batch}, {count} thread(s)")
                with torch_threads(count):
                    timings.append(_timing(core, batch, repeats, count, rng))
                task.advance()
        return MvmBench(
            address=address,
            chip_serial=chip.serial,
            backend=chip.backend,
            model=chip.info.model,
            rows=core.info.rows,
            cols=core.info.cols,
            repeats=repeats,
            first_s=first_s,
            timings=tuple(timings),
            machine=machine,
        )


def _write(core: Core, rng: np.random.Generator) -> None:
    """Fill the array with a Gaussian matrix and let it age; choose a fitting output range."""
    info = core.info
    weights = np.clip(rng.standard_normal((info.rows, info.cols)), -2.5, 2.5) / 2.5
    target = weights * info.device.g_max_siemens
    job = ProgrammingJob(core=core, window=whole(info), target_siemens=target)
    run_programming(OpenLoop(), [job], seed=0)
    core.wait(AGE_S)
    codes = random_inputs(InputKind.GAUSSIAN, 64, info.rows, info.input, rng)
    measure_mvm(core, codes, output_range=choose_output_range(info, target, codes))


def _first(core: Core, rng: np.random.Generator) -> float:
    batch = min(128, core.info.max_batch)
    codes = random_inputs(InputKind.GAUSSIAN, batch, core.info.rows, core.info.input, rng)
    core.wait(AGE_S)
    return _seconds(lambda: core.mvm(MvmRequest(input_codes=codes)))


def _timing(
    core: Core, batch: int, repeats: int, threads: int, rng: np.random.Generator
) -> MvmTiming:
    info = core.info
    codes = random_inputs(InputKind.GAUSSIAN, batch, info.rows, info.input, rng)
    request = MvmRequest(input_codes=codes)
    x = torch.from_numpy(codes.astype(np.float32))
    w = torch.from_numpy(rng.standard_normal((info.rows, info.cols)).astype(np.float32))
    core_s, matmul_s = [], []
    for repeat in range(WARM_UP + repeats):
        ours, plain = _seconds(lambda: core.mvm(request)), _seconds(lambda: x @ w)
        if repeat >= WARM_UP:
            core_s.append(ours)
            matmul_s.append(plain)
    low, high = np.quantile(np.array(core_s) / np.array(matmul_s), [0.25, 0.75])
    return MvmTiming(
        batch=batch,
        threads=threads,
        core_s=median(core_s),
        matmul_s=median(matmul_s),
        ratio=median(core_s) / median(matmul_s),
        ratio_quartiles=(float(low), float(high)),
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
