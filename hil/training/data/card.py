"""Cards of the data sets: what one is, in which files it comes, who publishes it. Reads no data.

A card is a TOML document, one a set. Counts, names and checksums stand there and nowhere else.
"""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hil.errors import RequestError
from hil.toml_document import Shelf, bundled_documents, parse_document

__all__ = ["DataFile", "DataForm", "DatasetCard", "PublishedFile", "card_names", "dataset_card"]

_SHELF = Shelf(kind="data card", package="hil.training", folder="data/cards")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Document):
    """One file (or, with a final "/", one folder) of a form.

    Attributes:
        names: Relative paths under which it is looked for, the first the usual one.
        sha256: Digest of its bytes; of the unpacked bytes where it may be a plain file or its .gz.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    sha256: Sha256 | None = None


class DataForm(_Document):
    """One way in which the set is stored.

    Attributes:
        name, title: Short name, and what it is in a few words.
        files: Everything that must be there.
        train, test: Samples of each part.
        unpacked_digests: The files' digests are of their unpacked bytes.
        source: Where the digests are from.
    """

    name: str
    title: str
    files: tuple[DataFile, ...]
    train: Count
    test: Count
    unpacked_digests: bool = False
    source: str = ""


class PublishedFile(_Document):
    """A file at its publisher's, or at a mirror of the same bytes.

    Attributes:
        file: Its name.
        url: Where it is fetched from.
        bytes: Its size.
        sha256, md5: Digests of the file as fetched.
        source: Where size and digests are from.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    url: Annotated[str, Field(pattern=r"^https://")]
    bytes: Count
    sha256: Sha256
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    source: str


class RefusedFile(_Document):
    """A file that looks like the set and is not read, and why."""

    names: tuple[str, ...]
    reason: str


class DatasetCard(_Document):
    """What is known of a data set without reading it.

    Attributes:
        name, title: Name in the registry, and what it is in a few words.
        kind: What a sample is: a picture or a recording.
        class_names: One a label.
        sample_shape, sample_dtype: Of one sample as stored.
        input_shape: Of one network input: channels, height, width.
        folders: Folders below the data folder in which the files are looked for, before itself.
        forms: In order of preference; none for a set that comes with a library.
        refused: Files that are not read.
        published: What `hil data fetch` gets; none where nobody distributes the set.
        source, licence, citation: Who made it, what one may do with it, what to cite.
        remark: What else one should know.
    """

    schema_version: Literal[1]
    name: str
    title: str
    kind: Literal["picture", "recording"]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    sample_shape: tuple[Count, ...]
    sample_dtype: Literal["uint8", "int16", "float32"]
    input_shape: tuple[Count, Count, Count]
    folders: tuple[str, ...] = ()
    forms: tuple[DataForm, ...] = ()
    refused: tuple[RefusedFile, ...] = ()
    published: tuple[PublishedFile, ...] = ()
    source: str
    licence: str
    citation: str
    remark: str = ""

    def form(self, name: str) -> DataForm | None:
        """Return the form of this name; None for a set that comes with a library."""
        return next((form for form in self.forms if form.name == name), None)


def card_names() -> tuple[str, ...]:
    """Names of the sets that have a card."""
    return bundled_documents(_SHELF)


def dataset_card(name: str) -> DatasetCard:
    """Return the card of a data set.

    Raises:
        RequestError: No set of this name.
    """
    known = card_names()
    if name not in known:
        raise RequestError(
            f"dataset {name!r} is not known; known: {', '.join(known)}", dataset=name
        )
    source = resources.files(_SHELF.package) / _SHELF.folder / f"{name}.toml"
    text = source.read_text(encoding="utf-8")
    return parse_document(DatasetCard, text, kind=_SHELF.kind, source=name)
