"""Open loop: one RESET pulse per device at the nominal amplitude, nothing read. Sees no core.

As exact as the devices are typical: exact on an ideal chip, the coarse first write on a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from hil.programming.base import (
    Observation,
    ProgrammingAlgorithm,
    ProgrammingOutcome,
    ProgrammingProblem,
    Step,
)
from hil.programming.pulses import ResetCurve, reset_pulses, split_equally

__all__ = ["OpenLoop"]


@dataclass(frozen=True, kw_only=True)
class OpenLoop(ProgrammingAlgorithm[None]):
    """Write once; devices of one polarity share the target equally. Nothing is verified."""

    name = "open_loop"

    @override
    def start(self, problem: ProgrammingProblem) -> Step[None]:
        """Return the only step."""
        info = problem.info
        curve = ResetCurve.of(info)
        target = split_equally(info, problem.target_siemens)
        every = np.arange(target.size)
        pulse = reset_pulses(info, target.shape, every, curve.first_amplitude(target).ravel())
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
