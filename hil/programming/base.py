"""The programming contract, and the only loop that runs an algorithm on cores.

An algorithm is state in, state out. It is told the problem, answers with a `Step` (pulses to apply,
the next probe, which cells are done), is handed the observation of that probe, and answers with the
next step. It never sees a core. `run_programming` is the only loop; it drives many blocks in
lockstep, so that blocks share settling times and end at a similar age.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hil.core import CellRead, Outcome, Pulse, Window
from hil.errors import DeviceFaultError, RequestError
from hil.measure import measure_mvm

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import CoreInfo
    from hil.metrics import AffineFit

__all__ = [
    "Action",
    "MvmProbe",
    "Observation",
    "Probe",
    "ProgrammingAlgorithm",
    "ProgrammingJob",
    "ProgrammingOutcome",
    "ProgrammingProblem",
    "ProgrammingResult",
    "ReadProbe",
    "Step",
    "run_programming",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
S = TypeVar("S")


class ProgrammingOutcome(StrEnum):
    """How a programming run ended; the value is the sentence to show."""

    CONVERGED = "every cell was accepted"
    STOPPED_GOOD = "further pulses would not have lowered the error"
    ITERATION_LIMIT = "the iteration limit came first; cells not done are in the mask"
    PULSE_BUDGET = "the pulse budget was used up; cells not done are in the mask"
    UNVERIFIED = "every cell was written, none was read back"


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammingProblem:
    """What an algorithm is told.

    Attributes:
        info: What the core says of itself (scales, limits, nominal curve).
        target_siemens: Signed target conductance per cell of the block, S, (rows, cols), within
            ± `info.device.g_max_siemens`.
        seed: Seed for the algorithm's own random inputs.
    """

    info: CoreInfo
    target_siemens: Array
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadProbe:
    """Read these devices (block coordinates), `settle_s` or more after the last pulse."""

    device: IntArray
    rows: IntArray
    cols: IntArray
    averages: int = 1
    settle_s: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MvmProbe:
    """Multiply these inputs (batch, rows of the block), `settle_s` or more after the last pulse."""

    input_codes: IntArray
    output_range: int
    settle_s: float = 0.0


Probe = ReadProbe | MvmProbe


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a probe gave, in siemens: (n,) for a read, (batch, cols) for an MVM; same saturated."""

    siemens: Array
    saturated: BoolArray
    at_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Generic[S]):
    """An algorithm's answer.

    Attributes:
        state: Its state, to be handed back with the observation.
        pulses: Pulses to apply now, in order, in block coordinates.
        probe: What to observe next; None ends the run.
        done: Cells accepted so far, (rows, cols).
        outcome: Why it ended; set when probe is None.
        error: The algorithm's own estimate of the MVM error so far, None if it has none.
        affine: Per-col correction (siemens to siemens) if the algorithm has estimated one.
    """

    state: S
    pulses: tuple[Pulse, ...]
    probe: Probe | None
    done: BoolArray
    outcome: ProgrammingOutcome | None = None
    error: float | None = None
    affine: AffineFit | None = None


class ProgrammingAlgorithm(ABC, Generic[S]):
    """State in, state out; hyper-parameters are fields of the (frozen) subclass."""

    name: str
    max_iterations: int = 1
    """Most probes of a run; what a progress display takes as the total."""
    pulses_per_device: float | None = None
    """Mean pulses per device of any target, where that is known before the chip is touched."""

    @abstractmethod
    def start(self, problem: ProgrammingProblem) -> Step[S]:
        """Return the first step for a problem. Raises RequestError if the core lacks a means."""

    @abstractmethod
    def advance(self, state: S, observation: Observation) -> Step[S]:
        """Return the next step, given what the last probe observed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammingJob:
    """A block to program: target (rows, cols) in S, at `window` of `core`."""

    core: Core
    window: Window
    target_siemens: Array


@dataclass(frozen=True, kw_only=True)
class Action:
    """What `run_programming` reports after each iteration, for progress displays."""

    iteration: int
    running: int
    pulses: int
    error: float | None


@dataclass(kw_only=True, eq=False)
class ProgrammingResult:
    """What a programming run did to one block.

    Attributes:
        method: Name of the algorithm.
        outcome: Why it ended.
        done: Cells accepted, (rows, cols).
        pulses: Pulses per device, int32 (devices, rows, cols).
        reads: Devices read (times averages).
        mvms: Vectors multiplied.
        iterations: Probes taken.
        chip_s: Device time from first pulse to last probe, s (shared by blocks in lockstep).
        wall_s: Time on this machine, s (likewise).
        last_pulse_at_s: Device time of the block's last pulse, s.
        errors: The algorithm's own error estimates, in order.
        affine: Its last per-col correction, None if it has none.
    """

    method: str
    outcome: ProgrammingOutcome
    done: BoolArray
    pulses: npt.NDArray[np.int32]
    reads: int = 0
    mvms: int = 0
    iterations: int = 0
    chip_s: float = 0.0
    wall_s: float = 0.0
    last_pulse_at_s: float = 0.0
    errors: list[float] = field(default_factory=list)
    affine: AffineFit | None = None

    @property
    def success_share(self) -> float:
        """Share of cells accepted."""
        return float(self.done.mean())

    @property
    def pulses_per_device(self) -> float:
        """Mean pulses per device of the block."""
        return float(self.pulses.mean())


def run_programming(
    algorithm: ProgrammingAlgorithm[Any],
    jobs: Sequence[ProgrammingJob],
    *,
    seed: int,
    on_step: Callable[[Action], None] | None = None,
) -> list[ProgrammingResult]:
    """Program blocks with one algorithm, in lockstep; return a result per job, in order.

    Args:
        algorithm: The algorithm, with its hyper-parameters.
        jobs: Blocks, on one or several cores of one chip; they must not overlap.
        seed: Seeds each block's random inputs (its index is mixed in).
        on_step: Called after each round with what happened.

    Raises:
        RequestError: A target is not finite, too large or does not fit its window.
        DeviceFaultError: A pulse request was not done; cells may hold anything.
    """
    for job in jobs:
        _check_job(job)
    if not jobs:
        return []
    clock = jobs[0].core
    began_s, began_wall = clock.now_s(), time.perf_counter()
    runs = [
        _Run(
            job,
            algorithm.start(
                ProgrammingProblem(
                    info=job.core.info, target_siemens=job.target_siemens, seed=_mix(seed, k)
                )
            ),
        )
        for k, job in enumerate(jobs)
    ]
    results = [
        ProgrammingResult(
            method=algorithm.name,
            outcome=ProgrammingOutcome.ITERATION_LIMIT,
            done=run.step.done,
            pulses=np.zeros(
                (job.core.info.devices_per_cell, job.window.rows, job.window.cols), np.int32
            ),
        )
        for run, job in zip(runs, jobs, strict=True)
    ]
    iteration = 0
    while True:
        for run, result in zip(runs, results, strict=True):
            _apply(run, result)
        alive = [(run, result) for run, result in zip(runs, results, strict=True) if run.live]
        if on_step is not None:
            _report(on_step, iteration, runs, results)
        if not alive:
            break
        iteration += 1
        _settle(clock, [run for run, _ in alive])
        for run, result in alive:
            run.step = algorithm.advance(run.step.state, _observe(run, result))
            result.iterations = iteration
    for result in results:
        result.chip_s = clock.now_s() - began_s
        result.wall_s = time.perf_counter() - began_wall
    return results


@dataclass(eq=False)
class _Run:
    """A job under way: its latest step; live until a step without probe was applied."""

    job: ProgrammingJob
    step: Step[Any]
    live: bool = True
    last_pulse_at_s: float = 0.0


def _mix(seed: int, block: int) -> int:
    return int(np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)[0] >> 1)


def _check_job(job: ProgrammingJob) -> None:
    target, info = job.target_siemens, job.core.info
    shape = (job.window.rows, job.window.cols)
    if target.shape != shape:
        raise RequestError(f"target has shape {target.shape}, its window is {shape}")
    if not np.isfinite(target).all():
        raise RequestError("target conductance holds NaN or infinity; give finite weights")
    most, limit = float(np.max(np.abs(target), initial=0.0)), info.device.g_max_siemens
    if most > limit * (1 + 1e-9):
        raise RequestError(
            f"target conductance {most * 1e6:.4g} uS is above {limit * 1e6:.4g} uS "
            "(info.device.g_max_siemens)"
        )


def _apply(run: _Run, result: ProgrammingResult) -> None:
    if not run.live:
        return
    window = run.job.window
    for pulse in run.step.pulses:
        if len(pulse) == 0:
            continue
        for start in range(0, len(pulse), run.job.core.info.max_pulses):
            part = pulse.part(slice(start, start + run.job.core.info.max_pulses))
            np.add.at(result.pulses, (part.device, part.rows, part.cols), part.count)
            placed = replace(
                part, rows=part.rows + np.int32(window.row), cols=part.cols + np.int32(window.col)
            )
            done = run.job.core.program(placed)
            if done.outcome is not Outcome.DONE:
                raise DeviceFaultError(f"pulse request on {run.job.core!r}: {done.outcome.value}")
            run.last_pulse_at_s = result.last_pulse_at_s = done.at_s
    result.done = run.step.done
    if run.step.error is not None:
        result.errors.append(run.step.error)
    if run.step.affine is not None:
        result.affine = run.step.affine
    if run.step.probe is None:
        run.live = False
        result.outcome = run.step.outcome or ProgrammingOutcome.CONVERGED


def _settle(clock: Core, runs: Sequence[_Run]) -> None:
    now = clock.now_s()
    due = max(run.last_pulse_at_s + run.step.probe.settle_s for run in runs if run.step.probe)
    if due > now:
        clock.wait(due - now)


def _observe(run: _Run, result: ProgrammingResult) -> Observation:
    probe, job = run.step.probe, run.job
    if isinstance(probe, MvmProbe):
        seen = measure_mvm(
            job.core, probe.input_codes, window=job.window, output_range=probe.output_range
        )
        result.mvms += probe.input_codes.shape[0]
        return Observation(siemens=seen.siemens, saturated=seen.saturated, at_s=seen.at_s)
    assert probe is not None  # noqa: S101 - a live run has a probe
    read = job.core.read(
        CellRead.of(
            device=probe.device,
            rows=probe.rows + job.window.row,
            cols=probe.cols + job.window.col,
            averages=probe.averages,
        )
    )
    result.reads += len(probe.device) * probe.averages
    return Observation(
        siemens=job.core.info.read.to_si(read.codes), saturated=read.saturated, at_s=read.at_s
    )


def _report(
    on_step: Callable[[Action], None],
    iteration: int,
    runs: Sequence[_Run],
    results: Sequence[ProgrammingResult],
) -> None:
    errors = [r.errors[-1] for r in results if r.errors]
    on_step(
        Action(
            iteration=iteration,
            running=sum(run.live for run in runs),
            pulses=sum(int(r.pulses.sum()) for r in results),
            error=float(np.mean(errors)) if errors else None,
        )
    )
