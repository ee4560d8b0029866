"""Takes up an interrupted run: the chip is checked, the tape played, the pulses in doubt settled.

Knows the journal, the record and the chip; no algorithm and no command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Self, final

import numpy as np
import numpy.typing as npt

from hil.chip_records import keeps_records
from hil.core import Chip, Core
from hil.errors import RecordError
from hil.info import Capability, CoreInfo, PulseFamily
from hil.reconcile import (
    LEAST_AGREEMENT,
    agreement,
    nominal_siemens,
    reconcile,
)
from hil.record import ResumptionNote, now_text
from hil.recording_core import Recorder
from hil.requests import (
    CellRead,
    CoreSettings,
    CoreStatus,
    MutationReport,
    Outcome,
    ProgramResult,
    Pulse,
)
from hil.resumed_core import Playback
from hil.run_folder import JOURNAL_FILE, RunFolder
from hil.tape import Doubt, SentPulse, Tape, read_tape

__all__ = ["Resumption"]

SAMPLE = 4096
"""Devices of a core that this is judged by."""

PURPOSE = "resume"

log = logging.getLogger(__name__)
Count = Callable[[int, Pulse], None]


@final
class Resumption:
    """An interrupted run on its way on.

    Attributes:
        sent: Every pulse request that may have left so far.
    """

    def __init__(self, folder: RunFolder, tape: Tape, report: MutationReport | None) -> None:
        """Go on with the run in `folder`, whose journal is `tape`; use `of`.

        `report` is what the device knows of the request in doubt.
        """
        self._folder = folder
        self._tape = tape
        self._report = report
        self._counted: dict[int, int | None] = {}
        self.sent: tuple[SentPulse, ...] = tuple(tape.sent)

    @classmethod
    def of(cls, folder: RunFolder, chip: Chip) -> Self:
        """Read the journal of a run that is to go on upon `chip`, before that gets any request.

        Raises:
            RecordError: It is damaged, or the chip cannot hold what the run has written.
        """
        if not keeps_records(chip.info):
            raise RecordError(
                f"chip {chip.serial} at {chip.info.address} is simulated and ended with the run, "
                "so there is nothing to go on with; run it again, or over hil emulate next time"
            )
        tape = read_tape(folder.path / JOURNAL_FILE)
        return cls(folder, tape, _ask(chip, tape.doubt))

    def begin(self, recorder: Recorder, cores: Sequence[Core], count: Count) -> Playback:
        """Check that the chip stands as the run left it; return the tape, ready to be played.

        Args:
            recorder: Writes the journal on.
            cores: The recorded cores.
            count: Told of pulses that earlier attempts have sent beside the run's own.

        Raises:
            RecordError: Somebody else has pulsed the chip since, or it has lost its cells.
        """
        tape = self._tape
        doubt = 0 if tape.doubt is None else tape.doubt.sent.total
        note = ResumptionNote(
            at=now_text(),
            command=self._folder.command,
            line=recorder.journal.lines,
            played=len(tape.entries),
            torn_bytes=recorder.journal.torn_bytes,
            in_doubt=doubt,
        )
        notes = (*self._folder.record.resumptions, note)
        self._folder.update(resumptions=[one.model_dump() for one in notes])
        with recorder.aside(purpose=PURPOSE):
            statuses = {core.info.core: core.status() for core in cores}
            recorder.journal.write(
                {
                    "verb": "session",
                    "phase": "begin",
                    "counters": {str(k): (s.pulses, s.generation) for k, s in statuses.items()},
                    "torn_bytes": recorder.journal.torn_bytes,
                },
                to_disk=True,
            )
            for core in cores:
                beyond = self._pulses_beyond(core, statuses[core.info.core])
                self._counted[core.info.core] = beyond
        for sent in tape.sent:
            if sent.mends is not None:
                count(sent.core, sent.pulse)

        def go_live(playback: Playback) -> None:
            with recorder.aside(purpose=PURPOSE):
                for core in cores:
                    _restore_settings(core, playback.settings.get(core.info.core))
                playback.behind_s = max(0.0, playback.now_s - cores[0].now_s())
            line = {"verb": "session", "phase": "live", "behind_s": playback.behind_s}
            recorder.journal.write(line, to_disk=True)
            log.info("%d verbs played back; the chip answers from here on", playback.played)

        def settle(core: Core, pulse: Pulse) -> ProgramResult:
            return self._settle(recorder, core, pulse)

        return Playback(tape, go_live=go_live, settle=settle)

    def _pulses_beyond(self, core: Core, counts: CoreStatus) -> int | None:
        """Return the pulses a core has counted beyond those known; None if it cannot tell.

        Raises:
            RecordError: They are more than the run can have sent, or the cells are not its own.
        """
        index = core.info.core
        expected = self._tape.expected_pulses(index)
        if expected is None:
            return None
        beyond, most = counts.pulses - expected, self._tape.doubtful_pulses(index)
        if beyond > most:
            raise RecordError(
                f"core {index} of chip {core.info.chip_serial} has had {beyond - most:,} pulses "
                "that are none of this run's: somebody else has programmed it since; run it again "
                "from its beginning",
                core=index,
            )
        if beyond >= 0:
            forgetful = (
                beyond == 0 and expected == 0
            )  # a board that has forgotten would say the same
            return None if forgetful else beyond
        found = self._agreement(core)
        if found is not None and found < LEAST_AGREEMENT:
            raise RecordError(
                f"core {index} of chip {core.info.chip_serial} does not hold what this run has "
                f"written (correlation {found:.2f}, {counts.pulses:,} pulses counted, "
                f"{expected:,} expected): it has lost its cells; run it again from its beginning",
                core=index,
            )
        return None

    def _agreement(self, core: Core) -> float | None:
        """Correlate what devices hold with what their last pulses give; None if that cannot be."""
        info = core.info
        if Capability.CELL_READ not in info.capabilities:
            return None
        wanted = np.full((info.devices_per_cell, info.rows, info.cols), np.nan)
        for sent in self.sent:
            pulse = sent.pulse
            if sent.core != info.core or sent.applied is None:
                continue
            known = pulse.family is PulseFamily.RESET
            given = nominal_siemens(info, pulse.amplitude) if known else np.nan
            wanted[pulse.device, pulse.rows, pulse.cols] = given
        flat = np.flatnonzero(~np.isnan(wanted))
        if flat.size == 0:
            return None
        flat = flat[np.linspace(0, flat.size - 1, min(SAMPLE, flat.size)).astype(np.int64)]
        device, rows, cols = np.unravel_index(flat, wanted.shape)
        codes = core.read(CellRead.of(device=device, rows=rows, cols=cols)).codes
        return agreement(np.asarray(info.read.to_si(codes), np.float64), wanted.flat[flat])

    def _settle(self, recorder: Recorder, core: Core, pulse: Pulse) -> ProgramResult:
        """Find out what became of the pulses in doubt; send those again that were not applied."""
        doubt = self._tape.doubt
        assert doubt is not None  # noqa: S101 - called for it
        counted = self._counted[core.info.core]
        with recorder.aside(purpose=PURPOSE):
            found = reconcile(
                core,
                pulse,
                counted,
                mended=_written_by(core.info, pulse, [m for m in doubt.mends if m.applied]),
                first=self._writes_first(core, doubt.sent, pulse),
                told=_told(self._report, doubt.sent, counted),
            )
        again = pulse.part(found.missing)
        if len(again):
            with recorder.aside(mends=doubt.sent.number):
                mended = core.program(again)
            if mended.outcome is not Outcome.DONE:
                return mended
        with recorder.aside(purpose=PURPOSE):
            status: CoreStatus = core.status()
        at_s = status.now_s if status.last_pulse_at_s is None else status.last_pulse_at_s
        recorder.journal.write(
            {
                "core": core.info.core,
                "verb": "program",
                "phase": "settled",
                "intent": doubt.sent.number,
                "request": doubt.sent.request,
                "evidence": found.evidence.value,
                "found_pulses": found.pulses,
                "sent_again": again.total,
                "misfit_share": found.misfit_share,
                "at_s": at_s,
            },
            to_disk=True,
        )
        log.info("%d pulses in doubt: %s", pulse.total, found.evidence.value)
        self._note(found.evidence.value, found.misfit_share, again.total)
        return ProgramResult(outcome=Outcome.DONE, pulses=pulse.total, at_s=at_s)

    def _writes_first(self, core: Core, sent: SentPulse, pulse: Pulse) -> bool:
        """Say whether no earlier request of the run wrote any of its devices."""
        earlier = [s for s in self.sent if s.core == sent.core and s.number < sent.number]
        return not bool(_written_by(core.info, pulse, earlier).any())

    def _note(self, evidence: str, misfit_share: float | None, sent_again: int) -> None:
        *before, last = self._folder.record.resumptions
        found = {"evidence": evidence, "misfit_share": misfit_share, "sent_again": sent_again}
        notes = (*before, last.model_copy(update=found))
        self._folder.update(resumptions=[one.model_dump() for one in notes])


def _restore_settings(core: Core, wanted: CoreSettings | None) -> None:
    """Bring a core out of its safe state and to the settings that the run had made."""
    have, wanted = core.settings(), wanted or CoreSettings()
    differs = any(
        value is not None and not np.array_equal(value, getattr(have, name))
        for name, value in vars(wanted).items()
    )
    if differs or core.status().safe:
        core.configure(wanted)


def _written_by(
    info: CoreInfo, pulse: Pulse, requests: Sequence[SentPulse]
) -> npt.NDArray[np.bool_]:
    """Say which entries of a request address devices that other requests do, (n,)."""
    written = np.zeros((info.devices_per_cell, info.rows, info.cols), np.bool_)
    for request in requests:
        other = request.pulse
        written[other.device, other.rows, other.cols] = True
    return np.asarray(written[pulse.device, pulse.rows, pulse.cols])


def _ask(chip: Chip, doubt: Doubt | None) -> MutationReport | None:
    """Ask the device what became of the request in doubt, before it gets another mutation."""
    if doubt is None or doubt.sent.mutation is None or doubt.mends:
        return None  # a request that made up for one that never came bears the same name
    (core,) = (core for core in chip.cores if core.info.core == doubt.sent.core)
    return core.fate(doubt.sent.mutation)


def _told(report: MutationReport | None, sent: SentPulse, counted: int | None) -> int | None:
    """Return the pulses that the device says it has applied of a request; None if it is silent.

    Its word is taken where it agrees with its own counts, as far as these tell.
    """
    if report is None or report.outcome is Outcome.UNKNOWN:
        return None
    applied = 0 if report.outcome in (None, Outcome.REJECTED) else report.pulses
    possible = applied == sent.total if report.outcome is Outcome.DONE else applied <= sent.total
    if possible and counted in (None, applied):
        return applied
    log.warning(
        "core %d tells of %d pulses in mutation %d, %d were sent, %s counted: not believed",
        sent.core,
        applied,
        report.mutation,
        sent.total,
        counted,
    )
    return None
