"""Board driver: verbs of a core -> messages over a transport. Knows no simulator and no port."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError
from typing_extensions import override

from drivers import translate
from drivers.faults import error_from_wire
from drivers.transport import Transport
from drivers.wiretap import tapped
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
from hil.errors import (
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    HilError,
    RequestError,
)
from hil.info import ChipInfo, CoreInfo, Direction
from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.link import HostLink, Reply

__all__ = ["BoardCore", "BoardLink", "LinkTiming", "open_board"]

ReplyT = TypeVar("ReplyT", bound=wire.Message)

_logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 16
_MAX_CAPABILITIES_BYTES = 1 << 22
_CODE_LIMIT = 1 << 31  # codes are at most 32-bit integers


@dataclass(frozen=True, kw_only=True)
class LinkTiming:
    """How long a reply may take: base + bytes both ways / rate + the announced execution time.

    Attributes:
        base_s: For the link's latency and a busy device.
        bytes_per_s: Slowest rate worth waiting for; 0.3 MB/s is a serial line at 3 Mbaud.
        execution_factor: Margin on the execution time that `CoreInfo` announces.
    """

    base_s: float = 5.0
    bytes_per_s: float = 100e3
    execution_factor: float = 1.5

    def limit_s(self, moved_bytes: int, execution_s: float) -> float:
        """Return how long to wait for a reply."""
        return self.base_s + moved_bytes / self.bytes_per_s + self.execution_factor * execution_s


class BoardLink:
    """One session with one board, in lock-step. After a time-out it is lost until reopened."""

    def __init__(self, transport: Transport, timing: LinkTiming) -> None:
        self._transport = transport
        self._timing = timing
        self._link = HostLink()
        self._lost = False

    def open(self) -> ChipInfo:
        """Agree on version and epoch; return what the board says of itself, checked.

        Raises:
            CoreTimeoutError: Nothing answers.
            CoreUnavailableError: The board speaks no version of ours.
            DeviceFaultError: What it says of itself makes no sense.
        """
        session = secrets.randbits(64)
        version = wire.PROTOCOL_VERSION
        hello = wire.HelloRequest(
            lowest_version=version, highest_version=version, session=session, holder=""
        )
        answer = self.ask(0, hello, wire.HelloReply)
        if (answer.version, answer.session) != (version, session) or answer.epoch == 0:
            raise DeviceFaultError(f"the board answered HELLO with {answer}; update its firmware")
        self._link.begin(answer)
        return _checked_info(self.ask(0, wire.CapabilitiesRequest(), wire.CapabilitiesReply).json)

    def ask(
        self,
        core: int,
        message: wire.Message,
        expected: type[ReplyT],
        *,
        execution_s: float = 0.0,
        reply_bytes: int = 0,
    ) -> ReplyT:
        """Send a request and return its reply.

        Args:
            core: Core it is for.
            message: The request.
            expected: Type of its reply.
            execution_s: How long the device will be busy, s.
            reply_bytes: Rough size of a large reply.

        Raises:
            CoreTimeoutError: No reply in time; the link is lost from now on.
            CoreUnavailableError: The link was lost before, or the peer is gone.
            HilError: The board's own error, as it raised it.
        """
        if self._lost:
            raise CoreUnavailableError("the link to the board was lost; open the chip again")
        try:
            sequence, data = self._link.request(core, message)
        except LocalProtocolError as error:
            raise RequestError(str(error)) from error
        limit_s = self._timing.limit_s(len(data) + reply_bytes, execution_s)
        deadline_s = time.monotonic() + limit_s
        _logger.debug("> %d core %d %s %d bytes", sequence, core, type(message).__name__, len(data))
        self._transport.write(data)
        while True:
            arrived = self._transport.read(_READ_BYTES, deadline_s)
            if not arrived or time.monotonic() > deadline_s:
                break
            for reply in self._link.receive(arrived):
                if isinstance(reply, Reply) and reply.sequence == sequence:
                    _logger.debug("< %d %s", sequence, type(reply.message).__name__)
                    return _expect(reply.message, expected)
        self._lost = True
        self._link.forget()
        raise CoreTimeoutError(
            f"core {core} gave no reply to {type(message).__name__} within {limit_s:.1f} s; "
            "its state is unknown, open the chip again",
            core=core,
            limit_s=limit_s,
        )


def _expect(message: wire.Message | RemoteProtocolError, expected: type[ReplyT]) -> ReplyT:
    if isinstance(message, expected):
        return message
    if isinstance(message, wire.ErrorReply):
        raise error_from_wire(message)
    raise DeviceFaultError(f"the board's reply is no {expected.__name__}: {message}")


def _checked_info(document: bytes) -> ChipInfo:
    if len(document) > _MAX_CAPABILITIES_BYTES:
        raise DeviceFaultError(
            f"capabilities of {len(document)} bytes are more than {_MAX_CAPABILITIES_BYTES}"
        )
    try:
        info = ChipInfo.model_validate_json(document)
    except ValidationError as error:
        raise DeviceFaultError(f"the board's capabilities make no sense: {error}") from error
    for index, core in enumerate(info.cores):
        if (core.core, core.chip_serial, core.backend) != (index, info.serial, info.backend):
            raise DeviceFaultError(
                f"capabilities of chip {info.serial!r} list core {core.core} of chip "
                f"{core.chip_serial!r} ({core.backend.value}) at place {index}"
            )
        _check_scales(core)
    return info


def _check_scales(info: CoreInfo) -> None:
    scales = [info.input, info.output_codes, info.read]
    scales += [s for s in (info.gain_trim, info.offset_trim) if s is not None]
    scales += [s for limits in info.pulses for s in (limits.amplitude, limits.width)]
    for scale in scales:
        if not -_CODE_LIMIT <= scale.min_code <= scale.max_code < _CODE_LIMIT:
            raise DeviceFaultError(
                f"capabilities list codes {scale.min_code}...{scale.max_code}; 32 bits are the most"
            )


class BoardCore(Core):
    """A core behind a link: one message for each verb, results checked against `info`."""

    def __init__(self, info: CoreInfo, link: BoardLink) -> None:
        super().__init__(info)
        self._link = link

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        limits = self.info.limits(pulse.family)
        slot_s = 0.0 if limits is None else limits.slot_s
        reply = self._link.ask(
            self.info.core,
            translate.pulse_to_wire(self.info, pulse, token=0, mutation=0),
            wire.ProgramReply,
            execution_s=slot_s * pulse.total,
        )
        return translate.program_result_from_wire(reply)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        count = len(request)
        reply = self._link.ask(
            self.info.core,
            translate.read_to_wire(self.info, request),
            wire.ReadReply,
            execution_s=self.info.read_slot_s * count * request.averages,
            reply_bytes=5 * count,
        )
        return translate.read_result_from_wire(self.info, count, reply)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        info, window = self.info, request.window
        rows, cols = (info.rows, info.cols) if window is None else (window.rows, window.cols)
        outputs = cols if request.direction is Direction.FORWARD else rows
        batch = request.input_codes.shape[0]
        reply = self._link.ask(
            info.core,
            translate.mvm_to_wire(info, request),
            wire.MvmReply,
            execution_s=batch * max(info.mvm_s.values(), default=0.0),
            reply_bytes=5 * batch * outputs,
        )
        return translate.mvm_result_from_wire(info, (batch, outputs), reply)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        message = translate.configure_to_wire(self.info, settings, token=0, mutation=0)
        self._link.ask(self.info.core, message, wire.ConfigureReply)

    @override
    def _do_status(self) -> CoreStatus:
        reply = self._link.ask(self.info.core, wire.StatusRequest(), wire.StatusReply)
        return translate.status_from_wire(reply)

    @override
    def _do_settings(self) -> CoreSettings:
        reply = self._link.ask(self.info.core, wire.SettingsRequest(), wire.SettingsReply)
        return translate.settings_from_wire(self.info, reply)

    @override
    def _do_wait(self, seconds: float) -> float:
        message = wire.WaitRequest(seconds=seconds)
        return self._link.ask(self.info.core, message, wire.WaitReply, execution_s=seconds).now_s

    @override
    def _do_now_s(self) -> float:
        return self._link.ask(self.info.core, wire.NowRequest(), wire.NowReply).now_s

    @override
    def _do_safe_state(self) -> None:
        self._link.ask(self.info.core, wire.SafeStateRequest(), wire.SafeStateReply)

    @override
    def _do_close(self) -> None:
        try:
            self._link.ask(self.info.core, wire.CloseRequest(), wire.CloseReply)
        except HilError as error:
            # Closing must succeed; a lost board goes to its safe state by its own watchdog.
            _logger.debug("core %d was closed without the board: %s", self.info.core, error)


def open_board(transport: Transport, *, address: str, timing: LinkTiming | None = None) -> Chip:
    """Open the board behind `transport`; the chip owns the transport from now on.

    Args:
        transport: Byte stream to the board.
        address: Address to show in `ChipInfo`.
        timing: How long to wait for replies.

    Raises:
        CoreTimeoutError: Nothing answers.
        CoreUnavailableError: The peer is gone or speaks no version of ours.
        DeviceFaultError: What the board says of itself makes no sense.
    """
    transport = tapped(transport)
    link = BoardLink(transport, timing or LinkTiming())
    try:
        info = link.open().model_copy(update={"address": address})
    except BaseException:
        transport.close()
        raise
    cores = tuple(BoardCore(core, link) for core in info.cores)
    return Chip(info=info, cores=cores, _release=transport.close)
