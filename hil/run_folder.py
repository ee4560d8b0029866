"""The run folder: a record written before any hardware is touched, closed in a step of its own.

A run folder holds `record.json`, `journal.jsonl`, `wear.npz` and what a command adds. Every
document is written whole under another name and then renamed, so that a reader never meets half a
file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from hil.errors import RecordError, RequestError
from hil.journal import read_journal
from hil.record import (
    RECORD_FILE,
    JournalSummary,
    RunError,
    RunRecord,
    RunStatus,
    load_record,
    now_text,
)
from hil.requests import Outcome

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "JOURNAL_FILE",
    "WEAR_FILE",
    "FileEntry",
    "Manifest",
    "RunFolder",
    "finalise_run",
    "write_atomically",
]

JOURNAL_FILE = "journal.jsonl"
WEAR_FILE = "wear.npz"
MANIFEST_FILE = "manifest.json"
MINIMUM_FREE_BYTES = 64 << 20
"""Free space that a run folder needs before a run may begin, bytes."""


class FileEntry(BaseModel):
    """A file of a run folder: relative path, size, SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Every file of a finalised run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    files: tuple[FileEntry, ...]


class RunFolder:
    """A run folder under way; a context manager.

    Leaving it closes the record: done if nothing else was said, refused, failed or interrupted
    after an exception, which goes on upwards.

    Attributes:
        path: The folder.
        taken_up: The run was interrupted here and goes on from what its journal holds.
        command: Command line of this attempt.
    """

    def __init__(
        self, path: Path, record: RunRecord, *, taken_up_by: tuple[str, ...] | None = None
    ) -> None:
        self.path = path
        self.taken_up = taken_up_by is not None
        self.command = record.command if taken_up_by is None else taken_up_by
        self._record = record
        self._ending = RunStatus.DONE

    @classmethod
    def create(cls, path: Path, record: RunRecord) -> Self:
        """Make the folder and write its record; a folder of an earlier run is never reused.

        If `path` already holds a run, `path-2`, `path-3`, ... is taken.

        Raises:
            RecordError: The folder cannot be made, or its disk is nearly full.
        """
        try:
            folder = _free_folder(path)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise RecordError(
                f"run folder {path} cannot be made: {error.strerror}; give another --out"
            ) from error
        if free < MINIMUM_FREE_BYTES:
            raise RecordError(
                f"run folder {folder}: {free >> 20} MiB are free, {MINIMUM_FREE_BYTES >> 20} MiB "
                "are needed; give another --out or make room",
                free=free,
            )
        run = cls(folder, record)
        run.update()
        return run

    @classmethod
    def resume(cls, path: Path, record: RunRecord) -> Self:
        """Go on in the folder of an earlier attempt of the same run, under a new record.

        Raises:
            RecordError: It holds no record.
            RequestError: The attempt had another name, address, seed or recipe; more or fewer chip
                seeds are the same recipe.
        """
        _require_same(path, load_record(path), record)
        run = cls(path, record)
        run.update()
        return run

    @classmethod
    def take_up(cls, path: Path, *, command: tuple[str, ...]) -> Self:
        """Go on with an interrupted run where its journal ends, under its own record.

        Raises:
            RecordError: It holds no record.
        """
        run = cls(path, load_record(path), taken_up_by=command)
        run.update(status=RunStatus.RUNNING, ended_at=None, error=None)
        return run

    @property
    def record(self) -> RunRecord:
        """The record as last written."""
        return self._record

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - fields of RunRecord, checked there
        """Change fields of the record and write it."""
        self._record = RunRecord.model_validate({**self._record.model_dump(), **changes})
        write_atomically(
            self.path / RECORD_FILE, (self._record.model_dump_json(indent=2) + "\n").encode()
        )

    def finish(self, status: RunStatus, results: Mapping[str, Any] | None = None) -> None:
        """Keep the results, values that JSON can hold; leaving the folder says how the run ended.

        Until then it is running: a process that dies while its chip is being closed leaves a run
        that can be taken up.
        """
        self.update(results=None if results is None else dict(results))
        self._ending = status

    def fail(self, error: BaseException) -> None:
        """Say what stopped the run; the folder stays readable."""
        if isinstance(error, RequestError):
            status = RunStatus.REFUSED
        elif isinstance(error, Exception):
            status = RunStatus.FAILED
        else:
            status = RunStatus.INTERRUPTED
        self.update(status=status, error=RunError.of(error), ended_at=now_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.fail(error)
        elif self._record.status is RunStatus.RUNNING:
            self.update(status=self._ending, ended_at=now_text())
        finalise_run(self.path)


def finalise_run(path: Path) -> RunRecord:
    """Close a run folder: check its journal, settle its status, list its files with digests.

    Safe to repeat, also on the folder of a run that was killed: a record that still says running
    becomes interrupted.
    """
    record = load_record(path)
    changes: dict[str, Any] = {}
    if record.status is RunStatus.RUNNING:
        changes.update(status=RunStatus.INTERRUPTED, ended_at=now_text())
    if (path / JOURNAL_FILE).exists():
        changes["journal"] = _summarise(path / JOURNAL_FILE)
    folder = RunFolder(path, record)
    if any(getattr(record, name) != value for name, value in changes.items()):
        folder.update(**changes)
    _write_manifest(path)
    return folder.record


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole: under another name, to the disk, then renamed over the old one.

    Raises:
        RecordError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(f"{path} cannot be written: {error.strerror}") from error


def _require_same(path: Path, earlier: RunRecord, record: RunRecord) -> None:
    for field in ("name", "address", "seed"):
        before, now = getattr(earlier, field), getattr(record, field)
        if before != now:
            raise RequestError(
                f"{path} holds a run with {field} {before!r}, not {now!r}; resume with the options "
                "of its first attempt, or give another --out"
            )
    tables = set(earlier.recipe or {}) | set(record.recipe or {})
    for table in sorted(tables):
        before, now = ((r.recipe or {}).get(table) for r in (earlier, record))
        if table == "chip" and isinstance(before, dict) and isinstance(now, dict):
            before, now = ({**chip, "seeds": None} for chip in (before, now))
        if before != now:
            raise RequestError(
                f"{path} holds a run of another recipe: {table} was {before}, is {now}; resume "
                "with the options of its first attempt, or give another --out"
            )


def _free_folder(path: Path) -> Path:
    for number in range(1, 10_000):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / RECORD_FILE).touch(exist_ok=False)
        except FileExistsError:
            continue
        return folder
    raise RecordError(f"{path} and 9,998 folders beside it hold runs; give another --out")


def _summarise(path: Path) -> JournalSummary:
    verbs: dict[str, int] = {}
    lines, length = 0, 0
    in_doubt: dict[int, int | None] = {}  # intents by line, and the one that each mends
    digest = hashlib.blake2b(digest_size=16)
    for line in read_journal(path):
        lines, length = lines + 1, length + line.bytes
        values = line.values
        phase, verb = values["phase"], values["verb"]
        if phase == "intent":
            in_doubt[line.number] = values.get("mends")
        elif phase == "settled":
            settled = values["intent"]
            in_doubt = {k: v for k, v in in_doubt.items() if settled not in (k, v)}
        elif verb == "program" and _tells_outcome(values):
            in_doubt.pop(values.get("intent", -1), None)
        if phase != "end":
            continue
        verbs[verb] = verbs.get(verb, 0) + 1
        if verb in ("program", "read", "mvm"):
            digest.update(
                f"{values['core']} {verb} {values['request']} {values.get('result')}\n".encode()
            )
    return JournalSummary(
        lines=lines,
        verbs=verbs,
        unfinished=len(in_doubt),
        codes_digest=digest.hexdigest(),
        torn_bytes=path.stat().st_size - length,
    )


def _tells_outcome(values: Mapping[str, Any]) -> bool:
    """Say whether the end of a pulse request leaves no doubt about what came of it."""
    if values["phase"] != "end":
        return False
    if "error" in values:
        return bool(values.get("refused"))
    return values.get("outcome") in (Outcome.DONE.name, Outcome.REJECTED.name)


def _write_manifest(path: Path) -> None:
    rows = []
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
        name = file.relative_to(path).as_posix()
        if name != MANIFEST_FILE:
            content = file.read_bytes()
            rows.append(
                FileEntry(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            )
    manifest = Manifest(files=tuple(rows))
    write_atomically(path / MANIFEST_FILE, (manifest.model_dump_json(indent=2) + "\n").encode())
