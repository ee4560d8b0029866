"""Replay: a recorded chip answers again, verb by verb. Knows recordings; no simulator, no board.

What acts on the chip (program, read, mvm, configure, wait) comes in the recorded order with the
recorded values, or is refused. Questions (status, settings, time, safe state) may be left out or
asked again: nothing depends on them. Times, temperatures and failures are those recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final
from urllib.parse import unquote

from pydantic import ValidationError
from typing_extensions import override

from drivers.replay_link import open_replayed_link, recorded_channel
from drivers.tape import Kind, Place, TapeReader
from drivers.tape_verbs import ACTING, Verb, difference, error_of, plain, result_of
from hil.address import Address
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
from hil.errors import RecordError, RequestError
from hil.info import BackendKind, ChipInfo, CoreInfo

__all__ = ["ReplayCore", "open_replay", "recorded_info"]

_AS_RECORDED = "recorded"


def open_replay(address: Address) -> Chip:
    """Open "replay:FILE": the chip recorded in FILE, from its first verb on.

    A chip that was recorded behind a link answers through the link again, byte by byte, with the
    board driver at this end; `level=verbs` leaves the link out.

    Raises:
        RequestError: An option is unknown, or bytes are asked for where there are none.
        RecordError: The file is missing, damaged, or holds no chip.
    """
    address.refuse_unknown(("level",))
    level = address.choice("level", _AS_RECORDED, (_AS_RECORDED, "bytes", "verbs"))
    tape = TapeReader(Path(unquote(address.target)))
    try:
        info = _as_replay(recorded_info(tape), address.text)
        channel = _channel(tape, level)
        if channel is not None:
            return open_replayed_link(tape, channel, info)
        script = _Script(tape)
        cores = tuple(ReplayCore(core, script) for core in info.cores)
        return Chip(info=info, cores=cores, _release=tape.close, _preserve=lambda _: address.text)
    except BaseException:
        tape.close()
        raise


def _channel(tape: TapeReader, level: str) -> int | None:
    """Return the recorded link to answer through; None to answer without one."""
    channel = None if level == "verbs" else recorded_channel(tape)
    if channel is None and level == "bytes":
        raise RequestError(
            f"recording {tape.path} holds no bytes: its chip was not behind a link; leave out "
            "level=bytes"
        )
    return channel


def recorded_info(tape: TapeReader) -> ChipInfo:
    """Return what the recorded chip said of itself.

    Raises:
        RecordError: The recording holds no chip.
    """
    place = next((p for p in tape.places if p.kind is Kind.CHIP), None)
    if place is None:
        raise RecordError(
            f"recording {tape.path} holds no chip: it ended before one was opened; record again"
        )
    try:
        return ChipInfo.model_validate_json(tape.read(place)["info"])
    except (ValidationError, KeyError, TypeError) as error:
        raise RecordError(
            f"recording {tape.path}: what the chip said of itself makes no sense; record again"
        ) from error


def _as_replay(info: ChipInfo, address: str) -> ChipInfo:
    kind = {"backend": BackendKind.REPLAY}
    cores = tuple(core.model_copy(update=kind) for core in info.cores)
    return info.model_copy(update={**kind, "address": address, "cores": cores})


@final
class _Script:
    """The recorded verbs in order, and how far they have been played."""

    def __init__(self, tape: TapeReader) -> None:
        self._tape = tape
        self._verbs = [p for p in tape.places if p.kind is Kind.VERB]
        unknown = next((p for p in self._verbs if p.verb not in set(Verb)), None)
        if unknown is not None:
            raise RecordError(
                f"recording {tape.path}: record {unknown.number} is of verb {unknown.verb}, which "
                "this version does not know; update aimc-hil"
            )
        self._ended = any(p.kind is Kind.END for p in tape.places)
        self._next = 0
        self._known: dict[tuple[int, Verb], Any] = {}
        self._now_s: float | None = None

    def act(self, core: int, verb: Verb, request: object) -> Any:  # noqa: ANN401 - as recorded
        """Play the next verb that acts, if it is this one."""
        index = self._next
        while index < len(self._verbs) and Verb(self._verbs[index].verb) not in ACTING:
            index += 1
        where = f"replay {self._tape.path}, verb {index + 1} of {len(self._verbs)}"
        asked = f"{verb.name.lower()} of core {core}"
        if index == len(self._verbs):
            raise RequestError(f"{where}: {asked} was asked, but {self._end_text}")
        place = self._verbs[index]
        there = Verb(place.verb)
        if (place.core, there) != (core, verb):
            raise RequestError(
                f"{where}: {asked} was asked, recorded was {there.name.lower()} of core "
                f"{place.core}; replay the run that was recorded",
                verb=index + 1,
            )
        values = self._tape.read(place)
        found = difference(plain(request), values.get("request"), verb.name.lower())
        if found is not None:
            raise RequestError(
                f"{where}, {asked}: {found}; replay the run that was recorded", verb=index + 1
            )
        self._forget(core, verb)
        return self._deliver(index, place, values)

    def ask(self, core: int, verb: Verb) -> Any:  # noqa: ANN401 - as recorded
        """Answer a question with what was answered here, or with what has not changed since."""
        index = self._next
        while index < len(self._verbs):
            place = self._verbs[index]
            there = Verb(place.verb)
            if there in ACTING:
                break
            if (place.core, there) == (core, verb):
                return self._deliver(index, place, self._tape.read(place))
            index += 1
        if verb is Verb.SAFE_STATE:
            return None
        if verb is Verb.NOW and self._now_s is not None:
            return self._now_s
        if (core, verb) in self._known:
            return self._known[core, verb]
        raise RequestError(
            f"replay {self._tape.path}, verb {self._next + 1} of {len(self._verbs)}: "
            f"{verb.name.lower()} of core {core} was not asked here when this was recorded; "
            "replay the run that was recorded"
        )

    @property
    def _end_text(self) -> str:
        if self._tape.torn:
            return f"the recording ends here: {self._tape.tail_text}"
        if not self._ended:
            return "the recording ends here: the recording process was killed"
        return "the recording ends here; replay the run that was recorded"

    def _forget(self, core: int, verb: Verb) -> None:
        """Drop what a verb may have changed: counters of every core, settings of its own."""
        kept = Verb.SETTINGS
        self._known = {
            key: value
            for key, value in self._known.items()
            if key[1] is kept and not (verb is Verb.CONFIGURE and key[0] == core)
        }

    def _deliver(self, index: int, place: Place, values: dict[str, Any]) -> Any:  # noqa: ANN401
        verb = Verb(place.verb)
        try:
            error = error_of(values["error"]) if "error" in values else None
            result = None if error is not None else result_of(verb, values["result"])
        except (KeyError, TypeError, ValueError) as wrong:
            raise RecordError(
                f"recording {self._tape.path}: record {place.number} holds no answer to "
                f"{verb.name.lower()} ({wrong}); record the run again"
            ) from wrong
        self._next = index + 1
        if error is not None:
            raise error
        self._learn(place.core, verb, result)
        return result

    def _learn(self, core: int, verb: Verb, result: Any) -> None:  # noqa: ANN401
        if verb in (Verb.STATUS, Verb.SETTINGS):
            self._known[core, verb] = result
        if verb in (Verb.NOW, Verb.WAIT):
            self._now_s = result
        elif verb is Verb.STATUS:
            self._now_s = result.now_s
        elif verb in (Verb.PROGRAM, Verb.READ, Verb.MVM):
            self._now_s = result.at_s


@final
class ReplayCore(Core):
    """A recorded core: answers what was recorded, refuses everything else."""

    def __init__(self, info: CoreInfo, script: _Script) -> None:
        super().__init__(info)
        self._script = script

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        result: ProgramResult = self._script.act(self.info.core, Verb.PROGRAM, pulse)
        return result

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        result: ReadResult = self._script.act(self.info.core, Verb.READ, request)
        return result

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        result: MvmResult = self._script.act(self.info.core, Verb.MVM, request)
        return result

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._script.act(self.info.core, Verb.CONFIGURE, settings)

    @override
    def _do_status(self) -> CoreStatus:
        result: CoreStatus = self._script.ask(self.info.core, Verb.STATUS)
        return result

    @override
    def _do_settings(self) -> CoreSettings:
        result: CoreSettings = self._script.ask(self.info.core, Verb.SETTINGS)
        return result

    @override
    def _do_wait(self, seconds: float) -> float:
        result: float = self._script.act(self.info.core, Verb.WAIT, seconds)
        return result

    @override
    def _do_now_s(self) -> float:
        result: float = self._script.ask(self.info.core, Verb.NOW)
        return result

    @override
    def _do_safe_state(self) -> None:
        self._script.ask(self.info.core, Verb.SAFE_STATE)
