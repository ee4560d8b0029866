"""Programming: conductances onto devices, by algorithms that never see a core."""

from hil.programming.base import (
    ProgrammingAlgorithm,
    ProgrammingJob,
    ProgrammingOutcome,
    ProgrammingProblem,
    ProgrammingResult,
    run_programming,
)
from hil.programming.open_loop import OpenLoop
from hil.programming.registry import algorithm, method_names
from hil.programming.verify import ProgramVerify

__all__ = [
    "OpenLoop",
    "ProgramVerify",
    "ProgrammingAlgorithm",
    "ProgrammingJob",
    "ProgrammingOutcome",
    "ProgrammingProblem",
    "ProgrammingResult",
    "algorithm",
    "method_names",
    "run_programming",
]
