"""A session: an opened chip, a seed and a run folder. Verbs are journalled, pulses counted.

`RecordingCore` wraps a core and is one; algorithms cannot tell. For a pulse the journal holds the
intent before the request leaves, so that after a crash the cells in doubt are known.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.backends import open_chip
from hil.core import (
    CellRead,
    Chip,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
)
from hil.errors import RecordError, RequestError
from hil.journal import Journal, digest_of
from hil.record import ChipIdentity
from hil.run_folder import JOURNAL_FILE, WEAR_FILE, RunFolder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from hil.info import CoreInfo

__all__ = ["RecordingCore", "Session", "WearLedger", "load_wear"]

WEAR_SAVE_INTERVAL_S = 30.0
"""Wall time between two saves of the wear ledger while pulses flow, s."""

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


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
class RecordingCore(Core):
    """A core that journals what the wrapped one does and counts its pulses."""

    def __init__(
        self, inner: Core, journal: Journal, on_pulse: Callable[[int, Pulse], None]
    ) -> None:
        super().__init__(inner.info)
        self._inner = inner
        self._journal = journal
        self._on_pulse = on_pulse

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        counts = {"entries": len(pulse), "pulses": pulse.total, "family": pulse.family.value}
        request = digest_of(pulse)
        self._journal.write(
            {
                "core": self.info.core,
                "verb": "program",
                "phase": "intent",
                **counts,
                "request": request,
            },
            to_disk=True,
        )
        result: ProgramResult | None = None
        try:
            result = self._record("program", self._inner.program, pulse, counts)
        except RequestError:
            raise
        except BaseException:
            self._on_pulse(self.info.core, pulse)  # unknown effect: count it, endurance is at stake
            raise
        if result.outcome is not Outcome.REJECTED:
            self._on_pulse(self.info.core, pulse)
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
    def _do_now_s(self) -> float:
        return self._inner.now_s()

    @override
    def _do_safe_state(self) -> None:
        self._record("safe_state", lambda _: self._inner.safe_state(), None, {})

    @override
    def _do_close(self) -> None:
        self._inner.close()

    def _record(
        self,
        verb: str,
        call: Callable[[RequestT], ResultT],
        request: RequestT,
        counts: dict[str, Any],
    ) -> ResultT:
        line = {"core": self.info.core, "verb": verb, "phase": "end", **counts}
        line["request"] = digest_of(request)
        try:
            result = call(request)
        except BaseException as error:
            self._journal.write({**line, "error": f"{type(error).__name__}: {error}"})
            raise
        line["result"] = digest_of(result)
        line["at_s"] = self._inner.now_s()
        self._journal.write(line)
        return result


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
        """Wrap an open chip; use `Session.open` to open one by its address."""
        folder.update(address=chip.address, chip=ChipIdentity.of(chip.info))
        self.seed = seed
        self.folder = folder
        self._journal = Journal(folder.path / JOURNAL_FILE)
        self._wear = {core.info.core: WearLedger(core.info) for core in chip.cores}
        self._saved_at = time.monotonic()
        self.chip = Chip(
            info=chip.info,
            cores=tuple(RecordingCore(core, self._journal, self._count) for core in chip.cores),
            _release=chip.close,
            _preserve=chip.preserve,
        )

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
        """Pulses sent to each device of a core in this session, (devices, rows, cols); a copy."""
        return self._wear[core].pulses.copy()

    def save_wear(self) -> None:
        """Write the wear ledger of every core to the run folder."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"core_{k}": w.pulses for k, w in self._wear.items()}
        np.savez_compressed(buffer, **arrays)
        write_atomically(self.folder.path / WEAR_FILE, buffer.getvalue())
        self._saved_at = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self.chip.__enter__()
        except BaseException:
            self.chip.close()
            self._journal.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.chip.__exit__(kind, error, trace)
        finally:
            self._journal.close()
            self.save_wear()

    def _count(self, core: int, pulse: Pulse) -> None:
        self._wear[core].add(pulse)
        if time.monotonic() - self._saved_at > WEAR_SAVE_INTERVAL_S:
            self.save_wear()


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
