"""The files of a published speech set, in a folder or in its .tar.gz. Knows no data set."""

from __future__ import annotations

import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from hil.errors import RequestError

__all__ = ["ArchivedFiles", "FileSource", "FolderFiles", "open_files"]

MAX_MEMBER_BYTES = 64 * 2**20
"""Largest file that is taken out of an archive: minutes of background noise fit well."""


class FileSource(ABC):
    """Files by relative path, with "/" between folders.

    Attributes:
        name: What the whole is called in messages.
    """

    name: str

    @abstractmethod
    def names(self) -> list[str]:
        """Sorted paths of all files."""

    @abstractmethod
    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Give each of these files once, in the order in which they are stored.

        Raises:
            RequestError: A file is not there or cannot be read.
        """

    def text_lines(self, name: str) -> set[str]:
        """Lines of a small text file, without empty ones."""
        ((_, content),) = self.read([name])
        try:
            lines = content.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise RequestError(
                f"{name} of {self.name} is no text ({error}); get it again", path=self.name
            ) from error
        return {line.strip() for line in lines} - {""}


class FolderFiles(FileSource):
    """A folder, two levels deep: its files and those of its folders."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    @override
    def names(self) -> list[str]:
        with _refusing(self.name):
            found = [*self._folder.glob("*"), *self._folder.glob("*/*")]
            return sorted(p.relative_to(self._folder).as_posix() for p in found if p.is_file())

    @override
    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            path = self._folder / name
            with _refusing(str(path)):
                content = path.read_bytes()
            yield name, content


class ArchivedFiles(FileSource):
    """A .tar.gz, read in place in one pass; one folder around everything is left out."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with _refusing(self.name):
            self._members = self._list()

    @override
    def names(self) -> list[str]:
        return sorted(self._members)

    @override
    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        wanted = set(names)
        missing = sorted(wanted - set(self._members))
        if missing:
            raise RequestError(f"{self.name} does not hold {missing[0]}; get it again")
        stored = {self._members[name]: name for name in wanted}
        with _refusing(self.name), tarfile.open(self._path, "r:gz") as archive:
            for member in archive:
                if member.name in stored and member.isfile():
                    yield stored.pop(member.name), self._content(archive, member)

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        if member.size > MAX_MEMBER_BYTES:
            raise RequestError(
                f"{member.name} of {self.name} has {member.size} bytes, over {MAX_MEMBER_BYTES}",
                path=self.name,
            )
        file = archive.extractfile(member)
        return b"" if file is None else file.read()

    def _list(self) -> dict[str, str]:
        with tarfile.open(self._path, "r:gz") as archive:
            stored = [member.name for member in archive if member.isfile()]
        plain = {name.removeprefix("./"): name for name in stored}
        tops = {name.partition("/")[0] for name in plain}
        around = f"{tops.pop()}/" if len(tops) == 1 else ""
        return {name.removeprefix(around): stored_as for name, stored_as in plain.items()}


def open_files(path: Path) -> FileSource:
    """Open a folder or a .tar.gz."""
    return FolderFiles(path) if path.is_dir() else ArchivedFiles(path)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise RequestError(
            f"{name} cannot be read ({error}); get it again, or give another folder", path=name
        ) from error
