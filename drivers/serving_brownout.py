"""Brown-out: a chip whose supply breaks down in the middle of one pulse request. No I/O."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from typing_extensions import override

from hil.core import Chip, Core, ProgramResult, Pulse
from hil.wrapped_core import WrappedCore

__all__ = ["PowerLoss", "with_brownout"]


class PowerLoss(BaseException):
    """The supply broke down while a request was being executed: nobody is left to answer it."""


def with_brownout(chip: Chip, fails_at: int, seed: int) -> Chip:
    """Return `chip`, losing power in its pulse request number `fails_at`, from 1.

    A part of the request is applied, drawn from `seed`; then `PowerLoss` is raised. Once.
    """
    counter = _Counter(fails_at, seed)
    return replace(chip, cores=tuple(_FailingCore(core, counter) for core in chip.cores))


class _Counter:
    """Counts the pulse requests of a chip down to the one that fails."""

    def __init__(self, left: int, seed: int) -> None:
        self.left = left
        self._generator = np.random.Generator(np.random.Philox(seed))

    def pulses_before_failure(self, pulse: Pulse) -> int | None:
        """Return how many entries of this request are applied before the power fails."""
        self.left -= 1
        return int(self._generator.integers(len(pulse.rows) + 1)) if self.left == 0 else None


class _FailingCore(WrappedCore):
    """A core whose supply breaks down in the middle of one pulse request."""

    def __init__(self, inner: Core, counter: _Counter) -> None:
        super().__init__(inner)
        self._counter = counter

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        applied = self._counter.pulses_before_failure(pulse)
        if applied is None:
            return self._inner.program(pulse)
        self._inner.program(pulse.part(slice(applied)))
        raise PowerLoss
