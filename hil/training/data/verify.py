"""Digests of the files of a data set, compared with those in its card. Decodes nothing."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hil.errors import RequestError
from hil.training.data.find import FoundForm

__all__ = ["FileCheck", "digest_of", "verify_files"]

CHUNK_BYTES = 2**20


class FileCheck(BaseModel):
    """One file: its digest, and whether its content is that of the card (None: not known there).

    Attributes:
        path: The file.
        bytes: Its size.
        sha256: Digest of its bytes; of the unpacked ones where the card's digest is of these.
        as_published: Whether the digest is the card's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str
    as_published: bool | None


def verify_files(found: FoundForm) -> tuple[FileCheck, ...]:
    """Digest each file of a form.

    Raises:
        RequestError: A file cannot be read.
    """
    checks = []
    for file, path in zip(found.form.files, found.files, strict=True):
        if not path.is_file():
            continue  # a folder has no digest
        digest = digest_of(path, unpacked=found.form.unpacked_digests and path.suffix == ".gz")
        checks.append(
            FileCheck(
                path=str(path),
                bytes=path.stat().st_size,
                sha256=digest,
                as_published=None if file.sha256 is None else digest == file.sha256,
            )
        )
    return tuple(checks)


def digest_of(path: Path, *, unpacked: bool = False) -> str:
    """Return sha256 of a file's bytes, or of what its gzip stream unpacks to.

    Raises:
        RequestError: It cannot be read, or is no gzip file.
    """
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") if unpacked else path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path} cannot be read ({error}); get it again", path=str(path)) from (
            error
        )
    return digest.hexdigest()
