"""Device emulator: bytes in, bytes out. Serves any Chip as board firmware would; no I/O.

It relies on the inner core's public verbs for every check, so that a request that no host would
send is refused like any other.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

from drivers import translate
from drivers.faults import error_to_wire
from hil.core import Chip, Core
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.link import MAX_OBJECT_BYTES, DeviceLink, Incoming
from protocols.wire.vocabulary import Effect, ErrorClass, Status

__all__ = ["DeviceEmulator"]

_logger = logging.getLogger(__name__)


class DeviceEmulator:
    """A device that executes each request on `chip` when it is complete, and answers it once.

    Attributes:
        requests: Requests executed so far, HELLO included.
    """

    def __init__(self, chip: Chip, *, boot: int = 1) -> None:
        """Serve `chip`; `boot` is the boot id told to hosts."""
        self.requests = 0
        self._chip = chip
        self._boot = boot
        self._link = DeviceLink()
        self._closed: set[int] = set()

    @property
    def dropped(self) -> int:
        """Frames that fitted nothing, so far."""
        return self._link.dropped

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host; return the bytes to answer, possibly none."""
        answers = [self._answer(incoming) for incoming in self._link.receive(data)]
        return b"".join((self._link.take_output(), *answers))

    def _answer(self, incoming: Incoming) -> bytes:
        self.requests += 1
        message: wire.Message
        try:
            message = self._execute(incoming)
            return self._link.reply(incoming, message)
        except RemoteProtocolError as error:
            message = _refusal(ErrorClass.DEVICE_FAULT, Status.BAD_MESSAGE, str(error))
        except Exception as error:
            _logger.debug("core %d failed a request", incoming.core, exc_info=error)
            message = error_to_wire(error)
        return self._link.reply(incoming, message)

    def _execute(self, incoming: Incoming) -> wire.Message:
        message = incoming.message
        if isinstance(message, RemoteProtocolError):
            raise message
        if isinstance(message, wire.HelloRequest):
            return self._hello(incoming, message)
        if isinstance(message, wire.CapabilitiesRequest):
            return wire.CapabilitiesReply(json=self._capabilities())
        if incoming.core >= len(self._chip.cores):
            text = f"core {incoming.core} is outside 0...{len(self._chip.cores) - 1}"
            return _refusal(ErrorClass.REQUEST, Status.NO_SUCH_CORE, text)
        core = self._chip.cores[incoming.core]
        if incoming.core in self._closed and not isinstance(message, wire.SafeStateRequest):
            text = (
                f"core {incoming.core} of chip {self._chip.serial} is closed; open the chip again"
            )
            return _refusal(ErrorClass.UNAVAILABLE, Status.CORE_CLOSED, text)
        if isinstance(message, wire.CloseRequest):
            self._closed.add(incoming.core)
            core.safe_state()
            return wire.CloseReply()
        verb = _VERBS.get(type(message))
        if verb is None:
            raise RemoteProtocolError(f"{type(message).__name__} is unknown to this device")
        return verb(core, message)

    def _capabilities(self) -> bytes:
        return self._chip.info.model_dump_json().encode()

    def _hello(self, incoming: Incoming, hello: wire.HelloRequest) -> wire.Message:
        version = wire.PROTOCOL_VERSION
        if not hello.lowest_version <= version <= hello.highest_version:
            text = (
                f"the board speaks protocol version {version}, the host "
                f"{hello.lowest_version}...{hello.highest_version}; update the older of them"
            )
            return _refusal(ErrorClass.UNAVAILABLE, Status.NO_COMMON_VERSION, text)
        self._closed.clear()
        return wire.HelloReply(
            version=version,
            epoch=self._link.begin(incoming),
            session=hello.session,
            boot=self._boot,
            window=self._link.window,
            max_object_bytes=MAX_OBJECT_BYTES,
            capabilities_sha256=hashlib.sha256(self._capabilities()).digest(),
            last_mutation=0,
        )


def _refusal(error_class: ErrorClass, status: Status, text: str) -> wire.ErrorReply:
    return wire.ErrorReply(
        error_class=error_class, status=status, effect=Effect.NONE, text=text, fields=b"{}"
    )


def _program(core: Core, message: wire.ProgramRequest) -> wire.Message:
    result = core.program(translate.pulse_from_wire(message))
    return translate.program_result_to_wire(result)


def _read(core: Core, message: wire.ReadRequest) -> wire.Message:
    result = core.read(translate.read_from_wire(message))
    return translate.read_result_to_wire(core.info, result)


def _mvm(core: Core, message: wire.MvmRequest) -> wire.Message:
    result = core.mvm(translate.mvm_from_wire(core.info, message))
    return translate.mvm_result_to_wire(core.info, result)


def _configure(core: Core, message: wire.ConfigureRequest) -> wire.Message:
    core.configure(translate.settings_from_wire(core.info, message))
    return wire.ConfigureReply()


def _settings(core: Core, _: wire.SettingsRequest) -> wire.Message:
    return translate.settings_to_wire(core.info, core.settings())


def _status(core: Core, _: wire.StatusRequest) -> wire.Message:
    return translate.status_to_wire(core.status())


def _wait(core: Core, message: wire.WaitRequest) -> wire.Message:
    return wire.WaitReply(now_s=core.wait(message.seconds))


def _now(core: Core, _: wire.NowRequest) -> wire.Message:
    return wire.NowReply(now_s=core.now_s())


def _safe_state(core: Core, _: wire.SafeStateRequest) -> wire.Message:
    core.safe_state()
    return wire.SafeStateReply()


_VERBS: dict[type[wire.Message], Callable[[Core, Any], wire.Message]] = {
    wire.ProgramRequest: _program,
    wire.ReadRequest: _read,
    wire.MvmRequest: _mvm,
    wire.ConfigureRequest: _configure,
    wire.SettingsRequest: _settings,
    wire.StatusRequest: _status,
    wire.WaitRequest: _wait,
    wire.NowRequest: _now,
    wire.SafeStateRequest: _safe_state,
}
