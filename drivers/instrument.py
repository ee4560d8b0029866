"""Instrument: the control plane of one session. A program message in, its response out; no I/O.

Stands on the dispatcher of the binary plane: leases, ranges and refusals are the same. One message
is carried out at a time, command by command; a message with a syntax error or an unknown header is
not carried out at all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from drivers.instrument_bench import Bench, Call, DeviceSession, Entry
from drivers.instrument_common import COMMON_COMMANDS
from drivers.instrument_core import CORE_COMMANDS
from drivers.instrument_system import SYSTEM_COMMANDS
from hil.core import Chip, CoreSettings
from protocols.wire.scpi import Command, encode_response, parse_message
from protocols.wire.scpi_arguments import Arguments
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_tree import CommandTree, Found

__all__ = [
    "MAX_RESPONSE_BYTES",
    "DeviceSession",
    "Instrument",
    "power_on_settings",
]

MAX_RESPONSE_BYTES = 8 << 20
"""Longest response to one message: 8 MiB hold the capabilities twice."""

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
        self.bench.update_registers()
        return self.bench.status.status_byte(message_available=message_available)

    def _execute(self, text: bytes) -> list[bytes]:
        if self._running:
            self.report(ScpiError(-221, "a message within a message"))
            return []
        self._running = True
        try:
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
