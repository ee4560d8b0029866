"""Brown-out: a chip whose supply breaks down in the middle of one pulse request. No I/O."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from typing_extensions import override

from hil.core import (
    CellRead,
    Chip,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    ProgramResult,
    Pulse,
    ReadResult,
)

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


class _FailingCore(Core):
    """A core whose supply breaks down in the middle of one pulse request."""

    def __init__(self, inner: Core, counter: _Counter) -> None:
        super().__init__(inner.info)
        self._inner = inner
        self._counter = counter

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        applied = self._counter.pulses_before_failure(pulse)
        if applied is None:
            return self._inner.program(pulse)
        names = ("device", "rows", "cols", "amplitude", "width", "count")
        self._inner.program(replace(pulse, **{n: getattr(pulse, n)[:applied] for n in names}))
        raise PowerLoss

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        return self._inner.read(request)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        return self._inner.mvm(request)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._inner.configure(settings)

    @override
    def _do_status(self) -> CoreStatus:
        return self._inner.status()

    @override
    def _do_settings(self) -> CoreSettings:
        return self._inner.settings()

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._inner.wait(seconds)

    @override
    def _do_now_s(self) -> float:
        return self._inner.now_s()

    @override
    def _do_safe_state(self) -> None:
        self._inner.safe_state()

    @override
    def _do_close(self) -> None:
        self._inner.close()
