"""TOML documents that people write: bundled or their own, with overrides, checked by a model.

Knows no particular document: a recipe and a training plan are both read here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hil.errors import RequestError

__all__ = ["Shelf", "bundled_documents", "load_document", "parse_document"]

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where the documents of one kind come with the package.

    Attributes:
        kind: What one is called in messages.
        package, folder: Importable package and folder below it that hold NAME.toml files.
    """

    kind: str
    package: str
    folder: str


def bundled_documents(shelf: Shelf) -> tuple[str, ...]:
    """Names of the documents that come with the package."""
    folder = resources.files(shelf.package) / shelf.folder
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    )


def load_document(
    model: type[Document], shelf: Shelf, name_or_path: str, overrides: tuple[str, ...] = ()
) -> Document:
    """Read a document by bundled name or by path and apply "key=value" overrides.

    Raises:
        RequestError: No such document, not TOML, an unknown key, a value out of range.
    """
    path = Path(name_or_path)
    kind, known = shelf.kind, bundled_documents(shelf)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"{kind} {name_or_path!r} cannot be read ({error}); bundled {kind}s: "
                f"{', '.join(known)}"
            ) from error
    elif name_or_path in known:
        source = resources.files(shelf.package) / shelf.folder / f"{name_or_path}.toml"
        text = source.read_text(encoding="utf-8")
    else:
        raise RequestError(
            f"{kind} {name_or_path!r} is neither a file nor bundled; bundled {kind}s: "
            f"{', '.join(known)}"
        )
    return parse_document(model, text, kind=kind, source=name_or_path, overrides=overrides)


def parse_document(
    model: type[Document],
    text: str,
    *,
    kind: str,
    source: str,
    overrides: tuple[str, ...] = (),
) -> Document:
    """Check a document's text; `source` names it in errors. Raises as `load_document`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{kind} {source!r} is not valid TOML: {error}") from error
    for override in overrides:
        _override(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestError(f"{kind} {source!r}: {_sentence(model, kind, error)}") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RequestError(f"--set {override!r} is not key=value; for example --set seed=1")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is text, as on any command line
    *parents, last = key.split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise RequestError(f"--set {override!r}: {name!r} is a value, not a table")
    table[last] = value


def _sentence(document: type[BaseModel], kind: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(document, place[:-1]))
        return f"unknown key {key!r}; known: {known}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; add it, or give --set {key}=VALUE"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}; correct the {kind} or use --set"
    settable = ".".join(part for part in place if not part.isdigit())
    message = message[0].lower() + message[1:]
    return f"{key} = {first['input']!r}: {message}; correct it, or give --set {settable}=VALUE"


def _known_keys(document: type[BaseModel], place: list[str]) -> list[str]:
    model = document
    for name in place:
        annotation = model.model_fields[name].annotation
        candidates = [annotation, *get_args(annotation)]
        found = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if found is None:
            return []
        model = found
    return list(model.model_fields)
