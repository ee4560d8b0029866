"""Fetches the published files of a data set when asked; size and digest are checked.

A file is written beside its place and moved there once its digest is the card's; whatever goes
wrong before leaves nothing behind. Archives are kept as they are: the loaders read them in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from hil.errors import RequestError
from hil.progress import Progress, Silent
from hil.training.data.card import DatasetCard, PublishedFile, dataset_card
from hil.training.data.download import Source, opened_url
from hil.training.data.verify import digest_of

__all__ = ["FetchedFile", "fetch_dataset", "published_files"]

CHUNK_BYTES = 2**18
LOWEST_RATE = 20_000
"""Bytes per second below which a download is given up, once `timeout_s` has passed."""
MEGABYTE = 1e6
FILE_MODE = 0o644
"""Readable by everyone, as other files are; a temporary file is its owner's alone."""


class FetchedFile(BaseModel):
    """A published file that is in its place; `fetched` is False if it was there before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    url: str
    bytes: int
    sha256: str
    fetched: bool


def published_files(name: str, url: str | None = None) -> tuple[PublishedFile, ...]:
    """Return what would be fetched, from its publisher or from `url` instead.

    Args:
        name: Name of the set.
        url: Of a mirror's folder, ending in "/"; or of the file, where the set has only one.

    Raises:
        RequestError: Unknown set, nothing to fetch for it, or several files and no folder.
    """
    card = dataset_card(name)
    if not card.published:
        where = "comes with a library" if not card.forms else "is not distributed as such"
        raise RequestError(f"dataset {name!r} {where}; there is nothing to fetch", dataset=name)
    if url is None:
        return card.published
    if not url.endswith("/") and len(card.published) > 1:
        raise RequestError(
            f"dataset {name!r} has {len(card.published)} files; give --url of a folder that has "
            f"them all, ending in / (it is {url!r})",
            dataset=name,
        )
    return tuple(
        file.model_copy(update={"url": url + file.file if url.endswith("/") else url})
        for file in card.published
    )


def fetch_dataset(
    name: str,
    to: Path,
    *,
    url: str | None = None,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> tuple[FetchedFile, ...]:
    """Fetch what is not there yet into the folder `to`/NAME, where `load_dataset` finds it.

    Args:
        name: Name of the set.
        to: Data folder; made if need be.
        url: As `published_files`; the same digests are asked for.
        timeout_s: Longest silence of the server, s.
        progress: Told of each file in megabytes.

    Raises:
        RequestError: Nothing to fetch, an address of another kind than https or file, a server
            that does not answer or has no such file, another size or digest than published, a
            folder that cannot be written, a full disk, or another file in the place.
    """
    card = dataset_card(name)
    wanted = published_files(name, url)
    folder = to / name
    there = {file.file for file in wanted if _is_there(folder / file.file, file, card)}
    missing = sum(file.bytes for file in wanted if file.file not in there)
    with _made(folder):
        _check_space(folder, missing)
        for file in wanted:
            if file.file not in there:
                _fetch(file, folder, timeout_s, progress or Silent())
    return tuple(
        FetchedFile(
            path=str(folder / file.file),
            url=file.url,
            bytes=(folder / file.file).stat().st_size,
            sha256=digest_of(folder / file.file),
            fetched=file.file not in there,
        )
        for file in wanted
    )


def _is_there(place: Path, file: PublishedFile, card: DatasetCard) -> bool:
    """Say whether the file is in its place; one with the same content, packed anew, counts."""
    if not place.exists():
        return False
    digest = digest_of(place)
    if digest == file.sha256:
        return True
    for form in card.forms:
        for known in form.files:
            if form.unpacked_digests and file.file in known.names and file.file.endswith(".gz"):
                return digest_of(place, unpacked=True) == known.sha256
    raise RequestError(
        f"{place} is there and is not the published file (sha256 {digest}, published "
        f"{file.sha256}); move it away and fetch again",
        path=str(place),
    )


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; take it away again if the work in it fails and leaves it empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"folder {folder} cannot be made ({error.strerror}); give another with --to DIR",
            path=str(folder),
        ) from error
    try:
        yield
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise


def _check_space(folder: Path, wanted_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise RequestError(
            f"the disk of {folder} has {free / MEGABYTE:.0f} MB left and "
            f"{wanted_bytes / MEGABYTE:.0f} MB are to be fetched; give another with --to DIR",
            path=str(folder),
        )


def _fetch(file: PublishedFile, folder: Path, timeout_s: float, progress: Progress) -> None:
    place = folder / file.file
    with (
        progress.task(f"{file.file}, MB", file.bytes / MEGABYTE) as task,
        opened_url(file.url, timeout_s=timeout_s) as source,
        _part_of(place) as part,
    ):
        digest = _copy(source, part, file, timeout_s, lambda size: task.advance(size / MEGABYTE))
        if digest != file.sha256:
            raise RequestError(
                f"{file.url} gave a file of sha256 {digest}, published is {file.sha256}; it was "
                "deleted: fetch again, or give another source with --url",
                url=file.url,
            )


@contextmanager
def _part_of(place: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `place` that takes it when the block ends well, and vanishes otherwise."""
    try:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed below, before it is moved
            dir=place.parent, prefix=f"{place.name}.", suffix=".part", delete=False
        )
    except OSError as error:
        raise _not_written(place, error) from error
    part = Path(file.name)
    try:
        with file:
            yield file
            with _writing(place):
                file.flush()
                os.fsync(file.fileno())
        with _writing(place):
            part.chmod(FILE_MODE)
            part.replace(place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _not_written(place, error) from error


def _not_written(place: Path, error: OSError) -> RequestError:
    return RequestError(
        f"{place} cannot be written ({error.strerror or error}); nothing was kept: give another "
        "folder with --to DIR",
        path=str(place),
    )


def _copy(
    source: Source,
    part: IO[bytes],
    file: PublishedFile,
    timeout_s: float,
    advance: Callable[[float], None],
) -> str:
    """Copy the announced bytes and no more; return their sha256."""
    digest, done = hashlib.sha256(), 0
    ends_s = time.monotonic() + timeout_s + file.bytes / LOWEST_RATE
    while chunk := source.read1(CHUNK_BYTES):
        done += len(chunk)
        if done > file.bytes:
            break
        if time.monotonic() > ends_s:
            raise RequestError(
                f"{file.url} is too slow: {done} of {file.bytes} bytes came; nothing was kept: "
                "try again later, or give another source with --url",
                url=file.url,
            )
        with _writing(Path(part.name)):
            part.write(chunk)
        digest.update(chunk)
        advance(len(chunk))
    if done != file.bytes:
        found = "more than" if done > file.bytes else f"only {done} of"
        raise RequestError(
            f"{file.url} gave {found} the {file.bytes} bytes published; nothing was kept: fetch "
            "again, or give another source with --url",
            url=file.url,
        )
    return digest.hexdigest()
