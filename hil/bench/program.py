"""Time the programming of one core, and show what more iterations would have brought."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from hil.bench.machine import Machine
from hil.errors import RequestError
from hil.info import BackendKind
from hil.matrix import calibrate_converters
from hil.measure import choose_output_range, exact_output, measure_mvm, whole
from hil.metrics import fit_affine, mvm_error
from hil.owned_chip import open_owned
from hil.programming import ProgrammingJob, algorithm, run_programming
from hil.progress import Progress, Silent
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Core

__all__ = ["DEFAULT_PROGRAM_ADDRESS", "ProgramBench", "ProgramRun", "bench_program"]

DEFAULT_PROGRAM_ADDRESS = "sim:hermes?devices=1&seed=1"
FACTORS = (0.5, 1.0, 2.0)
"""Iteration limits tried, in units of the method's own."""
TOLERANCE = 0.02
"""An error counts as grown if it is larger by more than this share: read noise alone moves it."""
VECTORS = 2048
"""Vectors of the affine fit, and of the test."""


class ProgramRun(BaseModel):
    """One run under an iteration limit.

    Attributes:
        max_iterations, iterations: Limit, and iterations taken.
        cpu_s, wall_s: Time of `run_programming` in this process, s.
        chip_s: Device time, s.
        mvm_error_affine: At the reference age, on inputs of its own, after an affine fit.
        errors: The method's own error estimate, iteration by iteration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_iterations: int
    iterations: int
    cpu_s: float
    wall_s: float
    chip_s: float
    mvm_error: float
    mvm_error_affine: float
    errors: tuple[float, ...]
    pulses_per_device: float
    reads: int
    mvms: int
    success_share: float
    outcome: str


class ProgramBench(BaseModel):
    """Runs on equal chips that differ in their iteration limit alone.

    Attributes:
        grows: An error is larger than one at a lower limit by more than 2 %.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    address: str
    chip_serial: str
    backend: BackendKind
    model: str
    method: str
    rows: int
    cols: int
    devices_per_polarity: int
    runs: tuple[ProgramRun, ...]
    grows: bool
    machine: Machine

    def at_default(self) -> ProgramRun:
        """Return the run under the method's own limit."""
        return self.runs[FACTORS.index(1.0)]


def bench_program(
    address: str = DEFAULT_PROGRAM_ADDRESS,
    *,
    method: str = "gdp",
    seed: int = 0,
    progress: Progress | None = None,
) -> ProgramBench:
    """Program the whole first core with Gaussian weights, under three iteration limits.

    A simulated chip is opened anew for each, so that the runs differ in nothing else.

    Raises:
        RequestError: The method is unknown, or the core lacks what it needs.
    """
    usual = algorithm(method).max_iterations
    if usual < 2:
        raise RequestError(f"method {method} does not iterate; give gdp or verify")
    with open_owned(address) as chip:
        chip_info, info = chip.info, chip.cores[0].info
    runs = []
    with (progress or Silent()).task(f"programming by {method}", len(FACTORS)) as task:
        for factor in FACTORS:
            limit = round(factor * usual)
            task.say(f"at most {limit} iterations")
            # one thread: threads that spin while they wait would count as CPU time
            with open_owned(address) as chip, threadpool_limits(1):
                runs.append(_run(chip.cores[0], method, limit, seed))
            task.advance()
    errors = [run.mvm_error_affine for run in runs]
    return ProgramBench(
        address=address,
        chip_serial=chip_info.serial,
        backend=chip_info.backend,
        model=chip_info.model,
        method=method,
        rows=info.rows,
        cols=info.cols,
        devices_per_polarity=info.devices_per_polarity,
        runs=tuple(runs),
        grows=any(later > (1 + TOLERANCE) * min(errors[:k]) for k, later in enumerate(errors) if k),
        machine=Machine.here(),
    )


def _run(core: Core, method: str, limit: int, seed: int) -> ProgramRun:
    calibrate_converters([core], seed=seed)
    info, rng = core.info, np.random.default_rng([seed, limit])
    weights = np.random.default_rng(seed).standard_normal((info.rows, info.cols))
    target = np.clip(weights, -2.5, 2.5) / 2.5 * info.device.g_max_siemens
    job = ProgrammingJob(core=core, window=whole(info), target_siemens=target)
    began_s = time.process_time()
    result = run_programming(algorithm(method, max_iterations=limit), [job], seed=seed)[0]
    cpu_s = time.process_time() - began_s
    core.wait(max(0.0, result.last_pulse_at_s + info.device.reference_age_s - core.now_s()))
    codes = random_inputs(InputKind.GAUSSIAN, 2 * VECTORS, info.rows, info.input, rng)
    seen = measure_mvm(core, codes, output_range=choose_output_range(info, target, codes)).siemens
    exact = exact_output(info, target, codes)
    fit = fit_affine(seen[:VECTORS], exact[:VECTORS])
    return ProgramRun(
        max_iterations=limit,
        iterations=result.iterations,
        cpu_s=cpu_s,
        wall_s=result.wall_s,
        chip_s=result.chip_s,
        mvm_error=mvm_error(seen[VECTORS:], exact[VECTORS:]),
        mvm_error_affine=mvm_error(fit.apply(seen[VECTORS:]), exact[VECTORS:]),
        errors=tuple(result.errors),
        pulses_per_device=result.pulses_per_device,
        reads=result.reads,
        mvms=result.mvms,
        success_share=result.success_share,
        outcome=result.outcome.value,
    )
