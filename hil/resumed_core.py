"""A core that answers from the tape of an interrupted run until it ends, then from the chip.

Knows no file and no back-end. Whoever drives it cannot tell, but for the time it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast, final

from typing_extensions import override

from hil.core import Core
from hil.errors import RecordError
from hil.journal import digest_of
from hil.requests import (
    CellRead,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
)
from hil.verb_codec import later
from hil.wrapped_core import WrappedCore

if TYPE_CHECKING:
    from hil.tape import Tape, TapeEntry

__all__ = ["Playback", "ResumedCore"]

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

Settle = Callable[[Core, Pulse], ProgramResult]
"""Brings the pulse request in doubt to its end on the live core."""


@final
class Playback:
    """How far a tape has been played; shared by the cores of a chip.

    Attributes:
        played: Verbs answered from the tape.
        now_s: Device time as the tape has it, s.
        settings: Settings that the run has made so far, by core.
        behind_s: What the chip's clock has lost since, by a restart of the board, s.
    """

    def __init__(self, tape: Tape, *, go_live: Callable[[Playback], None], settle: Settle) -> None:
        """Play `tape`; `go_live` is called once, before the first verb that reaches the chip."""
        self.played = 0
        self.now_s = 0.0
        self.settings: dict[int, CoreSettings] = {}
        self.behind_s = 0.0
        self._tape = tape
        self._go_live = go_live
        self._settle = settle
        self._live = False

    @property
    def ended(self) -> bool:
        """Every verb on the tape was played, the pulse in doubt included."""
        return self._next() is None and self._tape.doubt is None

    def recorded(self, core: int, verb: str, request: object) -> TapeEntry | None:
        """Return the entry that answers a verb; None if the tape has ended.

        Raises:
            RecordError: The run asks for something else than it did before.
        """
        entry = self._next()
        # Waiting follows the clock of a board, which no tape repeats to the microsecond.
        while entry is not None and entry.verb == "wait" and verb != "wait":
            self._advance(entry)
            entry = self._next()
        if entry is None:
            return None
        if (entry.core, entry.verb) != (core, verb) or (
            verb != "wait" and entry.request != digest_of(request)
        ):
            raise RecordError(
                f"line {entry.number} of the journal is {entry.verb} on core {entry.core}, the run "
                f"now asks core {core} for another {verb}: software, data or options have changed "
                "since; nothing was sent, run it again from its beginning",
                line=entry.number,
            )
        self._advance(entry)
        return entry

    def waited(self) -> bool:
        """Say whether the tape goes on with something else than a wait."""
        entry = self._next()
        return entry is not None and entry.verb != "wait"

    def result(self, entry: TapeEntry) -> object:
        """Return what the verb of an entry gave."""
        return self._tape.result(entry)

    def in_doubt(self, core: int, pulse: Pulse) -> bool:
        """Say whether this is the pulse request in doubt.

        Raises:
            RecordError: There is one, but it is another one.
        """
        doubt = self._tape.doubt
        if doubt is None:
            return False
        if (doubt.sent.core, doubt.sent.request) != (core, digest_of(pulse)):
            raise self._other(f"core {core} for another pulse request")
        return True

    def live(self, verb: str) -> None:
        """Make sure that the chip stands as the run left it, before it is asked for a verb."""
        if self._tape.doubt is not None and verb not in ("program", "wait"):
            raise self._other(f"for {verb}")
        if not self._live:
            self._live = True
            self._go_live(self)

    def settle(self, core: Core, pulse: Pulse) -> ProgramResult:
        """Bring the pulse request in doubt to its end."""
        result = self._settle(core, pulse)
        self._tape.doubt = None
        return result

    def _next(self) -> TapeEntry | None:
        entries = self._tape.entries
        return entries[self.played] if self.played < len(entries) else None

    def _advance(self, entry: TapeEntry) -> None:
        self.played += 1
        if entry.at_s is not None:
            self.now_s = max(self.now_s, entry.at_s)

    def _other(self, asked: str) -> RecordError:
        doubt = self._tape.doubt
        assert doubt is not None  # noqa: S101 - asked only while there is one
        return RecordError(
            f"line {doubt.sent.number} of the journal sends pulses to core {doubt.sent.core}, the "
            f"run now asks {asked}: software, data or options have changed since; nothing was "
            "sent, run it again from its beginning",
            line=doubt.sent.number,
        )


@final
class ResumedCore(WrappedCore):
    """A core of a run that is taken up again.

    Args:
        inner: The recorded core.
        playback: The tape under way.
        count: Told of every pulse request that the tape answers.
    """

    def __init__(
        self, inner: Core, playback: Playback, count: Callable[[int, Pulse], None]
    ) -> None:
        super().__init__(inner)
        self._playback = playback
        self._count = count

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        playback = self._playback
        entry = playback.recorded(self.info.core, "program", pulse)
        if entry is not None:
            result = cast("ProgramResult", playback.result(entry))
            if result.outcome is not Outcome.REJECTED:
                self._count(self.info.core, pulse)
            return result
        doubtful = playback.in_doubt(self.info.core, pulse)
        playback.live("program")
        if doubtful:
            self._count(self.info.core, pulse)
            return later(playback.settle(self._inner, pulse), playback.behind_s)
        return later(self._inner.program(pulse), playback.behind_s)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        return self._answer("read", self._inner.read, request)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        return self._answer("mvm", self._inner.mvm, request)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        before = self._playback.settings.get(self.info.core, CoreSettings())
        given = {name: value for name, value in vars(settings).items() if value is not None}
        self._playback.settings[self.info.core] = replace(before, **given)
        self._answer("configure", self._inner.configure, settings)

    @override
    def _do_status(self) -> CoreStatus:
        return self._answer("status", lambda _: self._inner.status(), None)

    @override
    def _do_settings(self) -> CoreSettings:
        return self._answer("settings", lambda _: self._inner.settings(), None)

    @override
    def _do_wait(self, seconds: float) -> float:
        if self._playback.waited():
            return self._playback.now_s
        return self._answer("wait", self._inner.wait, seconds)

    @override
    def _do_now_s(self) -> float:
        if self._playback.ended:
            self._playback.live("now")
            return self._inner.now_s() + self._playback.behind_s
        return self._playback.now_s

    @override
    def _do_safe_state(self) -> None:
        self._inner.safe_state()  # never from the tape: it must reach the chip

    def _answer(self, verb: str, call: Callable[[RequestT], ResultT], request: RequestT) -> ResultT:
        entry = self._playback.recorded(self.info.core, verb, request)
        if entry is not None:
            return cast("ResultT", self._playback.result(entry))
        self._playback.live(verb)
        return later(call(request), self._playback.behind_s)
