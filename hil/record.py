"""The record of a run: what was asked, of which chip, with which seed; how it ended. Data only."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from hil.errors import HilError, RecordError
from hil.info import BackendKind

if TYPE_CHECKING:
    from hil.info import ChipInfo

__all__ = [
    "RECORD_FILE",
    "ChipIdentity",
    "JournalSummary",
    "ResumptionNote",
    "RunError",
    "RunRecord",
    "RunStatus",
    "load_record",
    "new_record",
    "now_text",
]

RECORD_FILE = "record.json"
_RECORDED_PACKAGES = ("aimc-hil", "numpy", "pydantic", "scipy", "torch")


class RunStatus(StrEnum):
    """How a run stands; the value is the sentence to show."""

    RUNNING = "running"
    DONE = "done"
    GOAL_NOT_MET = "done, the goal was not met"
    REFUSED = "refused: the request was wrong, no pulse has left"
    FAILED = "failed"
    INTERRUPTED = "interrupted; the journal says how far it came"


class RunError(BaseModel):
    """What stopped a run: kind of error, its sentence, the values named in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    message: str
    fields: dict[str, str]

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception."""
        named = error.fields if isinstance(error, HilError) else {}
        return cls(
            kind=type(error).__name__,
            message=str(error),
            fields={k: str(v) for k, v in named.items()},
        )


class ChipIdentity(BaseModel):
    """Which chip answered: serial number, kind of back-end, model, versions by component."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: str
    backend: BackendKind
    model: str
    versions: dict[str, str]

    @classmethod
    def of(cls, info: ChipInfo) -> Self:
        """Take the identity from what the chip says of itself."""
        return cls(
            serial=info.serial,
            backend=info.backend,
            model=info.model,
            versions=dict(info.cores[0].versions),
        )


class JournalSummary(BaseModel):
    """What a journal holds: lines, verbs by name, and a digest of every code that crossed.

    Attributes:
        lines: Lines that could be read.
        verbs: Completed verbs by name.
        unfinished: Pulse requests without a known outcome: their cells are to be read back.
        torn_bytes: Bytes of a last line that a crash has torn; damage would be an error instead.
        codes_digest: Equal for two runs exactly if all their requests and results had equal codes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: int
    verbs: dict[str, int]
    unfinished: int
    codes_digest: str
    torn_bytes: int = 0


class ResumptionNote(BaseModel):
    """How a run was taken up again.

    Attributes:
        at: Coordinated universal time, ISO 8601.
        command: Command line.
        line: Line of the journal from which on it holds this attempt.
        played: Verbs that were answered from the journal.
        torn_bytes: Bytes of a torn last line that were cut away.
        in_doubt: Pulses whose outcome was not known.
        evidence: How their outcome was found; None if there were none, or it was not reached.
        misfit_share: Share of their devices that did not hold what the pulses give.
        sent_again: Pulses sent again, since they had not been applied.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    command: tuple[str, ...]
    line: int
    played: int
    torn_bytes: int
    in_doubt: int
    evidence: str | None = None
    misfit_share: float | None = None
    sent_again: int = 0


class RunRecord(BaseModel):
    """What one run was asked to do, on which chip, and how it ended.

    Attributes:
        schema_version: Version of this document.
        name: Name of the run: the recipe or the command.
        command: Command line that repeats the run.
        address: Address of the chip, None for a run without one.
        seed: Seed of everything the host draws.
        recipe: The recipe in force, overrides included; None for a run without one.
        versions: Versions of this software and what it stands on.
        started_at, ended_at: Coordinated universal time, ISO 8601.
        status: How the run stands.
        chip: The chip that answered, as soon as it has.
        error: What stopped it.
        journal: What the journal holds, filled when the run is finalised.
        results: The results document.
        resumptions: How it was taken up again after an interruption, each time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    command: tuple[str, ...]
    address: str | None
    seed: int
    recipe: dict[str, JsonValue] | None
    versions: dict[str, str]
    started_at: str
    ended_at: str | None = None
    status: RunStatus = RunStatus.RUNNING
    chip: ChipIdentity | None = None
    error: RunError | None = None
    journal: JournalSummary | None = None
    results: dict[str, JsonValue] | None = None
    resumptions: tuple[ResumptionNote, ...] = ()


def new_record(
    name: str,
    *,
    command: tuple[str, ...],
    seed: int,
    address: str | None = None,
    recipe: dict[str, JsonValue] | None = None,
) -> RunRecord:
    """Make the record of a run that is about to begin: stamped, status running."""
    return RunRecord(
        name=name,
        command=command,
        address=address,
        seed=seed,
        recipe=recipe,
        versions=_versions(),
        started_at=now_text(),
    )


def load_record(path: Path) -> RunRecord:
    """Read the record of a run folder.

    Raises:
        RecordError: There is none, or it is damaged or of another version.
    """
    file = path / RECORD_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecordError(
            f"{path} is not a run folder: it holds no {RECORD_FILE}; give the folder that a run "
            "printed as its last line"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} cannot be read: {error}") from error
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "document"
        raise RecordError(
            f"{file} is not a run record of schema version 1: {where}: {first['msg']}"
        ) from error


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.system().lower()}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def now_text() -> str:
    """Return the time now, coordinated universal time, ISO 8601."""
    stamp = datetime.fromtimestamp(time.time(), UTC)
    return stamp.isoformat(timespec="milliseconds")
