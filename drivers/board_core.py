"""Board core: one message for each verb, results checked against `info`. Knows no transport."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from drivers import translate, translate_bulk
from drivers.board_link import Asked, expect
from hil.checks import check_mvm
from hil.core import (
    CellRead,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    ProgramResult,
    Pulse,
    ReadResult,
)
from hil.errors import DeviceFaultError, HilError
from hil.info import CoreInfo, Direction
from hil.requests import MutationId, MutationReport
from protocols.wire import messages as wire

if TYPE_CHECKING:
    from drivers.board import Board

__all__ = ["BoardCore"]

ReplyT = TypeVar("ReplyT", bound=wire.Message)

_logger = logging.getLogger(__name__)

_BYTES_PER_CODE = 5  # of a reply at most, with its share of the bitmap


class BoardCore(Core):
    """A core of a board, reached through its session."""

    def __init__(self, info: CoreInfo, board: Board) -> None:
        super().__init__(info)
        self._board = board
        self._link = board.link

    @property
    def board(self) -> Board:
        """The session that this core belongs to."""
        return self._board

    def mvm_many(self, requests: Sequence[MvmRequest]) -> list[MvmResult]:
        """Multiply several batches, sent ahead of their replies; results in the same order.

        Observers see one MVM for each, after all have ended.

        Raises:
            RequestError: As `mvm`; nothing was sent.
            HilError: A batch failed; those behind it were executed all the same.
        """
        for request in requests:
            check_mvm(self.info, request)
        self._require_open()
        answers = self._link.ask_many([self._mvm_asked(request) for request in requests])
        results = []
        for request, answer in zip(requests, answers, strict=True):
            reply = expect(answer, wire.MvmReply)
            result = translate.mvm_result_from_wire(self.info, self._shape(request), reply)
            results.append(self._verb("mvm", request, check_mvm, _already(result)))
        return results

    def mvm_seeded(self, request: translate_bulk.SeededMvm) -> MvmResult:
        """Multiply a batch that the board draws itself; as `mvm` with `request.drawn(info)`."""

        def ask(drawn: MvmRequest) -> MvmResult:
            message = translate_bulk.seeded_to_wire(self.info, request)
            shape = self._shape(drawn)
            reply = self._ask(
                message,
                wire.MvmSeededReply,
                execution_s=request.batch * max(self.info.mvm_s.values(), default=0.0),
                reply_bytes=_BYTES_PER_CODE * shape[0] * shape[1],
            )
            return translate.mvm_result_from_wire(self.info, shape, reply)

        return self._verb("mvm", request.drawn(self.info), check_mvm, ask)

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        info = self.info
        limits = info.limits(pulse.family)

        def make(token: int, mutation: int) -> wire.Message:
            return translate_bulk.map_to_wire(
                info, pulse, token=token, mutation=mutation
            ) or translate.pulse_to_wire(info, pulse, token=token, mutation=mutation)

        slot_s = 0.0 if limits is None else limits.slot_s
        reply = self._board.mutate(info.core, make, execution_s=slot_s * pulse.total)
        if not isinstance(reply, (wire.ProgramReply, wire.ProgramMapReply)):
            raise DeviceFaultError(f"the board's reply to pulses is {reply}")
        return translate.program_result_from_wire(reply)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        info, count = self.info, len(request)
        region = translate_bulk.region_to_wire(request)
        execution_s = info.read_slot_s * count * request.averages
        size = _BYTES_PER_CODE * count
        reply: wire.ReadReply | wire.ReadRegionReply
        if region is not None:
            reply = self._ask(
                region, wire.ReadRegionReply, execution_s=execution_s, reply_bytes=size
            )
        else:
            message = translate.read_to_wire(info, request)
            reply = self._ask(message, wire.ReadReply, execution_s=execution_s, reply_bytes=size)
        return translate.read_result_from_wire(info, count, reply)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        (answer,) = self._link.ask_many([self._mvm_asked(request)])
        reply = expect(answer, wire.MvmReply)
        return translate.mvm_result_from_wire(self.info, self._shape(request), reply)

    def _mvm_asked(self, request: MvmRequest) -> Asked:
        info = self.info
        batch, outputs = self._shape(request)
        return Asked(
            info.core,
            translate.mvm_to_wire(info, request),
            batch * max(info.mvm_s.values(), default=0.0),
            _BYTES_PER_CODE * batch * outputs,
        )

    def _shape(self, request: MvmRequest) -> tuple[int, int]:
        window = translate.window_of(self.info, request.window)
        forward = request.direction is Direction.FORWARD
        return request.input_codes.shape[0], window.cols if forward else window.rows

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        def make(token: int, mutation: int) -> wire.Message:
            return translate.configure_to_wire(self.info, settings, token=token, mutation=mutation)

        expect(self._board.mutate(self.info.core, make), wire.ConfigureReply)

    @override
    def _do_status(self) -> CoreStatus:
        return translate.status_from_wire(self._ask(wire.StatusRequest(), wire.StatusReply))

    @override
    def _do_settings(self) -> CoreSettings:
        reply = self._ask(wire.SettingsRequest(), wire.SettingsReply)
        return translate.settings_from_wire(self.info, reply)

    @override
    def _do_wait(self, seconds: float) -> float:
        message = wire.WaitRequest(seconds=seconds)
        return self._ask(message, wire.WaitReply, execution_s=seconds).now_s

    @override
    def _do_now_s(self) -> float:
        return self._ask(wire.NowRequest(), wire.NowReply).now_s

    @override
    def _do_next_mutation(self) -> MutationId:
        return MutationId(boot=self._board.boot, number=self._board.last_mutation + 1)

    @override
    def _do_fate(self, mutation: MutationId) -> MutationReport | None:
        if mutation.boot != self._board.boot:
            return None  # a board without memory counts from 0 again: the number may be another's
        return self._board.reconcile(mutation.number)

    @override
    def _do_safe_state(self) -> None:
        self._link.require()
        self._link.safe_state(self.info.core)

    @override
    def _do_close(self) -> None:
        if self._link.lost:
            return
        try:
            self._ask(wire.CloseRequest(), wire.CloseReply)
        except HilError as error:
            # Closing must succeed; a lost board goes to its safe state by its own watchdog.
            _logger.debug("core %d was closed without the board: %s", self.info.core, error)

    def _ask(
        self,
        message: wire.Message,
        expected: type[ReplyT],
        *,
        execution_s: float = 0.0,
        reply_bytes: int = 0,
    ) -> ReplyT:
        asked = Asked(self.info.core, message, execution_s, reply_bytes)
        (answer,) = self._link.ask_many([asked])
        return expect(answer, expected)


def _already(result: MvmResult) -> Callable[[MvmRequest], MvmResult]:
    return lambda _: result
