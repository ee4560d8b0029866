"""The audit log of a chip: who did what to it, when; appended only, each line chained to the last.

A line is a JSON object whose "hash" is the SHA-256 of the hash before it and of the rest of the
line. Beside the log stands its head, so that cut-off lines are missed. Knows files, opens no chip.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hil.chip_records import make_chip_folder
from hil.errors import RecordError
from hil.lease_lock import operator_name
from hil.record import now_text
from hil.run_folder import write_atomically

__all__ = ["AUDIT_FILE", "AuditVerdict", "append_audit", "read_audit", "verify_audit"]

AUDIT_FILE = "audit.jsonl"
HEAD_FILE = "audit.head"
_SEED = hashlib.sha256(b"aimc-hil audit log 1").hexdigest()
"""What the first line is chained to."""
_TAIL_BYTES = 1 << 20
"""The longest line, bytes."""


@dataclass(frozen=True, kw_only=True)
class AuditVerdict:
    """What a check of an audit log found.

    Attributes:
        lines: Lines that are whole and in their chain, from the first.
        bad_line: The first line that is not, counted from 1; None if all are.
        reason: What is wrong there.
        head: Hash of the last good line.
    """

    lines: int
    bad_line: int | None
    reason: str
    head: str


def append_audit(serial: str, event: str, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Write an event into the audit log of a chip; it has reached the disk when this returns.

    Args:
        serial: The chip.
        event: What happened, in words.
        **values: What belongs to it, as JSON can hold it.

    Returns:
        The line as written.

    Raises:
        RecordError: The log cannot be written, or its last line was altered.
    """
    folder = make_chip_folder(serial)
    path = folder / AUDIT_FILE
    try:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            torn, number, previous = _tail(file, path)
            _require_head(folder / HEAD_FILE, path, number, previous)
            if torn:
                lost = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
                line = _chained(number, previous, "a torn line was cut off", serial, lost)
                _write(file, line)
                number, previous = number + 1, line["hash"]
            line = _chained(number, previous, event, serial, values)
            _write(file, line)
            head = {"lines": number + 1, "hash": line["hash"]}
            write_atomically(folder / HEAD_FILE, (json.dumps(head) + "\n").encode())
    except OSError as error:
        raise RecordError(f"audit log {path} cannot be written: {error.strerror}") from error
    return line


def read_audit(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an audit log as they stand, unchecked; what is no JSON is left out.

    Raises:
        RecordError: There is no such file.
    """
    for raw in _lines(path):
        values = _json(raw)
        if values is not None:
            yield values


def verify_audit(path: Path) -> AuditVerdict:
    """Check every line of an audit log against its chain and, where there is one, its head.

    Raises:
        RecordError: There is no such file.
    """
    previous, hashes = _SEED, [_SEED]
    for number, raw in enumerate(_lines(path)):
        reason = _flaw(raw, number, previous)
        if reason:
            return AuditVerdict(lines=number, bad_line=number + 1, reason=reason, head=previous)
        previous = str((_json(raw) or {})["hash"])
        hashes.append(previous)
    lines = len(hashes) - 1
    reason = _head_flaw(path.with_name(HEAD_FILE), hashes)
    bad = lines + 1 if reason else None
    return AuditVerdict(lines=lines, bad_line=bad, reason=reason, head=previous)


def _flaw(raw: bytes, number: int, previous: str) -> str:
    values = _json(raw)
    if values is None or "hash" not in values:
        return "it is no line of an audit log"
    if values.get("n") != number:
        return f"it says it is number {values.get('n')}: lines were taken out or put in"
    if values.get("previous") != previous:
        return "it does not follow from the line before it"
    said = values.pop("hash")
    if said != _hash(previous, values):
        return "its words are not those that were written"
    return ""


def _head_flaw(path: Path, hashes: list[str]) -> str:
    """Compare with the head; the log may be ahead of it by what a crash left unsaid."""
    head = _head(path)
    if head is None:
        return ""
    count, said = head
    if count < 0:
        return f"its head {path.name} is damaged"
    if count >= len(hashes):
        return f"it is missing: the log had {count} lines when it was last written"
    return "" if hashes[count] == said else "the chain is not the one that was written"


def _require_head(head_path: Path, path: Path, number: int, previous: str) -> None:
    """Refuse to go on, and so to forget the head, where lines of the log are missing."""
    count, said = _head(head_path) or (0, _SEED)
    if not 0 <= count <= number or (count == number and said != previous):
        raise RecordError(
            f"audit log {path} has {number} lines but had {count} when it was last written; "
            "nothing is done with the chip until hil audit verify finds it whole: restore it from "
            "a copy",
            path=str(path),
        )


def _head(path: Path) -> tuple[int, str] | None:
    """Lines and last hash as last written; None if there is no head, -1 lines if damaged."""
    try:
        head = json.loads(path.read_bytes())
        return int(head["lines"]), str(head["hash"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return -1, ""


def _tail(file: BinaryIO, path: Path) -> tuple[bytes, int, str]:
    """Torn bytes cut from the end, number of the next line, hash of the last whole one."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    tail = file.read(size - start)
    whole, newline, torn = tail.rpartition(b"\n")
    if torn:
        file.truncate(size - len(torn))
    if not newline:
        return torn, 0, _SEED
    last = _json(whole.rpartition(b"\n")[2])
    values = dict(last or {})
    said = values.pop("hash", None)
    if last is None or said != _hash(str(values.get("previous")), values):
        raise RecordError(
            f"audit log {path}: its last line was altered; nothing is done with the chip until "
            "hil audit verify finds it whole: restore it from a copy",
            path=str(path),
        )
    return torn, int(values["n"]) + 1, str(said)


def _chained(
    number: int, previous: str, event: str, serial: str, values: dict[str, Any]
) -> dict[str, Any]:
    line = {
        "n": number,
        "at": now_text(),
        "event": event,
        "serial": serial,
        "operator": f"{operator_name()}@{socket.gethostname()}",
        "pid": os.getpid(),
        **values,
        "previous": previous,
    }
    return {**line, "hash": _hash(previous, line)}


def _hash(previous: str, values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def _write(file: BinaryIO, line: dict[str, Any]) -> None:
    file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"audit log {path} cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    return lines[:-1] if not lines[-1] else lines


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(raw)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
