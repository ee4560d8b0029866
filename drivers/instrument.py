"""Instrument: the control plane of one session. A program message in, its response out; no I/O.

Stands on the dispatcher of the binary plane: leases, ranges and refusals are the same. One message
is carried out at a time, command by command; a message with a syntax error or an unknown header is
not carried out at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from drivers.instrument_bench import Bench, Call, DeviceSession, Entry
from drivers.instrument_common import COMMON_COMMANDS
from drivers.instrument_core import CORE_COMMANDS
from drivers.instrument_system import SYSTEM_COMMANDS
from hil.core import Chip, CoreSettings
from protocols.wire import messages as wire
from protocols.wire.scpi import Command, encode_response, parse_message
from protocols.wire.scpi_arguments import Arguments
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_stream import BinaryData, Plane, PlaneDemultiplexer
from protocols.wire.scpi_tree import CommandTree, Found

__all__ = [
    "MAX_RESPONSE_BYTES",
    "DeviceSession",
    "Instrument",
    "InstrumentStream",
    "power_on_settings",
]

MAX_RESPONSE_BYTES = 8 << 20
"""Longest response to one message: 8 MiB hold the capabilities twice."""

_LEASE_HERE, _LEASE_ELSEWHERE = 1 << 8, 1 << 9  # bits of the operation register
_LAST_COMMAND_ERROR = -199

_logger = logging.getLogger(__name__)

_TREE: CommandTree[Entry] = CommandTree({**COMMON_COMMANDS, **SYSTEM_COMMANDS, **CORE_COMMANDS})


def power_on_settings(chip: Chip) -> tuple[CoreSettings, ...]:
    """Return the settings of each core as they are now, for *RST; ask once, at power-on."""
    return tuple(core.settings() for core in chip.cores)


class Instrument:
    """Executes program messages on a session.

    Attributes:
        bench: The session, its status registers and error queue.
    """

    def __init__(self, session: DeviceSession, power_on: Sequence[CoreSettings]) -> None:
        """Take the session and the settings that *RST restores, one for each core."""
        self.bench = Bench(session=session, power_on=power_on, headers=_TREE.patterns)
        self._running = False

    def execute(self, text: bytes) -> bytes:
        """Carry out one program message; return the response with its newline, or nothing.

        Whatever goes wrong is an entry of the error queue.
        """
        answers = self._execute(text)
        return encode_response(answers)

    def execute_framed(self, text: str) -> bytes:
        """Carry out a message that came in a frame; return the response without its newline."""
        self.bench.framed = True
        try:
            return b";".join(self._execute(text.encode("utf-8", "replace")))
        finally:
            self.bench.framed = False

    def report(self, error: ScpiError) -> None:
        """Put an error of the stream into the queue."""
        _logger.debug("control plane: %s", error)
        self.bench.status.report(error)

    def status_byte(self, *, message_available: bool = False) -> int:
        """Return the status byte, as a serial poll or a HiSLIP status query asks for it."""
        self._update_registers()
        return self.bench.status.status_byte(message_available=message_available)

    def _execute(self, text: bytes) -> list[bytes]:
        if self._running:
            self.report(ScpiError(-221, "a message within a message"))
            return []
        self._running = True
        try:
            self._update_registers()
            commands = parse_message(text)
            targets = [_TREE.find(command) for command in commands]
            return self._carry_out(commands, targets)
        except ScpiError as error:
            self.report(error)
        except Exception as error:
            _logger.debug("a message failed", exc_info=error)
            self.report(ScpiError(-310, f"{type(error).__name__}: {error}"))
        finally:
            self.bench.message_available = False
            self._running = False
        return []

    def _carry_out(
        self, commands: Sequence[Command], targets: Sequence[Found[Entry]]
    ) -> list[bytes]:
        answers: list[bytes] = []
        size = 0
        for command, target in zip(commands, targets, strict=True):
            try:
                answer = self._call(command, target)
            except ScpiError as error:
                self.report(error)
                if error.number >= _LAST_COMMAND_ERROR:
                    break  # a command error ends the message (IEEE 488.2, 6.1.6.1.1)
                continue
            if answer is None:
                continue
            answers.append(answer)
            size += len(answer)
            if size > MAX_RESPONSE_BYTES:
                raise ScpiError(-430, f"the response is longer than {MAX_RESPONSE_BYTES} bytes")
            self.bench.message_available = True
        return answers

    def _call(self, command: Command, target: Found[Entry]) -> bytes | None:
        entry, given = target.target, len(command.parameters)
        if given > entry.most:
            raise ScpiError(-108, f"{command.header} takes {entry.most}, {given} were given")
        arguments = Arguments(command.parameters)
        call = Call(arguments=arguments, core_number=target.numbers.get("CORE"))
        try:
            return entry.handler(self.bench, call)
        except ScpiError:
            raise
        except Exception as error:
            _logger.debug("%s failed", command.header, exc_info=error)
            raise ScpiError(-310, f"{type(error).__name__}: {error}") from error

    def _update_registers(self) -> None:
        owner = self.bench.session.ask(0, wire.OwnerRequest())
        held = isinstance(owner, wire.OwnerReply) and bool(owner.holder)
        here = self.bench.session.token != 0
        condition = _LEASE_HERE * here | _LEASE_ELSEWHERE * (held and not here)
        self.bench.status.operation.update(condition)


class InstrumentStream:
    """One byte stream of a device: control plane after power-up, then the plane it is switched to.

    Serve it like the binary plane alone: bytes in, bytes out.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._planes = PlaneDemultiplexer()

    @property
    def plane(self) -> Plane:
        """Who reads the stream now."""
        return self._planes.plane

    def receive(self, data: bytes) -> bytes:
        """Take bytes in any split; return the bytes to answer, possibly none."""
        return b"".join(self.serve(data))

    def serve(self, data: bytes) -> Iterator[bytes]:
        """Take bytes in any split; yield each answer before the next message is carried out.

        Exhaust it: a server that sends each answer first keeps one at a time.
        """
        bench = self._instrument.bench
        self._planes.feed(data)
        while (item := self._planes.take()) is not None:
            bench.plane = self._planes.plane
            answer = b""
            if isinstance(item, ScpiError):
                self._instrument.report(item)
            elif isinstance(item, BinaryData):
                answer = bench.session.frames(item.data)
            else:
                answer = self._instrument.execute(item.text)
            self._planes.plane = bench.plane
            if answer:
                yield answer

    def lapse(self) -> None:
        """Drop an unfinished message: nothing has come for a second."""
        error = self._planes.lapse()
        if error is not None:
            self._instrument.report(error)
