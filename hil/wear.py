"""The wear ledger of a chip: pulses by family of every device over its life, and its budgets.

A request is counted before it leaves, so that a process killed at any moment loses none. The
ledger is an array file and a log of what came after; both are read and written under one lock, so
that several processes count and judge together.
"""

from __future__ import annotations

import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, final

import numpy as np
import numpy.typing as npt

from hil.errors import RecordError, RequestError
from hil.run_folder import write_atomically
from hil.wear_log import FAMILIES, WearRecord, encode_record, read_records, record_of

if TYPE_CHECKING:
    from hil.info import ChipInfo
    from hil.pulse_limits import Budget
    from hil.requests import Pulse

__all__ = ["ChipWear", "check_budget"]

LEDGER_FILE = "wear.npz"
LOCK_FILE = "wear.lock"
SYNC_INTERVAL_S = 1.0
"""The log reaches the disk at least so often while pulses flow, s; the file system at once."""
COMPACT_BYTES = 16 << 20
"""A longer log is folded into the array file, bytes."""

Counts = npt.NDArray[np.int64]
Shape = tuple[int, int, int]
Stamp = tuple[int, int, int] | None


@final
class ChipWear:
    """The wear ledger of one chip; a context manager.

    Args:
        folder: Folder of the chip's records.
        shapes: (devices, rows, cols) of each core, by index.
    """

    def __init__(self, folder: Path, shapes: dict[int, Shape]) -> None:
        self._folder = folder
        self._shapes = shapes
        self._generation = -1
        self._stamp: Stamp | Literal["not read"] = "not read"
        self._read_bytes = 0
        self._totals: dict[int, Counts] = {}
        self._log = -1
        self._synced_at = time.monotonic()
        try:
            self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise RecordError(f"{folder / LOCK_FILE} cannot be opened: {error.strerror}") from error
        try:
            with self._locked():
                self._catch_up()
        except BaseException:
            os.close(self._lock)
            raise

    @classmethod
    def of(cls, folder: Path, info: ChipInfo) -> Self:
        """Open the ledger of the chip that says `info` of itself.

        Raises:
            RecordError: It is damaged, belongs to a chip of other size, or cannot be written.
        """
        shapes = {c.core: (c.devices_per_cell, c.rows, c.cols) for c in info.cores}
        return cls(folder, shapes)

    def totals(self, core: int) -> Counts:
        """Pulses of each device of a core, (families SET RESET, devices, rows, cols); a copy."""
        with self._locked():
            self._catch_up()
        return self._totals[core].copy()

    @property
    def pulses(self) -> int:
        """Pulses that all devices of the chip have had, as last looked."""
        return sum(int(total.sum()) for total in self._totals.values())

    def reserve(self, core: int, pulse: Pulse, budget: Budget, source: str = "its limits") -> None:
        """Count a request that is about to leave, if the budgets of device, cell and chip allow it.

        Raises:
            RequestError: A budget would be exceeded; nothing was counted.
            RecordError: The ledger is damaged or its disk is full; nothing may leave.
        """
        record = record_of(core, pulse, self._shapes[core])
        with self._locked():
            self._catch_up()
            check_budget(self._totals, record, budget, source)
            self._append(record)

    def withdraw(self, core: int, pulse: Pulse) -> None:
        """Take back a request that the device rejected without effect."""
        with self._locked():
            self._catch_up()
            self._append(record_of(core, pulse, self._shapes[core], sign=-1))

    def close(self) -> None:
        """Fold the log into the array file and let go; twice is fine."""
        if self._lock < 0:
            return
        try:
            with self._locked():
                self._catch_up()
                if self._read_bytes:
                    self._compact()
        finally:
            for descriptor in (self._log, self._lock):
                if descriptor >= 0:
                    os.close(descriptor)
            self._lock = self._log = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock < 0:
            raise RecordError("the wear ledger is closed; open it again")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Take over what this and other processes have written since; cut off a torn record."""
        if self._stamp_on_disk() != self._stamp:
            self._load()
        try:
            size = os.fstat(self._log).st_size
            if size == self._read_bytes:
                return
            data = os.pread(self._log, size - self._read_bytes, self._read_bytes)
            records, whole = read_records(data, self._shapes)
        except OSError as error:
            raise RecordError(f"{self._log_path} cannot be read: {error.strerror}") from error
        except RecordError as error:
            at = self._read_bytes + int(error.fields["at"])
            raise RecordError(
                f"wear log {self._log_path} is damaged at byte {at}; no pulse is sent until it is "
                "mended: restore it from a copy",
                path=str(self._log_path),
                at=at,
            ) from error
        for record in records:
            self._add(record)
        self._read_bytes += whole
        if self._read_bytes < size:
            os.ftruncate(self._log, self._read_bytes)

    def _stamp_on_disk(self) -> Stamp:
        """What tells the array file that stands from every other; None if there is none."""
        try:
            found = (self._folder / LEDGER_FILE).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self) -> None:
        """Take over the array file and open the log that carries its number; drop older logs."""
        self._stamp = self._stamp_on_disk()
        self._generation, self._totals = self._read_ledger()
        self._read_bytes = 0
        if self._log >= 0:
            os.close(self._log)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._log = os.open(self._log_path, flags, 0o660)
        except OSError as error:
            raise RecordError(f"{self._log_path} cannot be opened: {error.strerror}") from error
        for stale in self._folder.glob("wear.log.*"):
            if stale != self._log_path:
                stale.unlink(missing_ok=True)

    def _read_ledger(self) -> tuple[int, dict[int, Counts]]:
        path = self._folder / LEDGER_FILE
        shapes = {k: (len(FAMILIES), *shape) for k, shape in self._shapes.items()}
        try:
            with np.load(path, allow_pickle=False) as data:
                totals = {k: data[f"core_{k}"].astype(np.int64) for k in shapes}
                generation = int(data["generation"])
        except FileNotFoundError:
            return 0, {k: np.zeros(shape, np.int64) for k, shape in shapes.items()}
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise RecordError(
                f"wear ledger {path} is damaged ({error}); no pulse is sent until it is mended: "
                "restore it from a copy",
                path=str(path),
            ) from error
        for k, shape in shapes.items():
            if totals[k].shape != shape:
                raise RecordError(
                    f"wear ledger {path} holds core {k} as {totals[k].shape}, the chip has {shape}"
                )
        return generation, totals

    def _append(self, record: WearRecord) -> None:
        data = encode_record(record, self._shapes[record.core])
        try:
            written = os.write(self._log, data)
            if written < len(data):
                os.ftruncate(self._log, self._read_bytes)
                raise RecordError(f"{self._log_path} cannot be written: the disk is full")
            now = time.monotonic()
            if now - self._synced_at > SYNC_INTERVAL_S:
                os.fsync(self._log)
                self._synced_at = now
        except OSError as error:
            raise RecordError(f"{self._log_path} cannot be written: {error.strerror}") from error
        self._add(record)
        self._read_bytes += len(data)
        if self._read_bytes > COMPACT_BYTES:
            self._compact()

    def _add(self, record: WearRecord) -> None:
        family = self._totals[record.core][FAMILIES.index(record.family)].reshape(-1)
        family[record.places] += record.sign * record.counts

    def _compact(self) -> None:
        """Fold the log into the next array file; a crash in between leaves one of the two whole."""
        generation = self._generation + 1
        arrays: dict[str, Any] = {f"core_{k}": total for k, total in self._totals.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, generation=np.int64(generation), **arrays)
        write_atomically(self._folder / LEDGER_FILE, buffer.getvalue())
        self._load()

    @property
    def _log_path(self) -> Path:
        return self._folder / f"wear.log.{self._generation}"


def check_budget(
    totals: dict[int, Counts], record: WearRecord, budget: Budget, source: str
) -> None:
    """Check that a request keeps within the budgets of the chip, its devices and its cells.

    Raises:
        RequestError: It does not; the sentence names the first that would not, and its count.
    """
    devices = totals[record.core].sum(axis=0)
    if budget.pulses_per_chip is not None:
        spent = np.array([sum(int(total.sum()) for total in totals.values())])
        more = record.counts.sum(keepdims=True)
        _check(_Claim("the chip", spent, more), "pulses_per_chip", budget, source)
    if budget.pulses_per_device is not None:
        added = np.zeros_like(devices)
        added.reshape(-1)[record.places] = record.counts
        claim = _Claim(f"core {record.core}: device (device, row, col)", devices, added)
        _check(claim, "pulses_per_device", budget, source)
    if budget.pulses_per_cell is not None:
        added = np.zeros_like(devices)
        added.reshape(-1)[record.places] = record.counts
        claim = _Claim(f"core {record.core}: cell (row, col)", devices.sum(0), added.sum(0))
        _check(claim, "pulses_per_cell", budget, source)


class _Claim(NamedTuple):
    """What is claimed of a budget: by whom, spent already, and how many more."""

    who: str
    spent: Counts
    more: Counts


def _check(claim: _Claim, name: str, budget: Budget, source: str) -> None:
    limit = int(getattr(budget, name))
    bad = np.argwhere((claim.spent + claim.more > limit) & (claim.more > 0))
    if not len(bad):
        return
    place = tuple(int(v) for v in bad[0])
    spent, more = int(claim.spent[place]), int(claim.more[place])
    where = "" if claim.spent.size == 1 else f" {place}"
    raise RequestError(
        f"{claim.who}{where} has had {spent:,} pulses; {more:,} more would exceed the budget of "
        f"{limit:,} ({name} in {source}); no pulse has left",
        budget=name,
        spent=spent,
        more=more,
        limit=limit,
    )
