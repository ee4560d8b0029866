"""Dirty cores: pulsed, and not verified since. A document in the run folder and with the chip.

A core is dirty from before its first pulse until whoever programmed it has measured it and said so.
Inference refuses a dirty core unless forced. Knows no session and no back-end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.core import Chip
from hil.errors import RecordError
from hil.record import now_text
from hil.run_folder import write_atomically

__all__ = ["DIRTY_FILE", "DirtyBook", "DirtyCore", "DirtyCores", "load_dirty", "require_clean"]

DIRTY_FILE = "dirty.json"
LONGEST_DOCUMENT = 1 << 20
"""Bytes of a document that are read."""

log = logging.getLogger(__name__)


class DirtyCore(BaseModel):
    """A core that was pulsed and not verified since.

    Attributes:
        core: Its index.
        since: When it became dirty, coordinated universal time.
        run: Run folder that did it.
        reason: Why, as a clause.
        generation: The core's count of pulse requests before: a chip that still counts as many was
            not reached by any of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: Annotated[int, Field(ge=0)]
    since: str
    run: str
    reason: str
    generation: int


class Forced(BaseModel):
    """Somebody used a dirty core all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    cores: tuple[int, ...]
    command: str


class DirtyCores(BaseModel):
    """The dirty cores of a chip, and who used them all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    serial: str
    cores: tuple[DirtyCore, ...] = ()
    forced: tuple[Forced, ...] = ()

    def of(self, core: int) -> DirtyCore | None:
        """Return what is known of a core; None if it is clean."""
        return next((one for one in self.cores if one.core == core), None)


class DirtyBook:
    """Keeps the documents of a chip up to date while a run programs it.

    Args:
        serial: The chip.
        run: The run folder; gets a document of its own.
        folders: Further folders for the same: the chip's own records.
    """

    def __init__(self, serial: str, run: Path, folders: Iterable[Path] = ()) -> None:
        self._serial = serial
        self._run = run
        self._files = tuple(folder / DIRTY_FILE for folder in (run, *folders))
        self._known = {file: _mine(file, serial) for file in self._files}

    def is_dirty(self, core: int) -> bool:
        """Say whether a core is dirty by this book, in every document."""
        return all(known.of(core) is not None for known in self._known.values())

    def mark(self, core: int, *, generation: int, reason: str) -> None:
        """Write that a core is dirty, before it is; an earlier entry keeps its generation."""
        now = now_text()
        for file, known in self._known.items():
            old = known.of(core)
            entry = DirtyCore(
                core=core,
                since=now if old is None else old.since,
                run=str(self._run),
                reason=reason,
                generation=generation if old is None else old.generation,
            )
            others = tuple(one for one in known.cores if one.core != core)
            self._write(file, known.model_copy(update={"cores": (*others, entry)}))

    def verified(self, cores: Iterable[int]) -> None:
        """Write that cores hold what they should."""
        clean = set(cores)
        for file, known in self._known.items():
            left = tuple(one for one in known.cores if one.core not in clean)
            if left != known.cores:
                self._write(file, known.model_copy(update={"cores": left}))

    def _write(self, file: Path, document: DirtyCores) -> None:
        self._known[file] = document
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (document.model_dump_json(indent=2) + "\n").encode())


def load_dirty(folder: Path) -> DirtyCores | None:
    """Read the document of a folder; None if there is none.

    Raises:
        RecordError: It is damaged or of another version.
    """
    file = folder / DIRTY_FILE
    try:
        if file.stat().st_size > LONGEST_DOCUMENT:
            raise RecordError(f"{file} is longer than {LONGEST_DOCUMENT} bytes")
        return DirtyCores.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RecordError(
            f"{file} does not say which cores are dirty ({error}); program and verify them anew, "
            "then remove it",
            path=str(file),
        ) from error


def require_clean(
    chip: Chip, folders: Iterable[Path], *, force: bool = False, command: str = ""
) -> tuple[DirtyCore, ...]:
    """Refuse a chip with dirty cores; return those that were forced.

    Args:
        chip: The opened chip.
        folders: Where documents may lie: the run folder, the chip's records.
        force: Use them all the same; that is written down.
        command: Who forces it, for the document.

    Raises:
        RecordError: A core is dirty, with which run left it so; or a document is damaged.
    """
    found: dict[int, DirtyCore] = {}
    for folder in folders:
        known = load_dirty(folder)
        if known is None or known.serial != chip.serial:
            continue
        dirty = [one for one in known.cores if _was_reached(chip, one)]
        found |= {one.core: one for one in dirty}
        if dirty and force:
            note = Forced(at=now_text(), cores=tuple(one.core for one in dirty), command=command)
            document = known.model_copy(update={"forced": (*known.forced, note)})
            write_atomically(folder / DIRTY_FILE, document.model_dump_json(indent=2).encode())
    if found and not force:
        first = found[min(found)]
        raise RecordError(
            f"core {first.core} of chip {chip.serial} is dirty: {first.reason} ({first.run}, since "
            f"{first.since}); go on with hil resume {first.run}, program it anew, or force it with "
            "--force-dirty",
            core=first.core,
            run=first.run,
        )
    for one in found.values():
        log.warning("dirty core %d of chip %s is used by force", one.core, chip.serial)
    return tuple(found.values())


def _was_reached(chip: Chip, dirty: DirtyCore) -> bool:
    """A core that still counts as many requests as before was not reached by any of them."""
    if dirty.core >= len(chip.cores):
        return False
    return chip.cores[dirty.core].status().generation != dirty.generation


def _mine(file: Path, serial: str) -> DirtyCores:
    known = load_dirty(file.parent)
    return known if known is not None and known.serial == serial else DirtyCores(serial=serial)
