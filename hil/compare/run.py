"""Run a comparison: cases one after the other or in processes, a chip per trial. Knows no physics.

A *case* is one matrix on one chip. Every setting is a *trial*: the chip as it was opened, its
converters trimmed, the block programmed, aged, calibrated and measured, in a run folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from hil.compare.matrices import MatrixKind, make_matrix
from hil.compare.measuring import measure_errors
from hil.compare.plan import (
    Case,
    ComparisonPlan,
    Setting,
    cases_of,
    published_margin,
    trials_of,
)
from hil.compare.rows import ComparisonRow
from hil.core import Window
from hil.info import CoreInfo
from hil.matrix import calibrate_converters
from hil.programming import ProgrammingJob, algorithm, run_programming
from hil.programming.gradient_descent import GradientDescent
from hil.progress import Progress, Silent, Task
from hil.record import new_record
from hil.run_folder import RunFolder
from hil.session import Session

__all__ = ["run_comparison"]

TRIALS_FOLDER = "trials"
_WEIGHTS, _MEASUREMENT = 1, 2
"""Names of the host's random streams; programming mixes its own."""

Rows = tuple[ComparisonRow, ...]


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Where trials are recorded; crosses to another process as plain values."""

    folder: Path
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One setting of a case."""

    method: str
    setting: str
    settings: dict[str, float | int]


def run_comparison(
    plan: ComparisonPlan,
    *,
    folder: RunFolder,
    jobs: int = 1,
    progress: Progress | None = None,
    on_rows: Callable[[Rows], None] | None = None,
) -> Rows:
    """Run every case of a plan; return all rows, by case in the order of the plan.

    Args:
        plan: What to compare.
        folder: Run folder under way; every trial gets one of its own inside.
        jobs: Cases at a time.
        progress: Is told of the trials.
        on_rows: Is handed the rows of each case as it ends.

    Raises:
        RequestError: The chip cannot do what the plan asks.
    """
    cases = cases_of(plan)
    bench = _Bench(folder=folder.path / TRIALS_FOLDER, command=folder.record.command)
    found: dict[int, Rows] = {}
    total = sum(trials_of(case) for case in cases)
    with (progress or Silent()).task("programming and measuring", total) as task:
        for index, rows in _each(cases, bench, jobs, task):
            found[index] = rows
            if on_rows is not None:
                on_rows(rows)
    return tuple(row for index in range(len(cases)) for row in found[index])


def _each(
    cases: tuple[Case, ...], bench: _Bench, jobs: int, task: Task
) -> Iterator[tuple[int, Rows]]:
    if jobs == 1:
        for index, case in enumerate(cases):
            yield index, _run_case(case, bench, task)
        return
    # Spawned, not forked: a forked process would inherit the threads of torch in mid-air.
    with ProcessPoolExecutor(
        min(jobs, len(cases)), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        waiting = {pool.submit(_run_case, case, bench): k for k, case in enumerate(cases)}
        try:
            for future in as_completed(waiting):
                index = waiting[future]
                task.advance(trials_of(cases[index]))
                task.say(f"{cases[index].matrix.value} on chip {cases[index].seed}")
                yield index, future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    import torch  # noqa: PLC0415 - only where a process of its own computes

    torch.set_num_threads(1)


def _run_case(case: Case, bench: _Bench, task: Task | None = None) -> Rows:
    def run(setting: str, method: str, **settings: float) -> Rows:
        if task is not None:
            task.say(f"{case.matrix.value} on chip {case.seed}: {method}, {setting}")
        rows = _run_trial(case, _Trial(method=method, setting=setting, settings=settings), bench)
        if task is not None:
            task.advance()
        return rows

    published = run(Setting.PUBLISHED, "verify")
    rows, best = [published], published
    if Setting.BEST in case.settings:
        tried = [run(f"margin_{m:g}", "verify", margin_counts=m) for m in case.margins]
        best = min([published, *tried], key=lambda found: found[0].mvm_error_affine)
        renamed = tuple(row.model_copy(update={"setting": Setting.BEST.value}) for row in best)
        rows += [*tried, renamed]
    if Setting.DELAYED in case.settings:
        settings = {**best[0].settings, "settle_s": GradientDescent().settle_s}
        rows.append(run(Setting.DELAYED, "verify", **settings))
    if Setting.GDP in case.settings:
        rows.append(run(Setting.GDP, "gdp"))
    if Setting.EQUAL_PULSES in case.settings:
        budget = published[0].pulses_per_device
        rows.append(run(Setting.EQUAL_PULSES, "gdp", max_pulses_per_device=budget))
    if Setting.NO_RETENTION in case.settings:
        rows.append(run(Setting.NO_RETENTION, "gdp", retention=0.0))
    return tuple(row for found in rows for row in found)


def _run_trial(case: Case, trial: _Trial, bench: _Bench) -> Rows:
    name = f"{case.matrix.value}-{case.seed}-{trial.method}-{trial.setting}"
    if case.sweeps_bits:
        name += f"-{case.address.rpartition('adc_bits=')[2]}-bits"
    recipe: dict[str, Any] = {**case.model_dump(mode="json"), "method": trial.method}
    recipe |= {"setting": trial.setting, "hyper_parameters": trial.settings}
    record = new_record(
        "compare-programming trial",
        command=bench.command,
        seed=case.host_seed,
        address=case.address,
        recipe=recipe,
    )
    with (
        RunFolder.create(bench.folder / name, record) as folder,
        Session.open(case.address, seed=case.host_seed, folder=folder) as session,
    ):
        rows = _program_and_measure(case, trial, session)
        folder.update(results={"rows": [row.model_dump(mode="json") for row in rows]})
    return rows


def _program_and_measure(case: Case, trial: _Trial, session: Session) -> Rows:
    core = session.chip.cores[0]
    info = core.info
    kind = list(MatrixKind).index(case.matrix)
    stream = (case.host_seed, case.seed, kind)
    calibrate_converters([core], seed=case.host_seed)
    weights = make_matrix(
        case.matrix, case.rows, case.cols, np.random.default_rng([*stream, _WEIGHTS])
    )
    target = weights * info.device.g_max_siemens
    window = Window(row=0, col=0, rows=case.rows, cols=case.cols)
    chosen = algorithm(trial.method, **trial.settings)
    job = ProgrammingJob(core=core, window=window, target_siemens=target)
    result = run_programming(chosen, [job], seed=case.host_seed)[0]
    rows = []
    for index, age_s in enumerate(case.ages_s):
        core.wait(max(0.0, result.last_pulse_at_s + age_s - core.now_s()))
        measured_age_s = core.now_s() - result.last_pulse_at_s
        rng = np.random.default_rng([*stream, _MEASUREMENT, index])
        errors = measure_errors(core, window, target, rng)
        rows.append(
            ComparisonRow(
                matrix=case.matrix,
                seed=case.seed,
                method=trial.method,
                setting=trial.setting,
                settings=trial.settings,
                margin_counts=_margin_counts(trial, info),
                age_s=age_s,
                measured_age_s=measured_age_s,
                mvm_error=errors.mvm_error,
                mvm_error_affine=errors.mvm_error_affine,
                mvm_error_relu=errors.mvm_error_relu,
                mvm_error_relu_affine=errors.mvm_error_relu_affine,
                linear_error=errors.linear_error,
                residual_error=errors.residual_error,
                saturated_share=errors.saturated_share,
                affine_success_share=errors.affine_success_share,
                pulses_per_device=result.pulses_per_device,
                pulses_max=int(result.pulses.max()),
                reads=result.reads,
                mvms=result.mvms,
                iterations=result.iterations,
                chip_s=result.chip_s,
                wall_s=result.wall_s,
                success_share=result.success_share,
                outcome=result.outcome.value,
                rows=case.rows,
                cols=case.cols,
                devices_per_polarity=info.devices_per_polarity,
                adc_bits=info.output_codes.bits,
                host_seed=case.host_seed,
                address=case.address,
                chip_serial=info.chip_serial,
                backend=info.backend,
                model=info.model,
            )
        )
    return tuple(rows)


def _margin_counts(trial: _Trial, info: CoreInfo) -> float | None:
    if trial.method != "verify":
        return None
    return float(trial.settings.get("margin_counts", published_margin(info)))
