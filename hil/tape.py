"""The journal of an interrupted run as a tape: what its verbs gave, and the pulses in doubt.

A run is a function of its record, its seed and what the chip answered. So an interrupted run is
taken up by running it again over the tape: each verb gets the recorded result, the chip is not
touched, until the tape ends. Knows files; opens no chip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hil.errors import RecordError
from hil.journal import JournalLine, blobs_beside, whole_lines
from hil.journal_blobs import BlobReader
from hil.requests import MutationId, Outcome, Pulse
from hil.verb_codec import Result, later, unpack_pulse, unpack_result

__all__ = ["Counters", "Doubt", "SentPulse", "Tape", "TapeEntry", "read_tape"]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """A core's own counts when the run began: pulses, and pulse requests that changed cells."""

    pulses: int
    generation: int


@dataclass(frozen=True, kw_only=True)
class TapeEntry:
    """A verb that ended, by the number of its line; `at_s` is on the first attempt's clock."""

    number: int
    core: int
    verb: str
    request: str
    at_s: float | None
    behind_s: float
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class SentPulse:
    """A pulse request whose intent was written.

    Attributes:
        number: Line of its intent.
        core: Core it went to.
        request: Its digest.
        total: Pulses in it.
        mends: Line of the intent that it was to mend, for one sent by an earlier resume.
        applied: Pulses that the chip is known to have applied; None is in doubt.
        mutation: Its name on the device; None if that names none.
    """

    number: int
    core: int
    request: str
    total: int
    mends: int | None = None
    applied: int | None = None
    mutation: MutationId | None = None
    _read: Callable[[], Pulse]

    @property
    def pulse(self) -> Pulse:
        """Its cells and codes, read from the journal."""
        return self._read()


@dataclass(frozen=True, kw_only=True, eq=False)
class Doubt:
    """A pulse request without a known outcome: the cells to be read back.

    Attributes:
        sent: The request of the run.
        mends: Requests by which earlier attempts tried to make up for it.
        why: How its outcome was lost.
    """

    sent: SentPulse
    mends: tuple[SentPulse, ...]
    why: str


class Tape:
    """What a journal says of a run so far.

    Attributes:
        entries: Verbs that ended, in order, teardown and resumption left out.
        doubt: The pulse request in doubt, if there is one: it comes after all entries.
        begun: Each core's counts when the run first began; empty if they are not known.
        sent: Every pulse request that may have left, in order.
        resumptions: Attempts after the first.
    """

    def __init__(self, path: Path) -> None:
        self._blobs = BlobReader(blobs_beside(path))
        self.entries: list[TapeEntry] = []
        self.doubt: Doubt | None = None
        self.begun: dict[int, Counters] = {}
        self.sent: list[SentPulse] = []
        self.resumptions = 0
        self._path = path
        self._open: dict[int, tuple[SentPulse, str]] = {}
        self._cut: int | None = None
        self._behind_s = 0.0
        for line in whole_lines(path):
            self._take(line)
        self._find_doubt()

    def result(self, entry: TapeEntry) -> Result:
        """Return what a verb gave."""
        offset = entry.values.get("blob")
        body = None if offset is None else self._blobs.read(offset)
        return later(unpack_result(entry.verb, {**entry.values}, body), entry.behind_s)

    def expected_pulses(self, core: int) -> int | None:
        """Return what a core must count if it has applied nothing in doubt; None if not known."""
        begun = self.begun.get(core)
        if begun is None:
            return None
        return begun.pulses + sum(s.applied or 0 for s in self.sent if s.core == core)

    def doubtful_pulses(self, core: int) -> int:
        """Return the pulses sent to a core whose outcome is not known."""
        return sum(s.total for s in self.sent if s.core == core and s.applied is None)

    def _take(self, line: JournalLine) -> None:
        values = line.values
        match values["phase"]:
            case "begin":
                self._begin(values)
            case "intent":
                self._intend(line.number, values)
            case "settled":
                self._settle(line.number, values)
            case "live":
                self._behind_s = values["behind_s"]
            case "end" if "purpose" not in values:
                self._end(line.number, values)

    def _begin(self, values: dict[str, Any]) -> None:
        if self.begun or self.entries or self.sent:
            self.resumptions += 1
            return
        self.begun = {
            int(core): Counters(pulses=counts[0], generation=counts[1])
            for core, counts in values["counters"].items()
        }

    def _intend(self, number: int, values: dict[str, Any]) -> None:
        if self._cut is not None:
            raise RecordError(
                f"journal {self._path}: the result of line {self._cut} was not kept, but pulses "
                "followed; the run cannot be resumed, run it again",
                line=self._cut,
            )
        sent = SentPulse(
            number=number,
            core=values["core"],
            request=values["request"],
            total=values["pulses"],
            mends=values.get("mends"),
            mutation=_named(values.get("mutation")),
            _read=lambda: unpack_pulse(values["family"], self._blobs.read(values["blob"])),
        )
        self.sent.append(sent)
        self._open[number] = sent, "the run ended before its reply came"

    def _end(self, number: int, values: dict[str, Any]) -> None:
        verb, error = values["verb"], values.get("error")
        sent = self._close(values) if verb == "program" else None
        if sent is not None:
            outcome = values.get("outcome")
            why = error or (outcome and Outcome[outcome].value) or ""
            if error is not None and values.get("refused"):
                self._mark(sent, 0)
            elif error is not None or outcome not in (Outcome.DONE.name, Outcome.REJECTED.name):
                self._open[sent.number] = sent, why
                return
            else:
                self._mark(sent, values["pulses"])
            if sent.mends is not None:
                return
        if error is not None or self._cut is not None or verb == "safe_state":
            return  # the safe state by which an attempt ended is none of the run's verbs
        if not values.get("kept"):
            self._cut = number
            return
        self._append(number, verb, values)

    def _append(self, number: int, verb: str, values: dict[str, Any]) -> None:
        at_s = values.get("at_s")
        entry = TapeEntry(
            number=number,
            core=values["core"],
            verb=verb,
            request=values["request"],
            at_s=None if at_s is None else at_s + self._behind_s,
            behind_s=self._behind_s,
            values=values,
        )
        self.entries.append(entry)

    def _close(self, values: dict[str, Any]) -> SentPulse | None:
        """Return the open intent that a line answers."""
        found = [s for s, _ in self._open.values() if s.number == values.get("intent")]
        return self._open.pop(found[0].number)[0] if found else None

    def _settle(self, number: int, values: dict[str, Any]) -> None:
        sent = self._close(values)
        if sent is None:
            raise RecordError(f"journal {self._path}: line {number} settles no intent")
        for mend in [s for s, _ in self._open.values() if s.mends == sent.number]:
            del self._open[mend.number]
            self._mark(mend, 0)  # what it did is in the count of the request it mends
        self._mark(sent, values["found_pulses"])
        done = {"pulses": sent.total, "outcome": Outcome.DONE.name}
        self._append(number, "program", {**values, **done})

    def _mark(self, sent: SentPulse, applied: int) -> None:
        at = self.sent.index(sent)
        self.sent[at] = replace(sent, applied=applied)

    def _find_doubt(self) -> None:
        first = [(s, why) for s, why in self._open.values() if s.mends is None]
        if len(first) > 1:
            raise RecordError(
                f"journal {self._path}: {len(first)} pulse requests are open at once; run it again"
            )
        for sent, why in first:
            mends = tuple(s for s in self.sent if s.mends == sent.number)
            self.doubt = Doubt(sent=sent, mends=mends, why=why)


def read_tape(path: Path) -> Tape:
    """Read the journal of a run as a tape.

    Raises:
        RecordError: It is missing or damaged, or does not hold all that pulses followed from.
    """
    return Tape(path)


def _named(values: list[int] | None) -> MutationId | None:
    return None if values is None else MutationId(boot=values[0], number=values[1])
