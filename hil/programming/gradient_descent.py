"""Gradient-descent programming (GDP): descend the measured MVM error of a whole block.

Büchel et al., IEDM 2022, arXiv 2305.16647: instead of verifying cell by cell, multiply synthetic
random inputs, compare with the ideal result of the same quantised inputs, and pulse the devices
whose weight the gradient finds off. Published are the idea and its claims; hyper-parameters, pulse
choice and stop rule are ours. Sees no core.

A RESET pulse overwrites a device, so gradient descent becomes a search over one amplitude per cell:
cells whose estimated error exceeds the threshold are pulsed again, on one device each, with the step
rule of `amplitude_search`; what the cell's other devices hold is absorbed. A pulse is a fresh, noisy
draw, so pulsing a cell that is good would make it worse: that is what the threshold is for.
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
"""Prior spread of a cell after its first, open-loop pulse, in g_max of a device: weak on purpose."""

COARSE_THRESHOLD = 0.08
"""Threshold of the coarse iterations: relaxation has not shown yet, so a finer one is wasted."""

MIN_GAIN = 0.005
"""An iteration that lowers the held-out error by less than this share has not improved it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientDescentState:
    """What gradient-descent programming remembers.

    Attributes:
        info, curve: The core and its nominal RESET curve.
        target_siemens: Signed aim of each cell, S, (rows, cols).
        asked_siemens: Conductance asked of each device, S, (devices, rows, cols).
        amplitude: Amplitude code of each device, not rounded, same shape.
        pulses: Pulses of the block so far.
        active: Device that answers for each cell, (rows, cols); -1 if none is left that can.
        search: Progress of the active devices' search, (rows, cols).
        errors: What is believed of the cells' errors and the cols' gains.
        pulsed: Cells pulsed before the last probe, (rows, cols).
        probe: Inputs just sent: programming batch, then the held-out batch.
        best: Lowest held-out error so far.
        idle: Iterations in a row that did not improve on it.
        iteration: Probes observed.
        rng: Generator state of the inputs.
    """

    info: CoreInfo
    curve: ResetCurve
    target_siemens: Array
    asked_siemens: Array
    amplitude: Array
    pulses: int
    active: npt.NDArray[np.int8]
    search: AmplitudeSearch
    errors: CellErrors
    pulsed: BoolArray
    probe: MvmProbe
    best: float
    idle: int
    iteration: int
    rng: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GradientDescent(ProgrammingAlgorithm[GradientDescentState]):
    """Gradient-descent programming; the defaults serve any matrix and chip.

    Attributes:
        inputs: Distribution of the programming inputs.
        vectors_per_row: Programming vectors per iteration and row (rows rounded up to a power of 2
            for Hadamard inputs). Eight keep the gradient's noise below the threshold.
        held_out: Vectors of the held-out probe batch, Gaussian.
        threshold: A cell is pulsed if its estimated error exceeds this share of a device's g_max.
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
        stop_share: Ends when no more than this share of cells is beyond the threshold.
        patience: Ends after this many iterations without improvement of the held-out error.
        max_iterations: Most probes.
        max_pulses_per_device: Pulse budget as a mean over the devices of the block; None is none.
    """

    inputs: InputKind = InputKind.HADAMARD
    vectors_per_row: float = 8.0
    held_out: int = 512
    threshold: float = 0.03
    hysteresis: float = 1.6
    step_size: float = 1.0
    settle_s: float = 5.0
    coarse_iterations: int = 3
    retention: float = 0.3
    retention_age_s: float = 86_400.0
    stop_share: float = 0.003
    patience: int = 5
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
        require_range("stop_share", self.stop_share, 0.0, 1.0)
        require_range("patience", self.patience, 1, 10_000)
        require_range("max_iterations", self.max_iterations, 1, 10_000)
        if self.max_pulses_per_device is not None:
            require_range("max_pulses_per_device", self.max_pulses_per_device, 0.1, 1e6)

    @override
    def start(self, problem: ProgrammingProblem) -> Step[GradientDescentState]:
        """Write every device once at its nominal amplitude; ask for the first probe."""
        info = problem.info
        curve = ResetCurve.of(info)
        target = aim_for_retention(
            info.device, problem.target_siemens, self.retention, self.retention_age_s
        )
        asked = split_equally(info, target)
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
            search=AmplitudeSearch.fresh(shape),
            errors=CellErrors.unknown(shape, COARSE_SPREAD * info.device.device_g_max_siemens),
            pulsed=np.ones(shape, np.bool_),
            probe=probe,
            best=np.inf,
            idle=0,
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
        coarse = state.iteration < self.coarse_iterations
        train, held_out = self._batches(state, observation)
        unit = state.info.device.device_g_max_siemens
        errors = state.errors.update(
            train,
            state.target_siemens,
            pulsed=state.pulsed,
            good=None if coarse else np.abs(state.errors.siemens) <= self._limit(state, coarse),
            unit_siemens=unit,
        )
        error = mvm_error(errors.affine.apply(held_out.measured), held_out.exact)
        # an iteration's error is comparable to the next one's only once probes settle alike
        improved = coarse or error < state.best * (1 - MIN_GAIN)
        state = replace(
            state,
            errors=errors,
            iteration=state.iteration + 1,
            idle=0 if improved else state.idle + 1,
            best=error if coarse else min(state.best, error),
        )
        beyond = np.abs(errors.siemens) > self._limit(state, coarse)
        outcome = self._verdict(state, beyond & (state.active >= 0))
        if outcome is None:
            state, pulses = self._pulse(state, beyond & (state.active >= 0))
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

    def _limit(self, state: GradientDescentState, coarse: bool) -> Array:  # noqa: FBT001 - private
        share = max(self.threshold, COARSE_THRESHOLD) if coarse else self.threshold
        unit = state.info.device.device_g_max_siemens
        return np.where(state.pulsed, 1.0, self.hysteresis) * share * unit

    def _probe(
        self, info: CoreInfo, target: Array, rng: np.random.Generator, *, settle_s: float
    ) -> MvmProbe:
        rows = target.shape[0]
        padded = 1 << (rows - 1).bit_length() if self.inputs is InputKind.HADAMARD else rows
        batch = max(1, round(self.vectors_per_row * padded))
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
        settle = 0.0 if state.iteration < self.coarse_iterations else self.settle_s
        probe = self._probe(state.info, state.target_siemens, rng, settle_s=settle)
        return replace(state, probe=probe, rng=dict(rng.bit_generator.state))

    def _batches(
        self, state: GradientDescentState, observation: Observation
    ) -> tuple[MvmBatch, MvmBatch]:
        codes = state.probe.input_codes
        split = codes.shape[0] - self.held_out
        x = state.info.input.to_si(codes)
        exact = exact_output(state.info, state.target_siemens, codes)
        size = 1 << (codes.shape[1] - 1).bit_length()
        whole = self.inputs is InputKind.HADAMARD and split % size == 0
        parts = (slice(0, split), whole), (slice(split, None), False)
        train, held_out = (
            MvmBatch(x=x[p], measured=observation.siemens[p], exact=exact[p], orthogonal=o)
            for p, o in parts
        )
        return train, held_out

    def _verdict(
        self, state: GradientDescentState, beyond: BoolArray
    ) -> ProgrammingOutcome | None:
        if not beyond.any() and state.iteration > self.coarse_iterations:
            lost = bool((state.active < 0).any())
            return ProgrammingOutcome.STOPPED_GOOD if lost else ProgrammingOutcome.CONVERGED
        if state.iteration > self.coarse_iterations and (
            beyond.mean() <= self.stop_share or state.idle >= self.patience
        ):
            return ProgrammingOutcome.STOPPED_GOOD
        if state.iteration >= self.max_iterations:
            return ProgrammingOutcome.ITERATION_LIMIT
        budget = self.max_pulses_per_device
        if budget is not None and state.pulses >= budget * state.amplitude.size:
            return ProgrammingOutcome.PULSE_BUDGET
        return None

    def _pulse(
        self, state: GradientDescentState, beyond: BoolArray
    ) -> tuple[GradientDescentState, tuple[Pulse, ...]]:
        """Move the amplitude of each cell's active device against the error, and pulse it."""
        info = state.info
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
            tolerance=self.threshold * info.device.device_g_max_siemens,
        )
        amplitude = state.amplitude.copy()
        amplitude[place] = ahead
        state = replace(state, amplitude=amplitude, search=search)
        if stuck.any():
            state = _hand_over(state, rows[stuck], cols[stuck])
        pulsed = beyond & (state.active >= 0)
        rows, cols = np.nonzero(pulsed)
        place = (state.active[rows, cols], rows, cols)
        flat = np.ravel_multi_index(place, amplitude.shape)
        pulses = (reset_pulses(info, amplitude.shape, flat, state.amplitude[place]),)
        return replace(state, pulses=state.pulses + flat.size, pulsed=pulsed), pulses


def _hand_over(
    state: GradientDescentState, rows: IntArray, cols: IntArray
) -> GradientDescentState:
    """Give cells whose active device is stuck to another one that can make up for it.

    A peer of the same polarity comes first; else, for a cell stuck too far in its own direction,
    a device of the other polarity. Cells with no such device are given up (active -1).
    """
    half = state.info.devices_per_polarity
    active, asked = state.active.copy(), state.asked_siemens.copy()
    amplitude = state.amplitude.copy()
    old = active[rows, cols].astype(np.int64)
    positive = old < half
    error = state.errors.siemens[rows, cols]
    peer = np.where((old + 1) % half != 0, old + 1, -1)
    too_far = np.where(positive, error > 0, error < 0)
    own = positive == (state.target_siemens[rows, cols] >= 0)
    opposite = np.where(positive, half, 0)
    new = np.where(peer >= 0, peer, np.where(too_far & own, opposite, -1))
    active[rows, cols] = new
    ok = new >= 0
    place = (new[ok], rows[ok], cols[ok])
    sign = np.where(new[ok] < half, 1.0, -1.0)
    asked[place] = np.maximum(asked[place] - sign * error[ok], 0.0)
    amplitude[place] = state.curve.first_amplitude(asked[place])
    search = state.search.restart((rows[ok], cols[ok]))
    return replace(state, active=active, asked_siemens=asked, amplitude=amplitude, search=search)
