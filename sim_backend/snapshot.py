"""What verbs have changed of a simulated part, as plain numbers and tensors. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hil.errors import RecordError

__all__ = ["Scalar", "Snapshot"]

Scalar = int | float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """State of a part; parts of a part stand under its name and a slash.

    Attributes:
        values: Numbers by name.
        tensors: Tensors by name, on the CPU.
    """

    values: Mapping[str, Scalar] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def with_parts(self, **parts: Snapshot) -> Snapshot:
        """Return this with the snapshots of its parts."""
        values, tensors = dict(self.values), dict(self.tensors)
        for name, part in parts.items():
            values |= {f"{name}/{key}": value for key, value in part.values.items()}
            tensors |= {f"{name}/{key}": tensor for key, tensor in part.tensors.items()}
        return Snapshot(values=values, tensors={k: t.cpu() for k, t in tensors.items()})

    def part(self, name: str) -> Snapshot:
        """Return the snapshot of one part; empty if there is none."""
        start = f"{name}/"
        return Snapshot(
            values={
                k.removeprefix(start): v for k, v in self.values.items() if k.startswith(start)
            },
            tensors={
                k.removeprefix(start): t for k, t in self.tensors.items() if k.startswith(start)
            },
        )

    def tensor(self, name: str, like: Tensor) -> Tensor:
        """Return a tensor of the shape, type and place of `like`.

        Raises:
            RecordError: There is none, it is another one, or it is not finite.
        """
        found = self.tensors.get(name)
        if found is None or found.shape != like.shape or found.dtype != like.dtype:
            have = "none" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise RecordError(
                f"{name!r} of a chip state is {have}, this chip has {like.dtype} "
                f"{tuple(like.shape)}; preserve the chip again",
                name=name,
            )
        if not bool(torch.isfinite(found).all()):
            raise RecordError(f"{name!r} of a chip state is not finite; preserve the chip again")
        return found.to(like.device)

    def integer(self, name: str) -> int:
        """Return a whole number from 0 on; RecordError if it is none."""
        found = self.values.get(name)
        if not isinstance(found, int) or found < 0:
            raise self._refused(name, found, "a whole number from 0 on")
        return found

    def number(self, name: str) -> float:
        """Return a number; RecordError if it is none."""
        found = self.values.get(name)
        if not isinstance(found, int | float):
            raise self._refused(name, found, "a number")
        return float(found)

    def number_or_none(self, name: str) -> float | None:
        """Return a number or None; RecordError if it is neither."""
        return None if self.values.get(name, 0) is None else self.number(name)

    def _refused(self, name: str, found: object, wanted: str) -> RecordError:
        return RecordError(
            f"{name!r} of a chip state is {found!r}, wanted is {wanted}; preserve the chip again",
            name=name,
        )
