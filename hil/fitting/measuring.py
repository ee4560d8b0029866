"""The order of a fit: what is measured after what, each step using what is known by then.

Converters first, since everything else is seen through them; then SET states and RESET curves; with
these a ladder of conductances is written and followed in time; incremental SET last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.core import CoreSettings
from hil.errors import DeviceFaultError
from hil.fitting.bench import Bench, Reads, require_measurable
from hil.fitting.converters import ColConverters, ConverterFit, eight_bit_codes, fit_converters
from hil.fitting.cycle_noise import CycleNoiseFit, fit_cycle_noise, floor_noise
from hil.fitting.reset_curve import CurveData, CurveFit, fit_reset_curves
from hil.fitting.set_states import SetData, SetFit, fit_set_states, stuck_devices
from hil.fitting.set_steps import StepData, StepFit, fit_set_steps
from hil.fitting.trajectories import TrajectoryData, TrajectoryFit, fit_trajectories
from hil.fitting.trajectory_model import TimeAxis
from hil.progress import Progress, Silent, Task

if TYPE_CHECKING:
    from hil.core import Core
    from hil.fitting.plan import FitPlan

__all__ = ["Found", "measure_and_fit"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

PEDESTAL_CODES = 10.0
"""Offset, in codes of an 8-bit converter, that the trims give every col while cells are read: the
reads of devices near zero are then whole, not cut at code 0."""
FLOOR_READS = 8
"""Reads of the block at full RESET, on the pedestal and again on half of it."""
SET_CEILING_MICROSIEMENS = 12.0
"""Incremental SET saturates here (Nandakumar JAP 2018), or at the device's SET state."""
CLEAR_SIGMAS = 3.0
"""A col is clear of code 0 if its offset is so many standard deviations of its noise above."""
SWEEP = (0.97, 0.01)
"""The second sweep covers where the median device falls from one share of its SET state to the
other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """All that a fit has found, and for pictures what it was found from.

    Attributes:
        plan: What was measured.
        converters, set_states, curves, laws, cycle, steps: The fits, in order.
        axis: Ages of the ladder.
        unclear: Devices left out where reads near zero count, because their col cannot show them.
        offset_ratio: Codes of a cell read per output code of an offset, measured; None if not.
        temperature_kelvin: Chip temperature at the end.
    """

    plan: FitPlan
    converters: ConverterFit
    set_states: SetFit
    curves: CurveFit
    laws: TrajectoryFit
    cycle: CycleNoiseFit
    steps: StepFit
    axis: TimeAxis
    unclear: int
    offset_ratio: float | None
    temperature_kelvin: float


def measure_and_fit(
    core: Core, plan: FitPlan, *, seed: int, progress: Progress | None = None
) -> Found:
    """Measure a core and fit its converters and devices. Its block is left pulsed.

    The core's settings are restored, also after an error.

    Raises:
        RequestError: The core cannot do what a fit needs; a limit or budget refuses a pulse.
        DeviceFaultError: A pulse request failed, or what was read looks like no PCM.
    """
    require_measurable(core.info)
    before = core.settings()
    bench = Bench(
        core,
        rows=plan.rows,
        cols=plan.cols,
        most_code=plan.most_code,
        settle_s=plan.settle_s,
    )
    steps = 6 + plan.set_cycles + plan.coarse + plan.fine * plan.repeats + len(plan.ages_s)
    try:
        with (progress or Silent()).task("measuring and fitting", steps) as task:
            return _Fitting(bench, plan, np.random.default_rng(seed), task).run()
    except (np.linalg.LinAlgError, FloatingPointError) as error:
        raise DeviceFaultError(
            f"core {core.info.core} of chip {core.info.chip_serial}: its reads follow no PCM "
            f"model ({error}); look at them with hil record and a larger block"
        ) from error
    finally:
        core.configure(
            CoreSettings(
                output_range=before.output_range,
                gain_trim=None if core.info.gain_trim is None else before.gain_trim,
                offset_trim=None if core.info.offset_trim is None else before.offset_trim,
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Laws:
    """The laws found, and the ages they were found at."""

    laws: TrajectoryFit
    axis: TimeAxis


class _Fitting:
    """One fit under way: a bench and what is known so far."""

    def __init__(self, bench: Bench, plan: FitPlan, rng: np.random.Generator, task: Task) -> None:
        self._bench, self._plan, self._rng, self._task = bench, plan, rng, task
        self._info = bench.info
        self._cols = bench.cols

    def run(self) -> Found:
        """Do everything in order."""
        fit, offset, lower = self._converters()
        default = (self._info.read.max_code - self._info.read.min_code) / (
            self._info.output_codes.max_code - self._info.output_codes.min_code
        )
        reads = fit.for_reads(self._info, offset, default)
        set_reads = self._set_cycles()
        coarse = self._sweep(self._plan.coarse_codes(self._lowest_code()))
        began = self._bench.pulsed_at_s
        floor = [self._read() for _ in range(FLOOR_READS)]
        measured = self._offset_ratio(floor, offset, lower)
        if measured is not None:
            reads = fit.for_reads(self._info, offset, measured[0])
        clear = reads.offset[self._cols] >= CLEAR_SIGMAS * reads.noise_codes
        sets = self._set_data(reads, set_reads, floor)
        set_fit = fit_set_states(sets)
        self._task.say("RESET curves")
        fine = self._fine_codes(reads, coarse)
        sweeps = [coarse, *(self._sweep(fine) for _ in range(self._plan.repeats))]
        doubt = 0.0 if measured is None else measured[1] * float(offset.mean()) / reads.counts
        data = self._curve_data(
            reads, sweeps, sets=sets, set_fit=set_fit, clear=clear, floor=floor, doubt=doubt
        )
        alive = ~set_fit.stuck
        curves = fit_reset_curves(_devices(data, alive), self._rng)
        steps = self._steps(reads, alive)
        axis, ladder = self._ladder(curves, alive)
        relative = np.stack([reads.relative(r.codes, self._cols) for r in ladder])
        level = relative[axis.age_s <= axis.t0_s].mean(axis=0)
        usable = (
            alive
            & clear
            & (level > self._plan.ladder[0])
            & ~np.stack([r.saturated for r in ladder]).any(axis=0)
        )
        variance = reads.variance(self._cols)
        self._task.say("drift, noise and relaxation")
        laws = fit_trajectories(
            TrajectoryData(axis=axis, relative=relative, usable=usable, variance=variance),
            self._rng,
        )
        settled = TimeAxis.of(
            np.array([self._plan.settle_s]), t0_s=axis.t0_s, t_read_s=axis.t_read_s
        )
        resting = TimeAxis.of(
            np.array([r.at_s - began for r in floor]), t0_s=axis.t0_s, t_read_s=axis.t_read_s
        )
        shown = alive & clear
        cycle = fit_cycle_noise(
            curves,
            laws,
            chosen=clear[alive],
            variance=variance[alive],
            relaxed=float(settled.relaxed[0]),
            noise_log=float(settled.fresh[0]),
            at_floor=floor_noise(data.floor_reads[:, shown], variance[shown], resting, laws),
            rng=self._rng,
        )
        return Found(
            plan=self._plan,
            converters=fit,
            set_states=set_fit,
            curves=curves,
            laws=laws,
            cycle=cycle,
            steps=self._fit_steps(steps, reads, sets, curves, _Laws(laws=laws, axis=axis)),
            axis=axis,
            unclear=int((~clear).sum()),
            offset_ratio=None if measured is None else measured[0],
            temperature_kelvin=self._bench.core.status().temperature_kelvin,
        )

    def _converters(self) -> tuple[ConverterFit, Array, tuple[Array, IntArray] | None]:
        """Fit at neutral trims; then offsets with every col on the pedestal, and on half of it."""
        bench, info, plan = self._bench, self._info, self._plan
        self._task.say("converters")
        trims = np.zeros(info.cols, np.int16)
        bench.core.configure(
            CoreSettings(
                output_range=len(info.output_ranges_siemens) // 2,
                offset_trim=None if info.offset_trim is None else trims,
                gain_trim=None if info.gain_trim is None else trims,
            )
        )
        fit = fit_converters(info, bench.zero(plan.vectors), bench.levels(plan.vectors, self._rng))
        self._task.advance()
        scale = info.offset_trim
        if scale is None:
            return fit, fit.offset, None
        target = PEDESTAL_CODES * eight_bit_codes(info)

        def lifted(codes: float) -> tuple[Array, IntArray]:
            wanted = np.rint((codes - fit.offset) / scale.step)
            trim = np.clip(wanted, scale.min_code, scale.max_code).astype(np.int16)
            bench.trim(trim)
            seen = bench.zero(2 * plan.vectors)
            return seen.codes.mean(axis=0), trim

        half = lifted(target / 2)
        offset, _ = lifted(target)
        return fit, offset, half

    def _set_cycles(self) -> list[Reads]:
        self._task.say("SET states")
        found = []
        for _ in range(self._plan.set_cycles):
            self._bench.set_fully()
            found.append(self._read())
            self._task.advance()
        return found

    def _sweep(self, codes: Array) -> tuple[Array, list[Reads]]:
        """Pulse at rising amplitudes and read after each: amplitudes in codes, reads."""
        found = []
        for code in codes:
            self._bench.reset(code)
            found.append(self._read())
            self._task.advance()
        return codes, found

    def _read(self) -> Reads:
        self._bench.settle()
        return self._bench.read()

    def _lowest_code(self) -> int:
        limits = next(p for p in self._info.pulses if p.family.value == "reset")
        return limits.amplitude.min_code

    def _offset_ratio(
        self, high: list[Reads], offset: Array, half: tuple[Array, IntArray] | None
    ) -> tuple[float, float] | None:
        """Codes of a read per output code of an offset, from devices at full RESET; its error."""
        if half is None:
            return None
        lower, trim = half
        current = self._bench.core.settings().offset_trim
        self._bench.trim(trim)
        low = [self._read() for _ in high]
        if current is not None:
            self._bench.trim(current)
        moved = (offset - lower)[self._cols]
        seen = np.mean([r.codes for r in high], axis=0) - np.mean([r.codes for r in low], axis=0)
        whole = float(moved @ moved)
        if whole <= 0:
            return None
        ratio = float(moved @ seen) / whole
        by_col = np.bincount(self._cols, moved * (seen - ratio * moved))
        return ratio, float(np.sqrt(by_col @ by_col)) / whole

    def _set_data(self, reads: ColConverters, found: list[Reads], floor: list[Reads]) -> SetData:
        cols = self._cols
        return SetData(
            relative=np.stack([reads.relative(r.codes, cols) for r in found]),
            censored=np.stack([r.codes >= reads.max_code for r in found]),
            highest=reads.highest(cols),
            floor=np.mean([reads.relative(r.codes, cols) for r in floor], axis=0),
            variance=reads.variance(cols),
        )

    def _fine_codes(self, reads: ColConverters, coarse: tuple[Array, list[Reads]]) -> Array:
        """Amplitudes over which the median device falls."""
        codes, found = coarse
        median = np.array([np.median(reads.relative(r.codes, self._cols)) for r in found])
        share = np.minimum.accumulate((median - median.min()) / max(np.ptp(median), 1e-9))
        first = float(np.interp(-SWEEP[0], -share, codes))
        last = float(np.interp(-SWEEP[1], -share, codes))
        margin = 0.15 * max(last - first, 1.0)
        low, high = max(codes[0], first - margin), min(codes[-1], last + margin)
        return np.rint(np.linspace(low, high, self._plan.fine))

    def _curve_data(
        self,
        reads: ColConverters,
        sweeps: list[tuple[Array, list[Reads]]],
        *,
        sets: SetData,
        set_fit: SetFit,
        clear: BoolArray,
        floor: list[Reads],
        doubt: float,
    ) -> CurveData:
        cols, cycles = self._cols, sets.relative.shape[0]
        cycle = next(e.value for e in set_fit.estimates if e.name == "set_cycle_sigma")
        mean = sets.relative.mean(axis=0)
        scatter = sets.relative.var(axis=0, ddof=1)
        plain = float(np.median(scatter[~set_fit.stuck])) * 1.2  # median of chi-square, 3 dof
        variance = np.maximum(plain, (cycle * mean) ** 2) / cycles
        top = mean > sets.highest - 4 * np.sqrt(variance * cycles)
        codes = np.concatenate([sweep[0] for sweep in sweeps])
        found = [one for sweep in sweeps for one in sweep[1]]
        shown = [reads.relative(r.codes, cols) for r in floor]
        return CurveData(
            ampere=self._bench.ampere(codes),
            relative=np.stack([reads.relative(r.codes, cols) for r in found]),
            censored=np.stack([r.codes >= reads.max_code for r in found]),
            highest=sets.highest,
            variance=sets.variance,
            set_relative=np.where(top, np.nan, mean),
            set_variance=variance,
            floor_reads=np.stack([np.where(clear, one, np.nan) for one in shown]),
            zero_error=doubt,
        )

    def _steps(self, reads: ColConverters, alive: BoolArray) -> Array:
        """Reads before and after incremental SET pulses, over g_max, (pulses + 1, devices)."""
        self._task.say("incremental SET")
        chosen = self._step_devices(alive)
        bench = self._bench
        bench.reset(self._plan.most_code, chosen)
        bench.settle()
        rows = [bench.read(chosen)]
        for _ in range(self._plan.step_pulses):
            bench.set_step(chosen)
            bench.settle()
            rows.append(bench.read(chosen))
        self._task.advance()
        return np.stack([reads.relative(r.codes, self._cols[chosen]) for r in rows])

    def _step_devices(self, alive: BoolArray) -> IntArray:
        every = max(1, len(self._bench) // self._plan.step_devices)
        return np.flatnonzero(alive)[::every][: self._plan.step_devices]

    def _fit_steps(
        self, relative: Array, reads: ColConverters, sets: SetData, curves: CurveFit, known: _Laws
    ) -> StepFit:
        at_set, at_reset = stuck_devices(sets)
        chosen = self._step_devices(~(at_set | at_reset))
        band = np.log((known.axis.t0_s + known.axis.t_read_s) / (2 * known.axis.t_read_s))
        set_state = np.minimum(np.median(sets.relative[:, chosen], axis=0), sets.highest[chosen])
        unit = self._info.device.device_g_max_siemens * 1e6
        return fit_set_steps(
            StepData(
                relative=relative,
                converter=reads.variance(self._cols[chosen]),
                noise_r=known.laws.q.r,
                noise_relative=known.laws.q.values * np.sqrt(band),
                highest=np.minimum(set_state, SET_CEILING_MICROSIEMENS / unit),
                floor=curves.floor,
                g_max_microsiemens=unit,
            ),
            self._rng,
        )

    def _ladder(self, curves: CurveFit, alive: BoolArray) -> tuple[TimeAxis, list[Reads]]:
        """Write conductances spread evenly in ln G, one pulse each, and read them as they age."""
        bench, plan = self._bench, self._plan
        low, high = plan.ladder
        n = int(alive.sum())
        even = (self._rng.permutation(n) + self._rng.uniform(0, 1, n)) / n
        aimed = low * (high / low) ** even
        codes = np.full(len(bench), float(plan.most_code))
        codes[alive] = bench.code_of(curves.amplitude_for(aimed))
        bench.reset(codes)
        began = bench.pulsed_at_s
        found, ages = [], []
        for age_s in plan.ages_s:
            bench.core.wait(max(0.0, began + age_s - bench.core.now_s()))
            self._task.say(f"drift, age {age_s:.3g} s")
            found.append(bench.read())
            ages.append(found[-1].at_s - began)
            self._task.advance()
        info = self._info
        axis = TimeAxis.of(
            np.array(ages), t0_s=info.device.reference_age_s, t_read_s=info.read_slot_s
        )
        return axis, found


def _devices(data: CurveData, chosen: BoolArray) -> CurveData:
    """The data of some devices."""
    return CurveData(
        ampere=data.ampere,
        relative=data.relative[:, chosen],
        censored=data.censored[:, chosen],
        highest=data.highest[chosen],
        variance=data.variance[chosen],
        set_relative=data.set_relative[chosen],
        set_variance=data.set_variance[chosen],
        floor_reads=data.floor_reads[:, chosen],
        zero_error=data.zero_error,
    )
