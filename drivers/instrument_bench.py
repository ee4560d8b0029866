"""Instrument bench: what a control command stands on. Knows no header.

One session on a device, its status registers, and the device's refusals as SCPI errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from drivers import translate
from hil.core import CoreSettings
from hil.info import ChipInfo
from protocols.wire import messages as wire
from protocols.wire.scpi import encode_data
from protocols.wire.scpi_arguments import Arguments
from protocols.wire.scpi_data import Value
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_status import StatusModel
from protocols.wire.scpi_stream import Plane

__all__ = ["Bench", "Call", "DeviceSession", "Entry", "Handler", "answer"]

M = TypeVar("M", bound=wire.Message)

_LEASE_HERE, _LEASE_ELSEWHERE = 1 << 8, 1 << 9  # bits of the operation register

_BY_STATUS = {
    wire.Status.NOT_OWNER: -203,
    wire.Status.STALE_TOKEN: -203,
    wire.Status.NO_SUCH_CORE: -114,
    wire.Status.CORE_CLOSED: -241,
}
_BY_CLASS = {
    wire.ErrorClass.REQUEST: -220,
    wire.ErrorClass.UNAVAILABLE: -241,
    wire.ErrorClass.TIMEOUT: -240,
    wire.ErrorClass.DEVICE_FAULT: -240,
    wire.ErrorClass.RECORD: -250,
}


class DeviceSession(Protocol):
    """One byte stream's session on the device, as the binary plane has it."""

    @property
    def info(self) -> ChipInfo:
        """What the chip says of itself."""

    @property
    def token(self) -> int:
        """Fencing token of the lease that this session holds; 0 if it holds none."""

    @property
    def last_mutation(self) -> int:
        """Id of the device's last mutation; 0 before the first."""

    def ask(self, core: int, message: wire.Message) -> wire.Message:
        """Execute a request as if it had come in a frame; an ErrorReply is an answer."""

    def frames(self, data: bytes) -> bytes:
        """Take bytes of the binary plane, return its answers."""

    def statistics(self) -> Mapping[str, int]:
        """Counters of the binary plane by name."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command: its parameters and the number behind CORE, None if that node was left out."""

    arguments: Arguments
    core_number: int | None


@dataclass
class Bench:
    """A session, its status and what commands may change of it.

    Attributes:
        session: Where requests go.
        power_on: Settings of each core at power-on, for *RST.
        headers: Every header of the instrument, for SYST:HELP:HEAD?.
        plane: Who is to read the byte stream from now on.
        message_available: Whether a response waits to be sent.
        framed: Whether the command itself came in a frame.
        frames_left: Answers of the binary plane that did not fit into a response.
    """

    session: DeviceSession
    power_on: Sequence[CoreSettings]
    headers: Sequence[str]
    status: StatusModel = field(default_factory=StatusModel)
    plane: Plane = Plane.TEXT
    message_available: bool = False
    framed: bool = False
    frames_left: bytearray = field(default_factory=bytearray)

    @property
    def info(self) -> ChipInfo:
        """What the chip says of itself."""
        return self.session.info

    def core(self, call: Call) -> int:
        """Return the index of the core a command is for: CORE1, and no node at all, is core 0.

        Raises:
            ScpiError: -114: there is no such core.
        """
        number = 1 if call.core_number is None else call.core_number
        if not 1 <= number <= len(self.info.cores):
            raise ScpiError(-114, f"CORE{number} is outside CORE1...CORE{len(self.info.cores)}")
        return number - 1

    def cores(self, call: Call) -> Sequence[int]:
        """Return the core a command names, or every core if it names none."""
        return range(len(self.info.cores)) if call.core_number is None else [self.core(call)]

    def ask(self, core: int, message: wire.Message, kind: type[M]) -> M:
        """Return the reply to a request.

        Raises:
            ScpiError: The device refused or failed it.
        """
        reply = self.session.ask(core, message)
        if isinstance(reply, wire.ErrorReply):
            number = _BY_STATUS.get(reply.status, _BY_CLASS[reply.error_class])
            raise ScpiError(number, reply.text)
        if not isinstance(reply, kind):
            raise ScpiError(-310, f"{type(reply).__name__} answers {type(message).__name__}")
        return reply

    def settings(self, core: int) -> CoreSettings:
        """Return the settings in force."""
        reply = self.ask(core, wire.SettingsRequest(), wire.SettingsReply)
        return translate.settings_from_wire(self.info.cores[core], reply)

    def configure(self, core: int, settings: CoreSettings) -> None:
        """Change settings as the next mutation of the device, under this session's lease.

        Raises:
            ScpiError: -203: another session has the lease, or nobody.
        """
        request = translate.configure_to_wire(
            self.info.cores[core],
            settings,
            token=self.session.token,
            mutation=self.session.last_mutation + 1,
        )
        self.ask(core, request, wire.ConfigureReply)

    def update_registers(self) -> None:
        """Take the conditions as they are now into the operation register."""
        owner = self.ask(0, wire.OwnerRequest(), wire.OwnerReply)
        here = self.session.token != 0
        elsewhere = bool(owner.holder) and not here
        self.status.operation.update(_LEASE_HERE * here | _LEASE_ELSEWHERE * elsewhere)

    def require_lease(self) -> None:
        """Refuse a command of several steps before its first one.

        Raises:
            ScpiError: -203: this session does not hold the lease.
        """
        if self.session.token == 0:
            owner = self.ask(0, wire.OwnerRequest(), wire.OwnerReply)
            who = f"{owner.holder} holds the lease" if owner.holder else "nobody holds the lease"
            raise ScpiError(-203, f"{who}; ask for it with SYST:LOCK:REQ?")


Handler = Callable[[Bench, Call], bytes | None]
"""Carries out one command; a query returns its answer."""


@dataclass(frozen=True)
class Entry:
    """A command of the instrument: what carries it out, and how many parameters it takes at most.

    A handler takes what it needs before it changes anything.
    """

    handler: Handler
    most: int = 0


def answer(*values: Value) -> bytes:
    """Return the answer to a query."""
    return encode_data(values)
