"""Open loop: one RESET pulse per device at the nominal amplitude, nothing read. Sees no core.

As exact as the devices are typical: exact on an ideal chip, the coarse first write on a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.programming.base import (
    Observation,
    ProgrammingAlgorithm,
    ProgrammingOutcome,
    ProgrammingProblem,
    Step,
)
from hil.programming.pulses import ResetCurve, polarity_targets, reset_pulses

__all__ = ["OpenLoop"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class OpenLoop(ProgrammingAlgorithm[None]):
    """Write once; devices of one polarity share the target equally, to the nearest code.

    What one device misses by rounding, the next one makes up for. Nothing is verified.
    """

    name = "open_loop"
    pulses_per_device = 1.0

    @override
    def start(self, problem: ProgrammingProblem) -> Step[None]:
        """Return the only step."""
        info = problem.info
        curve = ResetCurve.of(info)
        amplitude = np.concatenate(
            [
                _shared_amplitudes(curve, wanted, info.devices_per_polarity)
                for wanted in polarity_targets(problem.target_siemens)
            ]
        )
        every = np.arange(amplitude.size)
        pulse = reset_pulses(info, amplitude.shape, every, amplitude.ravel())
        return Step(
            state=None,
            pulses=(pulse,),
            probe=None,
            done=np.ones(problem.target_siemens.shape, np.bool_),
            outcome=ProgrammingOutcome.UNVERIFIED,
        )

    @override
    def advance(self, state: None, observation: Observation) -> Step[None]:
        """Never called by `run_programming`: the first step has no probe."""
        raise NotImplementedError("open loop observes nothing; its first step is its last")


def _shared_amplitudes(curve: ResetCurve, wanted: Array, devices: int) -> Array:
    """Whole codes, (devices, rows, cols), whose nominal conductances add up to `wanted`."""
    codes: list[Array] = []
    left = wanted
    for waiting in range(devices, 0, -1):
        share = np.maximum(left, 0.0) / waiting
        code = np.rint(curve.first_amplitude(np.where(wanted > 0, share, 0.0)))
        codes.append(code)
        left = left - curve.conductance(code)
    return np.stack(codes)
