"""A session: an opened chip, a seed and a run folder. Verbs are journalled, pulses counted.

A run that was interrupted is taken up in its own folder: what its journal holds is played back,
the one pulse request that may be in doubt is reconciled by reading its cells back, and from there
on the chip itself answers.
"""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
import numpy.typing as npt

from hil.backends import open_chip
from hil.chip_records import chip_folder, keeps_records
from hil.core import Chip, Core
from hil.dirty import DirtyBook
from hil.errors import HilError, RecordError
from hil.guard import PulseGuard, open_guard
from hil.journal import Journal
from hil.owned_chip import note_takeover
from hil.record import ChipIdentity
from hil.recording_core import Recorder, RecordingCore
from hil.requests import Outcome, Pulse
from hil.resumed_core import Playback, ResumedCore
from hil.resumption import Resumption
from hil.run_folder import JOURNAL_FILE, WEAR_FILE, RunFolder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from hil.info import CoreInfo

__all__ = ["RecordingCore", "Session", "WearLedger", "load_wear"]

WEAR_SAVE_INTERVAL_S = 30.0
"""Wall time between two saves of the wear ledger while pulses flow, s."""

PROGRAMMED = "it was programmed and not verified since"
IN_DOUBT = "the outcome of a pulse request is not known"

log = logging.getLogger(__name__)


class WearLedger:
    """Pulses that each device of a core was sent in this run.

    Attributes:
        pulses: int64, (devices, rows, cols).
    """

    def __init__(self, info: CoreInfo) -> None:
        self.pulses = np.zeros((info.devices_per_cell, info.rows, info.cols), np.int64)

    def add(self, pulse: Pulse) -> None:
        """Count a pulse request."""
        np.add.at(self.pulses, (pulse.device, pulse.rows, pulse.cols), pulse.count)


@final
class _Watch:
    """What a pulse request passes: guard, book of dirty cores, wear of the run."""

    def __init__(self, session: Session, guard: PulseGuard, dirty: DirtyBook) -> None:
        self._session = session
        self._guard = guard
        self._dirty = dirty

    def before(self, core: Core, pulse: Pulse) -> None:
        index = core.info.core
        self._guard.admit(index, pulse)
        if not self._dirty.is_dirty(index):
            self._dirty.mark(index, generation=core.status().generation, reason=PROGRAMMED)

    def after(self, core: int, pulse: Pulse, outcome: Outcome | None) -> None:
        self._guard.applied(core, pulse, outcome)
        if outcome is not Outcome.REJECTED:  # unknown counts as well: endurance is at stake
            self._session.count(core, pulse)
        if outcome not in (Outcome.DONE, Outcome.REJECTED):
            self._dirty.mark(core, generation=-1, reason=IN_DOUBT)


class Session:
    """An opened chip whose cores are recorded into a run folder; a context manager.

    Leaving it, also by an exception, puts the chip into its safe state and closes it, and saves
    the wear ledger. The folder is closed by its own context manager, outside this one.

    Attributes:
        chip: The chip, every core wrapped by a `RecordingCore`.
        seed: Seed of everything the host draws.
        folder: The run folder.
    """

    def __init__(self, chip: Chip, *, seed: int, folder: RunFolder) -> None:
        """Wrap an open chip; use `Session.open` to open one by its address.

        Raises:
            RecordError: The folder is to be taken up again, but the journal is damaged, or this is
                another chip, or not one that stands as the run has left it.
            CoreUnavailableError: Somebody else owns the chip.
        """
        identity = ChipIdentity.of(chip.info)
        if folder.taken_up:
            _require_same_chip(folder, identity)
        lasting = keeps_records(chip.info)
        self.seed = seed
        self.folder = folder
        self._wear = {core.info.core: WearLedger(core.info) for core in chip.cores}
        self._saved_at = time.monotonic()
        note_takeover(chip, folder.command)  # first: it has happened, whatever comes now
        self._guard = open_guard(chip.info, command=folder.command, run=folder.path)
        self._playback: Playback | None = None
        self._journal: Journal | None = None
        try:
            resumption = Resumption.of(folder, chip) if folder.taken_up else None
            self._guard.settle(chip.cores)
            also = (chip_folder(chip.serial),) if lasting else ()
            self._dirty = DirtyBook(chip.serial, folder.path, also)
            self._journal = Journal(folder.path / JOURNAL_FILE)
            watch = _Watch(self, self._guard, self._dirty)
            recorder = Recorder(self._journal, watch, keeps_results=lasting)
            cores: tuple[Core, ...] = tuple(RecordingCore(core, recorder) for core in chip.cores)
            folder.update(address=chip.address, chip=identity)
            if resumption is None:
                _begin(self._journal, chip)
            else:
                _write_wear(folder.path, _wear_of(resumption, chip))
                self._playback = resumption.begin(recorder, cores, self.count)
                cores = tuple(ResumedCore(core, self._playback, self.count) for core in cores)
        except BaseException:
            if self._journal is not None:
                self._journal.close()
            self._guard.close()
            raise
        self.chip = Chip(info=chip.info, cores=cores, _release=chip.close, _preserve=chip.preserve)

    @classmethod
    def open(cls, address: str, *, seed: int, folder: RunFolder) -> Self:
        """Open the chip at `address`; `folder` already holds the record of the run."""
        chip = open_chip(address)
        try:
            return cls(chip, seed=seed, folder=folder)
        except BaseException:
            chip.close()
            raise

    def wear(self, core: int) -> npt.NDArray[np.int64]:
        """Pulses sent to each device of a core in this run, (devices, rows, cols); a copy."""
        return self._wear[core].pulses.copy()

    def count(self, core: int, pulse: Pulse) -> None:
        """Count a pulse request that has left, or is played back."""
        self._wear[core].add(pulse)
        if time.monotonic() - self._saved_at > WEAR_SAVE_INTERVAL_S:
            self.save_wear()

    def verified(self) -> None:
        """Say that what was programmed so far has been measured and may be used for inference."""
        if self._is_live:
            self._dirty.verified(core.info.core for core in self.chip.cores)

    def save_wear(self) -> None:
        """Write the wear ledger of every core to the run folder."""
        self._saved_at = time.monotonic()
        if self._is_live:  # before that, the ledger counts less than has been sent
            _write_wear(self.folder.path, self._wear)

    @property
    def _is_live(self) -> bool:
        return self._playback is None or self._playback.ended

    def __enter__(self) -> Self:
        try:
            self.chip.__enter__()
        except BaseException:
            self.chip.close()
            self._finish()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:  # else safety comes first, and how the chip was left stays open
                self._guard.remember()
        finally:
            self._leave(kind, error, trace)

    def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.chip.__exit__(kind, error, trace)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Close journal, wear and guard; every step has its turn."""
        assert self._journal is not None  # noqa: S101 - set where the session was made
        errors: list[Exception] = []
        for step in (self._journal.close, self.save_wear, self._guard.close):
            try:
                step()
            except (HilError, OSError) as failure:
                errors.append(failure)
        for later in errors[1:]:
            log.warning("run %s: %s", self.folder.path, later)
        if errors:
            raise errors[0]


def load_wear(path: Path) -> dict[int, npt.NDArray[np.int64]]:
    """Read the wear ledger of a run folder: core index -> pulses (devices, rows, cols).

    Raises:
        RecordError: There is none, or it is damaged.
    """
    try:
        with np.load(path / WEAR_FILE, allow_pickle=False) as data:
            return {int(name.removeprefix("core_")): data[name] for name in data.files}
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(f"{path / WEAR_FILE} holds no wear ledger: {error}") from error


def _write_wear(path: Path, wear: dict[int, WearLedger]) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"core_{k}": w.pulses for k, w in wear.items()}
    np.savez_compressed(buffer, **arrays)
    write_atomically(path / WEAR_FILE, buffer.getvalue())


def _wear_of(resumption: Resumption, chip: Chip) -> dict[int, WearLedger]:
    """Count every pulse request that the journal says may have left."""
    wear = {core.info.core: WearLedger(core.info) for core in chip.cores}
    for sent in resumption.sent:
        wear[sent.core].add(sent.pulse)
    return wear


def _begin(journal: Journal, chip: Chip) -> None:
    """Write what the cores count before the run: what their counts are compared with later."""
    counts = {}
    for core in chip.cores:
        status = core.status()
        counts[str(core.info.core)] = (status.pulses, status.generation)
    journal.write({"verb": "session", "phase": "begin", "counters": counts}, to_disk=True)


def _require_same_chip(folder: RunFolder, now: ChipIdentity) -> None:
    before = folder.record.chip
    if before is None or before == now:
        return
    for name in ("serial", "backend", "model", "versions"):
        was, have = getattr(before, name), getattr(now, name)
        if was != have:
            raise RecordError(
                f"{folder.path} was begun on a chip with {name} {was}, this one has {have}; give "
                "--core with the address of that chip, or run it anew on this one",
                field=name,
                value=have,
                wanted=was,
            )
