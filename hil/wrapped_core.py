"""A core around a core: every verb goes to the inner one. Wrappers override what they change."""

from __future__ import annotations

from typing_extensions import override

from hil.core import Core
from hil.info import CoreInfo
from hil.requests import (
    CellRead,
    CoreSettings,
    CoreStatus,
    MutationId,
    MutationReport,
    MvmRequest,
    MvmResult,
    ProgramResult,
    Pulse,
    ReadResult,
)

__all__ = ["WrappedCore"]


class WrappedCore(Core):
    """Forwards every verb to `inner`, public verb to public verb; closing it closes `inner`."""

    def __init__(self, inner: Core, info: CoreInfo | None = None) -> None:
        """Wrap `inner`; `info` is what the wrapper says of itself [default: what `inner` says]."""
        super().__init__(inner.info if info is None else info)
        self._inner = inner

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        return self._inner.program(pulse)

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
    def _do_next_mutation(self) -> MutationId | None:
        return self._inner.next_mutation()

    @override
    def _do_fate(self, mutation: MutationId) -> MutationReport | None:
        return self._inner.fate(mutation)

    @override
    def _do_close(self) -> None:
        self._inner.close()
