"""Recording: any chip, every verb written to a file as it ends. Knows no simulator and no board.

A recorder is a core around a core; whoever uses it cannot tell. What crosses the chip's byte link,
where it has one, is written as well.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import unquote

import numpy as np
from typing_extensions import override

from drivers.tape import Kind, TapeWriter
from drivers.tape_verbs import Verb, error_values, plain
from drivers.wiretap import Tap, tapping
from hil.address import Address
from hil.backends import open_chip
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
from hil.errors import RequestError
from hil.wrapped_core import WrappedCore

__all__ = ["RecorderCore", "open_recorded", "record_chip"]

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

_OPTION = "to"


def open_recorded(address: Address) -> Chip:
    """Open "record:INNER?...&to=FILE": the chip at INNER, everything it is asked and says in FILE.

    Raises:
        RequestError: No file is named, or the inner address is wrong.
        RecordError: The file exists already or cannot be made.
    """
    target = address.options.get(_OPTION)
    if target is None:
        raise RequestError(
            f"address {address.text!r} names no file; write record:INNER?...&to=FILE, for example "
            "record:sim:hermes?seed=7&to=runs/first.rec"
        )
    rest = "&".join(f"{k}={v}" for k, v in address.options.items() if k != _OPTION)
    inner = address.target + (f"?{rest}" if rest else "")
    tape = TapeWriter(Path(unquote(target)))
    try:
        with tapping(_wire_of(tape)):
            chip = open_chip(inner)
        return record_chip(chip, tape, address=address.text)
    except BaseException:
        tape.discard()
        raise


def record_chip(chip: Chip, tape: TapeWriter, *, address: str) -> Chip:
    """Return `chip` with every core recorded onto `tape`; closing it closes both."""
    try:
        tape.write(
            Kind.CHIP,
            {
                "info": chip.info.model_dump_json(),
                "versions": {"aimc-hil": version("aimc-hil")},
            },
        )
    except BaseException:
        chip.close()
        raise

    def release() -> None:
        try:
            chip.close()
        finally:
            tape.write(Kind.END, {"records": tape.records})
            tape.close()

    return Chip(
        info=chip.info.model_copy(update={"address": address}),
        cores=tuple(RecorderCore(core, tape) for core in chip.cores),
        taken_from=chip.taken_from,
        _release=release,
        _preserve=chip.preserve,
    )


def _wire_of(tape: TapeWriter) -> Tap:
    def note(channel: int, outgoing: bool, data: bytes) -> None:
        kind = Kind.SENT if outgoing else Kind.RECEIVED
        tape.write(kind, {"bytes": np.frombuffer(data, np.uint8)}, core=channel)

    return note


@final
class RecorderCore(WrappedCore):
    """A core that writes what the wrapped one was asked and answered."""

    def __init__(self, inner: Core, tape: TapeWriter) -> None:
        super().__init__(inner)
        self._tape = tape

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        return self._note(Verb.PROGRAM, self._inner.program, pulse)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        return self._note(Verb.READ, self._inner.read, request)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        return self._note(Verb.MVM, self._inner.mvm, request)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._note(Verb.CONFIGURE, self._inner.configure, settings)

    @override
    def _do_status(self) -> CoreStatus:
        return self._note(Verb.STATUS, lambda _: self._inner.status(), None)

    @override
    def _do_settings(self) -> CoreSettings:
        return self._note(Verb.SETTINGS, lambda _: self._inner.settings(), None)

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._note(Verb.WAIT, self._inner.wait, seconds)

    @override
    def _do_now_s(self) -> float:
        return self._note(Verb.NOW, lambda _: self._inner.now_s(), None)

    @override
    def _do_safe_state(self) -> None:
        self._note(Verb.SAFE_STATE, lambda _: self._inner.safe_state(), None)

    def _note(self, verb: Verb, call: Callable[[RequestT], ResultT], request: RequestT) -> ResultT:
        said: dict[str, Any] = {"request": plain(request)}
        try:
            result = call(request)
        except Exception as error:
            said["error"] = error_values(error)
            self._tape.write(Kind.VERB, said, verb=verb, core=self.info.core)
            raise
        said["result"] = plain(result)
        self._tape.write(Kind.VERB, said, verb=verb, core=self.info.core)
        return result
