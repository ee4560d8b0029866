"""Gradient-descent programming (GDP): descend the measured MVM error of a whole block.

Büchel et al., IEDM 2022, arXiv 2305.16647: instead of verifying cell by cell, multiply synthetic
random inputs, compare with the ideal result of the same quantised inputs, and pulse the devices
whose weight the gradient finds off. Published are the idea and its claims; hyper-parameters, pulse
choice and stop rule are ours. Sees no core.

A RESET pulse overwrites a device, so gradient descent becomes a search over one amplitude per
cell: cells whose estimated error exceeds the threshold are pulsed again, on one device each, with
the step rule of `amplitude_search`; what the cell's other devices hold is absorbed. A pulse is a
fresh, noisy draw, so pulsing a good cell would make it worse: that is what the threshold is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.measure import choose_output_range, exact_output
from hil.metrics import mvm_error
from hil.programming.amplitude_search import AmplitudeSearch
from hil.programming.base import (
    MvmProbe,
    Observation,
    ProgrammingAlgorithm,
    ProgrammingOutcome,
    ProgrammingProblem,
    Step,
)
from hil.programming.gradient import CellErrors, MvmBatch
from hil.programming.gradient_state import (
    GradientDescentState,
    bring_in,
    hand_over,
    later_devices,
    share_of_target,
    turn_zeros,
)
from hil.programming.pulses import ResetCurve, reset_pulses, split_equally
from hil.programming.retention import aim_for_retention
from hil.programming.settings import require_range
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Pulse
    from hil.info import CoreInfo

__all__ = ["GradientDescent", "GradientDescentState"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

COARSE_SPREAD = 0.4
"""Prior spread of a cell after its first, open-loop pulse, in g_max of a device: kept weak."""

COARSE_THRESHOLD = 0.08
"""Threshold of the coarse iterations: relaxation has not shown yet, so a finer one is wasted."""

ALLOWANCE = 0.01
"""Share of the squared error by which the pulses of an iteration may be expected to raise it."""

MIN_GAIN = 0.02
"""Programming stalls if `patience` iterations lower the held-out error by less than this share."""

FINISH_BUDGET = 0.5
"""From this share of a pulse budget on, only cells under way are finished."""

LEAST_VECTORS = 1024
"""Programming vectors of a block with few rows, where more per row cost next to nothing."""

NOISE_SHARE = 0.7
"""The gradient's noise may be this share of the threshold before more vectors are sent."""

MOST_DOUBLINGS = 2
"""Vectors are doubled at most this often."""

SPREAD_REFERENCE = 0.1
"""Spread of a pulse, in g_max of a device, for which the threshold is stated."""

SURE = 2.0
"""Standard deviations of its estimate that a cell's error must exceed."""


@dataclass(frozen=True, kw_only=True)
class GradientDescent(ProgrammingAlgorithm[GradientDescentState]):
    """Gradient-descent programming; the defaults serve any matrix and chip.

    Attributes:
        inputs: Distribution of the programming inputs.
        vectors_per_row: Programming vectors per iteration and row (rows rounded up to a power of 2
            for Hadamard inputs), to begin with. Where the gradient's noise then exceeds the
            threshold, as with few ADC bits, they are doubled until it does not, up to four times.
        held_out: Vectors of the held-out probe batch, Gaussian.
        threshold: A cell is pulsed if its estimated error exceeds this share of the rms target of
            a device, for a cell whose pulse spreads by a tenth of that; for others it goes with
            the cube root of the spread, where the pulses saved and the error left balance.
        hysteresis: A cell once left alone is pulsed again only beyond this many thresholds, so
            that the estimate's noise pulses no good cell.
        step_size: Factor on the first correction of a device.
        settle_s: Time from the last pulse to the probe once the coarse iterations are over: the
            later the feedback, the less relaxation it leaves (Nandakumar et al., IEDM 2020).
        coarse_iterations: First iterations, probed at once.
        retention: How far the aim leans towards the age `retention_age_s`, 0...1: the drift of
            small and large conductances differs, so what is exact at t0 is bent later; 0 aims at
            t0 alone, 1 at that age alone.
        retention_age_s: The age leant towards, s.
        finish_share: Once no more than this share of cells is beyond the threshold, no further good
            cell is touched; those under way are finished.
        stop_share: Ends when no more than this share of cells is beyond the threshold.
        patience: Iterations over which the held-out error must fall by 2 %.
        max_iterations: Most probes.
        max_pulses_per_device: Pulse budget as a mean over the devices of the block; None is none.
    """

    inputs: InputKind = InputKind.HADAMARD
    vectors_per_row: float = 8.0
    held_out: int = 512
    threshold: float = 0.065
    hysteresis: float = 1.6
    step_size: float = 1.0
    settle_s: float = 5.0
    coarse_iterations: int = 3
    retention: float = 0.4
    retention_age_s: float = 86_400.0
    finish_share: float = 0.015
    stop_share: float = 0.001
    patience: int = 8
    max_iterations: int = 60
    max_pulses_per_device: float | None = None

    name = "gdp"

    def __post_init__(self) -> None:
        require_range("vectors_per_row", self.vectors_per_row, 0.01, 1e4)
        require_range("held_out", self.held_out, 2, 100_000)
        require_range("threshold", self.threshold, 1e-6, 10.0)
        require_range("hysteresis", self.hysteresis, 1.0, 100.0)
        require_range("step_size", self.step_size, 1e-3, 10.0)
        require_range("settle_s", self.settle_s, 0.0, 1e9)
        require_range("coarse_iterations", self.coarse_iterations, 0, 10_000)
        require_range("retention", self.retention, 0.0, 1.0)
        require_range("retention_age_s", self.retention_age_s, 1e-6, 1e10)
        require_range("finish_share", self.finish_share, 0.0, 1.0)
        require_range("stop_share", self.stop_share, 0.0, 1.0)
        require_range("patience", self.patience, 1, 10_000)
        require_range("max_iterations", self.max_iterations, 1, 10_000)
        if self.max_pulses_per_device is not None:
            require_range("max_pulses_per_device", self.max_pulses_per_device, 0.1, 1e6)

    @override
    def start(self, problem: ProgrammingProblem) -> Step[GradientDescentState]:
        """Write the first device of each polarity at its nominal amplitude; ask for a probe."""
        info = problem.info
        require_range("max_iterations", self.max_iterations, self._coarse(info) + 1, 10_000)
        curve = ResetCurve.of(info)
        target = aim_for_retention(
            info.device, problem.target_siemens, self.retention, self.retention_age_s
        )
        asked = split_equally(info, target)
        asked[later_devices(info)] = 0.0
        amplitude = curve.first_amplitude(asked)
        shape = target.shape
        rng = np.random.default_rng(problem.seed)
        probe = self._probe(info, target, rng, settle_s=0.0)
        state = GradientDescentState(
            info=info,
            curve=curve,
            target_siemens=target,
            asked_siemens=asked,
            amplitude=amplitude,
            pulses=asked.size,
            active=np.where(target < 0, info.devices_per_polarity, 0).astype(np.int8),
            retired=np.zeros(asked.shape, np.bool_),
            stage=0,
            search=AmplitudeSearch.fresh(shape),
            errors=CellErrors.unknown(shape, COARSE_SPREAD * info.device.device_g_max_siemens),
            pulsed=np.ones(shape, np.bool_),
            probe=probe,
            history=(),
            finishing=False,
            iteration=0,
            rng=dict(rng.bit_generator.state),
        )
        every = reset_pulses(info, asked.shape, np.arange(asked.size), amplitude.ravel())
        return Step(state=state, pulses=(every,), probe=probe, done=np.zeros(shape, np.bool_))

    @override
    def advance(
        self, state: GradientDescentState, observation: Observation
    ) -> Step[GradientDescentState]:
        """Estimate each cell's error from the probe; pulse where it pays, or end."""
        coarse = state.iteration < self._coarse(state.info)
        train, held_out = self._batches(state, observation)
        unit = state.info.device.device_g_max_siemens
        errors = state.errors.update(
            train,
            share_of_target(state),
            pulsed=state.pulsed,
            good=None
            if coarse
            else np.abs(state.errors.siemens) <= self._limit(state, coarse=coarse),
            unit_siemens=unit,
        )
        error = None
        if held_out.exact.any():  # a block of zeros has no relative error
            error = mvm_error(errors.affine.apply(held_out.measured), held_out.exact)
        state = replace(
            state,
            errors=errors,
            iteration=state.iteration + 1,
            history=() if coarse or error is None else (*state.history, error),
        )
        beyond = np.abs(errors.siemens) > self._limit(state, coarse=coarse)
        again = beyond & (state.active >= 0)
        if state.finishing:
            again &= state.pulsed
        outcome = self._verdict(state, again, coarse=coarse)
        if self._brings_in(state):
            state, pulses = bring_in(state)
            state = self._next_probe(state)
        elif outcome is None:
            few = float(again.mean()) <= self.finish_share
            ending = few or self._stalls(state) or self._spent(state) > FINISH_BUDGET
            finishing = state.finishing or (not coarse and ending)
            if not coarse:
                again = errors.worth_pulsing(again, state.target_siemens, allowance=ALLOWANCE)
            if finishing and not state.finishing:
                state = replace(state, finishing=True, history=())
            state, pulses = self._pulse(state, again)
            state = self._next_probe(state)
        else:
            pulses = ()
        return Step(
            state=state,
            pulses=pulses,
            probe=state.probe if outcome is None else None,
            done=~beyond,
            outcome=outcome,
            error=error,
            affine=errors.affine,
        )

    def _coarse(self, info: CoreInfo) -> int:
        """Iterations until every device is brought in and coarsely set."""
        return self.coarse_iterations * info.devices_per_polarity

    def _brings_in(self, state: GradientDescentState) -> bool:
        more = state.stage + 1 < state.info.devices_per_polarity
        return more and state.iteration >= self.coarse_iterations * (state.stage + 1)

    def _limit(self, state: GradientDescentState, *, coarse: bool) -> Array:
        unit = state.info.device.device_g_max_siemens
        if coarse:
            return np.where(state.pulsed, 1.0, self.hysteresis) * COARSE_THRESHOLD * unit
        spread = np.sqrt(state.errors.spread_of(state.target_siemens)) / (SPREAD_REFERENCE * unit)
        limit = self._base_threshold(state) * np.cbrt(spread)
        # what the estimate cannot tell from zero is not worth a pulse
        seen = np.maximum(limit, SURE * np.sqrt(state.errors.variance))
        return np.where(state.pulsed, 1.0, self.hysteresis) * seen

    def _spent(self, state: GradientDescentState) -> float:
        """Share of the pulse budget that is used up; 0 without one."""
        budget = self.max_pulses_per_device
        return state.pulses / (budget * state.amplitude.size) if budget is not None else 0.0

    def _stalls(self, state: GradientDescentState) -> bool:
        """Too little has been gained over the last iterations."""
        past = state.history[: -self.patience]
        return bool(past) and min(state.history[-self.patience :]) > (1 - MIN_GAIN) * min(past)

    def _more_vectors(self, state: GradientDescentState) -> float:
        """Factor on the vectors per row, a power of two, that brings the noise to the threshold."""
        split = state.probe.input_codes.shape[0] - self.held_out
        base = self._vectors(state.target_siemens.shape[0])
        allowed = NOISE_SHARE * self._base_threshold(state)
        if state.errors.noise_siemens == 0.0 or allowed == 0.0:
            return 1.0
        needed = split / base * (state.errors.noise_siemens / allowed) ** 2
        return float(2.0 ** np.clip(np.ceil(np.log2(needed)), 0, MOST_DOUBLINGS))

    def _base_threshold(self, state: GradientDescentState) -> float:
        rms = float(np.sqrt(np.mean(state.target_siemens**2)))
        return self.threshold * rms / state.info.devices_per_polarity

    def _vectors(self, rows: int) -> int:
        padded = 1 << (rows - 1).bit_length() if self.inputs is InputKind.HADAMARD else rows
        return max(LEAST_VECTORS // padded * padded, round(self.vectors_per_row * padded), 1)

    def _probe(
        self,
        info: CoreInfo,
        target: Array,
        rng: np.random.Generator,
        *,
        settle_s: float,
        more: float = 1.0,
    ) -> MvmProbe:
        rows = target.shape[0]
        batch = round(more * self._vectors(rows))
        train = random_inputs(self.inputs, batch, rows, info.input, rng)
        held_out = random_inputs(InputKind.GAUSSIAN, self.held_out, rows, info.input, rng)
        return MvmProbe(
            input_codes=np.concatenate([train, held_out]),
            output_range=choose_output_range(info, target, train),
            settle_s=settle_s,
        )

    def _next_probe(self, state: GradientDescentState) -> GradientDescentState:
        rng = np.random.default_rng()
        rng.bit_generator.state = state.rng
        settle = 0.0 if state.iteration < self._coarse(state.info) else self.settle_s
        more = 1.0 if settle == 0.0 else self._more_vectors(state)
        probe = self._probe(state.info, state.target_siemens, rng, settle_s=settle, more=more)
        return replace(state, probe=probe, rng=dict(rng.bit_generator.state))

    def _batches(
        self, state: GradientDescentState, observation: Observation
    ) -> tuple[MvmBatch, MvmBatch]:
        codes = state.probe.input_codes
        split = codes.shape[0] - self.held_out
        x = state.info.input.to_si(codes)
        exact = exact_output(state.info, share_of_target(state), codes)
        size = 1 << (codes.shape[1] - 1).bit_length()
        whole = self.inputs is InputKind.HADAMARD and split % size == 0
        parts = (slice(0, split), whole), (slice(split, None), False)
        train, held_out = (
            MvmBatch(x=x[p], measured=observation.siemens[p], exact=exact[p], orthogonal=o)
            for p, o in parts
        )
        return train, held_out

    def _verdict(
        self, state: GradientDescentState, beyond: BoolArray, *, coarse: bool
    ) -> ProgrammingOutcome | None:
        if not coarse and not beyond.any():
            lost = bool((state.active < 0).any())
            return ProgrammingOutcome.STOPPED_GOOD if lost else ProgrammingOutcome.CONVERGED
        few = float(np.mean(beyond)) <= self.stop_share
        if not coarse and (few or (state.finishing and self._stalls(state))):
            return ProgrammingOutcome.STOPPED_GOOD
        if state.iteration >= self.max_iterations:
            return ProgrammingOutcome.ITERATION_LIMIT
        if not coarse and self._spent(state) >= 1.0:
            return ProgrammingOutcome.PULSE_BUDGET
        return None

    def _pulse(
        self, state: GradientDescentState, beyond: BoolArray
    ) -> tuple[GradientDescentState, tuple[Pulse, ...]]:
        """Move the amplitude of each cell's active device against the error, and pulse it."""
        info = state.info
        state = turn_zeros(state)
        rows, cols = np.nonzero(beyond)
        device = state.active[rows, cols]
        place = (device, rows, cols)
        sign = np.where(device < info.devices_per_polarity, 1.0, -1.0)
        asked = state.asked_siemens[place]
        search, ahead, stuck = state.search.next_amplitude(
            (rows, cols),
            state.curve,
            state.amplitude[place],
            asked,
            asked + sign * state.errors.siemens[rows, cols],
            gain=self.step_size,
            tolerance=COARSE_THRESHOLD * info.device.device_g_max_siemens,
        )
        amplitude = state.amplitude.copy()
        amplitude[place] = ahead
        state = replace(state, amplitude=amplitude, search=search)
        if stuck.any():
            state = hand_over(state, rows[stuck], cols[stuck])
        pulsed = beyond & (state.active >= 0)
        rows, cols = np.nonzero(pulsed)
        place = (state.active[rows, cols], rows, cols)
        flat = np.ravel_multi_index(place, amplitude.shape)
        pulses = (reset_pulses(info, amplitude.shape, flat, state.amplitude[place]),)
        return replace(state, pulses=state.pulses + flat.size, pulsed=pulsed), pulses
