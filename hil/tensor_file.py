"""Safetensors files with one JSON document in the header. Knows shapes, not what they mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hil.errors import RecordError, RequestError

__all__ = ["check_tensors", "read_sealed", "read_tensors", "write_sealed", "write_tensors"]

ModelT = TypeVar("ModelT", bound=BaseModel)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, key: str, document: str) -> None:
    """Write `tensors` and, under `key`, a JSON document; the file appears whole or not at all.

    One key only: the order of several would not be reproducible.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    body = save(plain, metadata={key: document})
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(body)
        draft.replace(path)
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written ({error}); choose another place", path=str(path)
        ) from error


def read_tensors(path: Path, *, key: str, what: str) -> tuple[dict[str, Tensor], str]:
    """Read all tensors and the JSON document under `key`.

    Args:
        path: The file.
        key: Header key of the document.
        what: What the file should be, for the messages ("a checkpoint").

    Raises:
        RecordError: Missing, unreadable, not safetensors, or without the document.
    """
    if not path.is_file():
        raise RecordError(f"{path} does not exist; give the path of {what}", path=str(path))
    try:
        with safe_open(path, framework="pt") as file:
            document = (file.metadata() or {}).get(key)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RecordError(
            f"{path} is no readable safetensors file ({error}); write it again", path=str(path)
        ) from error
    if document is None:
        raise RecordError(
            f"{path} is a safetensors file but not {what}: its header has no {key!r}",
            path=str(path),
        )
    return tensors, document


def write_sealed(
    path: Path, tensors: Mapping[str, Tensor], *, key: str, document: BaseModel
) -> None:
    """Write `tensors` and a document under one digest, so that any change is noticed on reading."""
    body = document.model_dump_json()
    sealed = {"sha256": _seal(body, tensors), "document": body}
    write_tensors(path, tensors, key=key, document=json.dumps(sealed))


def read_sealed(
    path: Path, model: type[ModelT], *, key: str, what: str, next_step: str, most_bytes: int
) -> tuple[dict[str, Tensor], ModelT]:
    """Read what `write_sealed` has written.

    Args:
        path: The file.
        model: What its document is.
        key: Header key of the document.
        what: What the file should be, for the messages ("a chip state").
        next_step: What to do where the file cannot be used, for the messages.
        most_bytes: A larger file is not read.

    Raises:
        RecordError: Missing, too large, truncated, altered, or of another kind or version.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > most_bytes:
        raise RecordError(
            f"{path} has {size} bytes, {what} for this has at most {most_bytes}; {next_step}",
            path=str(path),
            value=size,
            wanted=most_bytes,
        )
    tensors, text = read_tensors(path, key=key, what=what)
    try:
        sealed = json.loads(text)
        digest, body = sealed["sha256"], sealed["document"]
        intact = digest == _seal(body, tensors)
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, body = False, ""
    if not intact:
        raise RecordError(
            f"{path} was altered after it was written (sha256 differs); {next_step}", path=str(path)
        )
    try:
        return tensors, model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise RecordError(
            f"{path}: {place} of {what} is refused: {first['msg']}; {next_step}", path=str(path)
        ) from error


def _seal(body: str, tensors: Mapping[str, Tensor]) -> str:
    """Digest of a document and of every tensor: name, type, shape, bytes."""
    digest = hashlib.sha256(body.encode())
    for name in sorted(tensors):
        plain = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, path: Path, next_step: str
) -> None:
    """Check names, shapes, types and that every number is finite.

    Raises:
        RequestError: The first difference, with what was found and what is wanted.
    """
    for name, want in wanted.items():
        shape = tuple(want.shape)
        if name not in found:
            raise RequestError(
                f"{path} lacks tensor {name!r}, wanted with shape {shape}; {next_step}",
                tensor=name,
                wanted=shape,
            )
        have = found[name]
        if tuple(have.shape) != shape or have.dtype != want.dtype:
            raise RequestError(
                f"{path}: tensor {name!r} is {have.dtype} {tuple(have.shape)}, wanted is "
                f"{want.dtype} {shape}; {next_step}",
                tensor=name,
                found=tuple(have.shape),
                wanted=shape,
            )
        if not bool(torch.isfinite(have).all()):
            bad = int((~torch.isfinite(have)).sum())
            raise RequestError(
                f"{path}: tensor {name!r} has {bad} of {have.numel()} values NaN or infinite; "
                f"{next_step}",
                tensor=name,
                not_finite=bad,
            )
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise RequestError(
            f"{path} has tensor {extra[0]!r} {tuple(found[extra[0]].shape)}, which the network "
            f"does not have; {next_step}",
            tensor=extra[0],
            extra=extra,
        )
