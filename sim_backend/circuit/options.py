"""What a chip of fidelity circuit is asked to solve, and how. Names and their combinations only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hil.errors import RequestError
from sim_backend.circuit.exact import ExactSolver
from sim_backend.circuit.linear import LinearSolver
from sim_backend.circuit.network import Drive, IdleDevices
from sim_backend.circuit.passes import InputMode, windows
from sim_backend.circuit.rapid import RapidSolver
from sim_backend.circuit.solver import TileSolver

__all__ = ["CircuitOptions", "SolverName"]

OVERHEAD_S = 3e-9
"""Time of a pass beside its window, s [der: an MVM of 127 slots of 1 ns takes 130 ns, JSSC]."""


class SolverName(StrEnum):
    """Solvers of the tile circuit."""

    EXACT = "exact"
    RAPID = "rapid"
    LINEAR = "linear"

    def make(self) -> TileSolver:
        """Return the solver with its own defaults."""
        if self is SolverName.EXACT:
            return ExactSolver()
        return RapidSolver() if self is SolverName.RAPID else LinearSolver()


@dataclass(frozen=True, kw_only=True)
class CircuitOptions:
    """The tile circuit of a chip.

    The ADC node of a chip is at the idle potential, so that zero input gives the converter's offset
    alone; half a millivolt away from it [code aihwkit default] every idle device would add to it.

    Attributes:
        solver: How it is solved.
        idle: What becomes of a device whose input is off.
        input_mode: How an input code becomes pulses.
        wordline_ohm: Word-line resistance per cell, ohm; 0 is ideal. The static net solves it.
        drive: Potentials and slot.
    """

    solver: SolverName = SolverName.RAPID
    idle: IdleDevices = IdleDevices.CLAMPED
    input_mode: InputMode = InputMode.ONE_PASS
    wordline_ohm: float = 0.0
    drive: Drive = field(default_factory=lambda: Drive(adc_volt=0.4))  # [code aihwkit example]

    def __post_init__(self) -> None:
        if self.solver is SolverName.LINEAR and self.idle is IdleDevices.DISCONNECTED:
            raise RequestError(
                "solver=linear does not go with idle=disconnected: the network depends on the "
                "input and has no effective matrix; use solver=rapid or solver=exact"
            )
        if self.wordline_ohm and (
            self.solver is not SolverName.LINEAR or self.idle is not IdleDevices.CLAMPED
        ):
            raise RequestError(
                f"wordline_ohm={self.wordline_ohm:g} does not go with solver={self.solver} and "
                f"idle={self.idle}: with word lines only the linear network is solved; use "
                "solver=linear and idle=clamped"
            )

    @property
    def words(self) -> tuple[str, ...]:
        """All of it, as in an address."""
        return (
            f"solver={self.solver}",
            f"idle={self.idle}",
            f"input_mode={self.input_mode}",
            f"wordline_ohm={self.wordline_ohm!r}",
        )

    def mvm_s(self, max_code: int, phases: int) -> float:
        """Time of one vector, s."""
        planned = windows(self.input_mode, max_code)
        slots = sum(slots for slots, _ in planned)
        return phases * (slots * self.drive.slot_s + len(planned) * OVERHEAD_S)
