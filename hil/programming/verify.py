"""Program-and-verify: pulse, read, correct the amplitude, until a device is inside the margin.

The iterative method of the chip papers (HERMES: Nat. Electron. 6, 680, 2023). A RESET pulse
overwrites a device, so each pulse is a fresh draw around what its amplitude means for that device:
the loop learns this mean from the device's own reads and keeps it once it is near. Sees no core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.errors import RequestError
from hil.info import Capability
from hil.programming.amplitude_search import nominal_step, step_factor
from hil.programming.base import (
    Observation,
    ProgrammingAlgorithm,
    ProgrammingOutcome,
    ProgrammingProblem,
    ReadProbe,
    Step,
)
from hil.programming.pulses import (
    ResetCurve,
    bounded_move,
    full_set_pulses,
    places_of,
    polarity_targets,
    reset_pulses,
)
from hil.programming.set_devices import divide_over_set_devices
from hil.programming.settings import require_range

if TYPE_CHECKING:
    from hil.core import Pulse
    from hil.info import CoreInfo

__all__ = ["DeviceState", "ProgramVerify", "VerifyState"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

COUNTS_AT_G_MAX = 80  # margin counts in one device's g_max (HERMES: 80 counts at 10.35 µS)
MOST_DOUBLINGS = 16  # of a step, while a device keeps missing on one side
GIVE_UP = 10  # misses in a row, the last at the end of the amplitude scale: the device is stuck


class DeviceState(IntEnum):
    """Where a device stands."""

    AT_SET = 0
    """At SET, about to be measured there (several devices per polarity)."""
    PENDING = 1
    """Was pulsed, will be read."""
    ACCEPTED = 2
    STUCK = 3
    """Its reads do not follow the pulses, or its target is out of its reach."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VerifyState:
    """What program-and-verify remembers; arrays are (devices, rows, cols).

    Attributes:
        info, curve: The core and its nominal RESET curve.
        polarity_siemens: Wanted conductance per polarity, S, (2, rows, cols).
        target_siemens: Wanted conductance per device, S.
        device: A `DeviceState` each, int8.
        amplitude: Amplitude code learned so far, not rounded.
        side: Sign of the last miss, int8.
        flips: Times the miss changed its side, int16.
        run: Misses in a row on one side, int16.
        iteration: Probes observed.
    """

    info: CoreInfo
    curve: ResetCurve
    polarity_siemens: Array
    target_siemens: Array
    device: npt.NDArray[np.int8]
    amplitude: Array
    side: npt.NDArray[np.int8]
    flips: npt.NDArray[np.int16]
    run: npt.NDArray[np.int16]
    iteration: int


@dataclass(frozen=True, kw_only=True)
class ProgramVerify(ProgrammingAlgorithm[VerifyState]):
    """Iterative program-and-verify, cell by cell in effect, all cells of a block at once.

    I_{k+1} = I_k + alpha (G_measured - G_target) / slope, the slope being that of the chord of the
    nominal curve between the two conductances. alpha starts at `gain`, falls as 1 / (1 + n) with n
    changes of side (Kesten's rule), and doubles with each further miss on one side.

    Attributes:
        margin_counts: A device is accepted within this many counts of its target; 80 counts are
            one device's g_max. None is the chip's published margin (HERMES: 5 counts). Never finer
            than half a pulse step or half a read step.
        max_iterations: Most rounds of pulses and reads, the one at SET included.
        averages: Reads averaged per verify.
        settle_s: Time from the last pulse to the verify read, s.
        gain: alpha at the start.
        max_step_codes: Largest change of amplitude; None is an eighth of the amplitude scale.
    """

    margin_counts: float | None = None
    max_iterations: int = 30
    averages: int = 1
    settle_s: float = 0.0
    gain: float = 1.0
    max_step_codes: float | None = None

    name = "verify"

    def __post_init__(self) -> None:
        if self.margin_counts is not None:
            require_range("margin_counts", self.margin_counts, 0.0, float(COUNTS_AT_G_MAX))
        require_range("max_iterations", self.max_iterations, 1, 10_000)
        require_range("averages", self.averages, 1, 4096)
        require_range("settle_s", self.settle_s, 0.0, 1e9)
        require_range("gain", self.gain, 0.01, 10.0)
        if self.max_step_codes is not None:
            require_range("max_step_codes", self.max_step_codes, 1.0, 65_535.0)

    @override
    def start(self, problem: ProgrammingProblem) -> Step[VerifyState]:
        """Write every device once: at the nominal amplitude, or at SET where several share."""
        info = problem.info
        if Capability.CELL_READ not in info.capabilities:
            raise RequestError(
                f"{info.model} cannot read single cells; program by MVM (method gdp)"
            )
        if info.devices_per_polarity > 1 and self.max_iterations < 2:
            raise RequestError(
                f"max_iterations {self.max_iterations} is too few for {info.devices_per_polarity} "
                "devices per polarity: one reads them at SET, at least one programs; give 2 or more"
            )
        curve = ResetCurve.of(info)
        wanted = polarity_targets(problem.target_siemens)
        share = np.repeat(wanted, info.devices_per_polarity, axis=0)
        shape = share.shape
        several = (share > 0) & (info.devices_per_polarity > 1)
        state = VerifyState(
            info=info,
            curve=curve,
            polarity_siemens=wanted,
            target_siemens=share,
            device=np.where(several, DeviceState.AT_SET, DeviceState.PENDING).astype(np.int8),
            amplitude=curve.first_amplitude(share),
            side=np.zeros(shape, np.int8),
            flips=np.zeros(shape, np.int16),
            run=np.zeros(shape, np.int16),
            iteration=0,
        )
        at_set = np.flatnonzero(several)
        pulses = _resets(state, np.flatnonzero(~several))
        if at_set.size:
            pulses = (full_set_pulses(info, shape, at_set), *pulses)
        return self._step(state, pulses)

    @override
    def advance(self, state: VerifyState, observation: Observation) -> Step[VerifyState]:
        """Accept devices inside the margin; pulse the others again, or declare them stuck."""
        read = _awaiting(state)
        at_set = state.device.flat[read] == DeviceState.AT_SET
        state = replace(state, iteration=state.iteration + 1)
        written: list[IntArray] = []
        if at_set.any():
            state, first = self._divide(state, read, observation)
            written.append(first)
        verified = read[~at_set]
        state, again = self._correct(
            state, verified, observation.siemens[~at_set], observation.saturated[~at_set]
        )
        written.append(again)
        if state.iteration >= self.max_iterations and _awaiting(state).size:
            return self._end(state, ProgrammingOutcome.ITERATION_LIMIT)
        return self._step(state, _resets(state, np.sort(np.concatenate(written))))

    def margin_siemens(self, info: CoreInfo, curve: ResetCurve, target_siemens: Array) -> Array:
        """Return the acceptance margin of each target, S: never finer than the chip resolves."""
        margin = info.device.verify_margin_siemens
        if self.margin_counts is not None:
            margin = self.margin_counts * info.device.device_g_max_siemens / COUNTS_AT_G_MAX
        half_pulse_step = curve.slope(curve.amplitude(target_siemens)) / 2
        return np.maximum(max(margin, info.read.step / 2), half_pulse_step)

    def _divide(
        self, state: VerifyState, read: IntArray, observation: Observation
    ) -> tuple[VerifyState, IntArray]:
        """Apply the rule for several devices; return the devices to pulse for the first time."""
        info, shape = state.info, state.device.shape
        grouped = (2, info.devices_per_polarity, -1)  # polarity, device, cell
        siemens, high = np.zeros(shape), np.zeros(shape, np.bool_)
        siemens.flat[read] = observation.siemens
        high.flat[read] = _above_range(info, observation.siemens, observation.saturated)
        margin = self.margin_siemens(info, state.curve, state.target_siemens)
        device, target = state.device.copy(), state.target_siemens.copy()
        for polarity in range(2):
            of_devices = device.reshape(grouped)[polarity]
            cells = np.flatnonzero(of_devices[0] == DeviceState.AT_SET)
            wanted = state.polarity_siemens[polarity].ravel()[cells]
            seen = siemens.reshape(grouped)[polarity][:, cells]
            above = high.reshape(grouped)[polarity][:, cells]
            near = margin.reshape(grouped)[polarity][:, cells]
            split = divide_over_set_devices(seen, above, wanted)
            fits = split.fits | (wanted - seen.sum(axis=0) <= near.min(axis=0))
            there = (np.abs(seen - split.target_siemens) <= near) & ~above
            left = np.where(fits, DeviceState.ACCEPTED, DeviceState.STUCK)
            of_devices[:, cells] = np.where(split.keep | there, left, DeviceState.PENDING)
            target.reshape(grouped)[polarity][:, cells] = split.target_siemens
        fresh = np.flatnonzero(
            (state.device == DeviceState.AT_SET) & (device == DeviceState.PENDING)
        )
        amplitude = state.amplitude.copy()
        amplitude.flat[fresh] = state.curve.first_amplitude(target.flat[fresh])
        return replace(state, device=device, target_siemens=target, amplitude=amplitude), fresh

    def _correct(
        self, state: VerifyState, read: IntArray, siemens: Array, saturated: BoolArray
    ) -> tuple[VerifyState, IntArray]:
        """Judge the devices read; return those to pulse again."""
        curve, target = state.curve, state.target_siemens.flat[read]
        margin = self.margin_siemens(state.info, curve, target) * (1 + 1e-9)
        high = _above_range(state.info, siemens, saturated)
        siemens = np.where(high, np.maximum(siemens, target + margin), siemens)
        miss = siemens - target
        inside = (np.abs(miss) <= margin) & ~high
        side = np.sign(miss).astype(np.int8)
        turned = side * state.side.flat[read] < 0
        flips = state.flips.flat[read] + turned
        run = np.where(turned, 1, state.run.flat[read] + 1)
        amplitude = state.amplitude.flat[read]

        most = self.max_step_codes or curve.span / 8
        alpha = step_factor(self.gain, flips, run, most_doublings=MOST_DOUBLINGS)
        move = alpha * side * nominal_step(curve, target, siemens, miss)
        ahead = bounded_move(curve, amplitude, move, most)

        stuck = ~inside & (ahead == amplitude) & (run >= GIVE_UP)
        again = ~inside & ~stuck
        verdict = np.where(
            inside, DeviceState.ACCEPTED, np.where(stuck, DeviceState.STUCK, DeviceState.PENDING)
        )
        changed = replace(
            state,
            device=_put(state.device, read, verdict),
            amplitude=_put(state.amplitude, read, np.where(again, ahead, amplitude)),
            side=_put(state.side, read, side),
            flips=_put(state.flips, read, flips),
            run=_put(state.run, read, run),
        )
        return changed, read[again]

    def _step(self, state: VerifyState, pulses: tuple[Pulse, ...]) -> Step[VerifyState]:
        waiting = _awaiting(state)
        if waiting.size == 0:
            every = bool((state.device == DeviceState.ACCEPTED).all())
            outcome = ProgrammingOutcome.CONVERGED if every else ProgrammingOutcome.STOPPED_GOOD
            return self._end(state, outcome)
        probe = ReadProbe(
            **places_of(state.device.shape, waiting), averages=self.averages, settle_s=self.settle_s
        )
        return Step(state=state, pulses=pulses, probe=probe, done=_done(state))

    def _end(self, state: VerifyState, outcome: ProgrammingOutcome) -> Step[VerifyState]:
        return Step(state=state, pulses=(), probe=None, done=_done(state), outcome=outcome)


def _awaiting(state: VerifyState) -> IntArray:
    """Devices to read next, flat, in the order of the probe."""
    return np.flatnonzero(state.device <= DeviceState.PENDING)


def _done(state: VerifyState) -> BoolArray:
    return np.asarray((state.device == DeviceState.ACCEPTED).all(axis=0))


def _resets(state: VerifyState, flat: IntArray) -> tuple[Pulse, ...]:
    if flat.size == 0:
        return ()
    return (reset_pulses(state.info, state.device.shape, flat, state.amplitude.flat[flat]),)


def _above_range(info: CoreInfo, siemens: Array, saturated: BoolArray) -> BoolArray:
    """Reads clipped at the upper end; one clipped at the lower end is a good zero."""
    middle = (info.read.min_code + info.read.max_code) / 2
    return saturated & (siemens > info.read.to_si(middle))


def _put(array: Any, flat: IntArray, values: Any) -> Any:  # noqa: ANN401 - any dtype, kept
    copy = array.copy()
    copy.flat[flat] = values
    return copy
