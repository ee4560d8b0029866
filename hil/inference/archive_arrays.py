"""Arrays of an archive by name, checked as they are taken; calibration records among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue, ValidationError
from torch import Tensor

from hil.calibration import CalibrationRecord
from hil.errors import RecordError

__all__ = ["Arrays", "pack_records", "unpack_record"]

NEXT_STEP = "run the recipe again"
_VALUES_APART: Any = {
    "parameters": {"__all__": {"values"}},
    "success": {"values"},
    "residual": {"values"},
}


class Arrays:
    """The tensors of an archive.

    Args:
        path: The file, for messages.
        tensors: Its tensors by name.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._tensors = tensors

    def part(self, start: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin so, without that beginning."""
        return {
            name.removeprefix(start): tensor
            for name, tensor in self._tensors.items()
            if name.startswith(start)
        }

    def take(self, name: str, kinds: str, shape: Sequence[int]) -> npt.NDArray[Any]:
        """Return an array.

        Args:
            name: Its name.
            kinds: Kinds of its type: "f", "i" or "b".
            shape: Its shape.

        Raises:
            RecordError: It is missing, of another type or shape, or not finite.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise self.refused(f"array {name!r} is missing")
        array: npt.NDArray[Any] = tensor.numpy()
        if array.dtype.kind not in kinds or array.shape != tuple(shape):
            raise self.refused(
                f"array {name!r} is {array.dtype} {array.shape}, wanted is {kinds} {tuple(shape)}"
            )
        if not np.isfinite(array).all():
            raise self.refused(f"array {name!r} holds NaN or infinity")
        return array

    def refused(self, why: str) -> RecordError:
        """Return the error for an archive that cannot be used."""
        return RecordError(f"{self.path}: {why}; {NEXT_STEP}", path=str(self.path))


def pack_records(
    records: Sequence[CalibrationRecord],
) -> tuple[tuple[dict[str, JsonValue], ...], dict[str, Tensor]]:
    """Return records as documents without values, and their values by name."""
    documents, tensors = [], {}
    for index, record in enumerate(records):
        documents.append(record.model_dump(mode="json", exclude=_VALUES_APART))
        named = {f"parameters.{name}": p for name, p in record.parameters.items()}
        for name, parameter in {
            **named,
            "success": record.success,
            "residual": record.residual,
        }.items():
            tensors[f"records.{index}.{name}"] = torch.from_numpy(_narrow(parameter.array()))
    return tuple(documents), tensors


def unpack_record(
    arrays: Arrays, index: int, document: Mapping[str, JsonValue]
) -> CalibrationRecord:
    """Put a record together again.

    Raises:
        RecordError: It is none of this version, or an array is missing or another.
    """
    try:
        whole: dict[str, Any] = dict(document)
        whole["parameters"] = {
            name: _with_values(arrays, f"records.{index}.parameters.{name}", parameter)
            for name, parameter in whole["parameters"].items()
        }
        for name in ("success", "residual"):
            whole[name] = _with_values(arrays, f"records.{index}.{name}", whole[name])
        return CalibrationRecord.model_validate(whole)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise arrays.refused(
            f"calibration record {index} makes no sense ({type(error).__name__})"
        ) from error


def _with_values(arrays: Arrays, name: str, parameter: dict[str, Any]) -> dict[str, Any]:
    kinds = {"bool": "b", "int64": "i", "float64": "f"}[parameter["dtype"]]
    values = arrays.take(name, kinds, parameter["shape"])
    return {**parameter, "values": values.ravel().tolist()}


def _narrow(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Store whole numbers in the smallest type that holds them: codes are 8 bits, seldom more."""
    if array.dtype.kind != "i" or array.size == 0:
        return array
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(kind)
    return array
