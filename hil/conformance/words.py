"""The words of a refusal: what the contract's own checks say, with no chip behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, final

from typing_extensions import override

from hil.core import CellRead, Core, CoreSettings, MvmRequest, Pulse
from hil.errors import RequestError
from hil.info import CoreInfo

__all__ = ["words_of"]


def words_of(info: CoreInfo, call: Callable[[Core], object]) -> tuple[str, dict[str, Any]]:
    """Return sentence and named values with which a request is refused before any I/O.

    Raises:
        AssertionError: The request is not refused before it reaches a back-end.
    """
    try:
        call(_Unreachable(info))
    except RequestError as error:
        return str(error), error.fields
    raise AssertionError("the request is not refused")


@final
class _Unreachable(Core):
    """A core whose back-end must never be asked."""

    @override
    def _do_program(self, pulse: Pulse) -> NoReturn:
        self._reached()

    @override
    def _do_read(self, request: CellRead) -> NoReturn:
        self._reached()

    @override
    def _do_mvm(self, request: MvmRequest) -> NoReturn:
        self._reached()

    @override
    def _do_configure(self, settings: CoreSettings) -> NoReturn:
        self._reached()

    @override
    def _do_status(self) -> NoReturn:
        self._reached()

    @override
    def _do_settings(self) -> NoReturn:
        self._reached()

    @override
    def _do_wait(self, seconds: float) -> NoReturn:
        self._reached()

    @override
    def _do_now_s(self) -> NoReturn:
        self._reached()

    @override
    def _do_safe_state(self) -> NoReturn:
        self._reached()

    def _reached(self) -> NoReturn:
        raise AssertionError("a wrong request reached the back-end")
