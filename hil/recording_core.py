"""A core that journals what the wrapped one does, and asks the guard before a pulse leaves.

Write-ahead: for a pulse the intent, with its cells and codes, is on the disk before the request
leaves; what came of it follows after the reply. Algorithms cannot tell it from the core itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, final

from typing_extensions import override

from hil.core import Core
from hil.errors import RequestError
from hil.journal import Journal, digest_of
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
from hil.verb_codec import pack_pulse, pack_result
from hil.wrapped_core import WrappedCore

__all__ = ["PulseWatch", "Recorder", "RecordingCore"]

RESULTS_LIMIT_BYTES = 1 << 30
"""Results are kept until the arrays of a journal take so much; what follows cannot be resumed."""

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class PulseWatch(Protocol):
    """Is told of pulse requests: a ledger, a guard, a book of dirty cores."""

    def before(self, core: Core, pulse: Pulse) -> None:
        """Take a request that is about to leave; raising keeps it from leaving."""

    def after(self, core: int, pulse: Pulse, outcome: Outcome | None) -> None:
        """Take what became of it; None is unknown."""


@final
class Recorder:
    """Writes the lines of every core of a chip into one journal.

    Attributes:
        journal: The journal.
    """

    def __init__(self, journal: Journal, watch: PulseWatch, *, keeps_results: bool) -> None:
        """Write into `journal`; `keeps_results` if the run may be taken up again from it."""
        self.journal = journal
        self._watch = watch
        self._keeps_results = keeps_results
        self._aside: dict[str, Any] = {}

    @contextmanager
    def aside(self, **marks: str | int) -> Iterator[None]:
        """Mark the lines written meanwhile as none of the run's own verbs."""
        before, self._aside = self._aside, marks
        try:
            yield
        finally:
            self._aside = before

    def record(
        self,
        core: Core,
        verb: str,
        call: Callable[[RequestT], ResultT],
        request: RequestT,
        counts: dict[str, Any],
    ) -> ResultT:
        """Call a verb and write what it gave, or its error, which goes on upwards."""
        line = {"core": core.info.core, "verb": verb, "phase": "end", **counts, **self._aside}
        line["request"] = digest_of(request)
        try:
            result = call(request)
        except BaseException as error:
            refused = {"refused": True} if isinstance(error, RequestError) else {}
            self.journal.write({**line, "error": f"{type(error).__name__}: {error}", **refused})
            raise
        line["result"] = digest_of(result)
        at_s = _time_of(verb, result)
        if at_s is None and verb != "settings":
            at_s = core.now_s()
        if at_s is not None:
            line["at_s"] = at_s
        fields, body = pack_result(result)  # type: ignore[arg-type] # a verb's result, all of them
        if isinstance(result, ProgramResult):
            line |= fields
        if self._keeps(body):
            self.journal.write({**line, **fields, "kept": True}, blob=body)
        else:
            self.journal.write(line)
        return result

    def program(self, core: Core, call: Callable[[Pulse], ProgramResult], pulse: Pulse) -> Any:  # noqa: ANN401 - ProgramResult
        """Write the intent to the disk, send the pulses, write what came of them."""
        self._watch.before(core, pulse)
        index = core.info.core
        counts = {"entries": len(pulse), "pulses": pulse.total, "family": pulse.family.value}
        intent = {"core": index, "verb": "program", "phase": "intent", **counts, **self._aside}
        name = core.next_mutation()
        if name is not None:
            intent["mutation"] = [name.boot, name.number]
        number = self.journal.write(
            {**intent, "request": digest_of(pulse)}, blob=pack_pulse(pulse), to_disk=True
        )
        outcome: Outcome | None = None
        try:
            result = self.record(core, "program", call, pulse, {**counts, "intent": number})
            outcome = result.outcome
        except RequestError:
            outcome = Outcome.REJECTED
            raise
        finally:
            self._watch.after(index, pulse, outcome)
        return result

    def _keeps(self, body: bytes | None) -> bool:
        more = 0 if body is None else len(body)
        return self._keeps_results and self.journal.blob_bytes + more <= RESULTS_LIMIT_BYTES


@final
class RecordingCore(WrappedCore):
    """A core that journals what the wrapped one does."""

    def __init__(self, inner: Core, recorder: Recorder) -> None:
        super().__init__(inner)
        self._recorder = recorder

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        result: ProgramResult = self._recorder.program(self._inner, self._inner.program, pulse)
        return result

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        counts = {"devices": len(request), "averages": request.averages}
        return self._record("read", self._inner.read, request, counts)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        counts = {"batch": int(request.input_codes.shape[0])}
        return self._record("mvm", self._inner.mvm, request, counts)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._record("configure", self._inner.configure, settings, {})

    @override
    def _do_status(self) -> CoreStatus:
        return self._record("status", lambda _: self._inner.status(), None, {})

    @override
    def _do_settings(self) -> CoreSettings:
        return self._record("settings", lambda _: self._inner.settings(), None, {})

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._record("wait", self._inner.wait, seconds, {"seconds": seconds})

    @override
    def _do_safe_state(self) -> None:
        self._record("safe_state", lambda _: self._inner.safe_state(), None, {})

    def _record(
        self,
        verb: str,
        call: Callable[[RequestT], ResultT],
        request: RequestT,
        counts: dict[str, Any],
    ) -> ResultT:
        return self._recorder.record(self._inner, verb, call, request, counts)


def _time_of(verb: str, result: object) -> float | None:
    """Device time in a result, s; None if it holds none."""
    match result:
        case ProgramResult() | ReadResult() | MvmResult():
            return result.at_s
        case CoreStatus():
            return result.now_s
        case float() if verb == "wait":
            return result
        case _:
            return None
