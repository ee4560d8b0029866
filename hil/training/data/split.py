"""What a data set is: samples as they are stored, and how they become inputs of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int64
from torch import Tensor

from hil.errors import RequestError

__all__ = ["Dataset", "Limits", "Prepare", "Split", "as_stored"]

Prepare = Callable[[Tensor], Tensor]
"""Samples (n, ...) as stored to network inputs (n, channels, height, width), float32."""


def as_stored(samples: Tensor) -> Tensor:
    """Return samples that are network inputs already."""
    return samples


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One part of a data set; samples are prepared when they are asked for, not before.

    Attributes:
        samples: (n, ...), as stored: inputs, 8-bit pixels or recordings.
        labels: (n,), int64, 0 .. classes-1.
        prepare: Makes network inputs from samples; the same for every sample, without chance.
    """

    samples: Tensor
    labels: Int64[Tensor, " n"]
    prepare: Prepare = as_stored

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    @property
    def images(self) -> Float[Tensor, "n channels height width"]:
        """All inputs, prepared anew at each call; `take` some first where there are many."""
        return self.prepare(self.samples)

    def batch(self, chosen: Tensor | slice) -> Float[Tensor, "n channels height width"]:
        """Prepare the inputs of some samples."""
        return self.prepare(self.samples[chosen])

    def take(self, samples: int) -> Split:
        """Keep the first `samples` of them (all, if there are fewer)."""
        if samples < 1:
            raise RequestError(f"samples {samples} is below 1")
        return replace(self, samples=self.samples[:samples], labels=self.labels[:samples])

    @property
    def sha256(self) -> str:
        """Digest of samples and labels: the same digest is the same split."""
        digest = hashlib.sha256()
        digest.update(self.samples.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many samples of each part are wanted, from the first; None: all of them."""

    train: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            wanted = getattr(self, part)
            if wanted is not None and wanted < 1:
                raise RequestError(f"{part}_samples {wanted} is below 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A named data set with its fixed split into training and test part.

    Attributes:
        name: Name in the registry.
        class_names: One a label.
        train, test: The parts.
        form: Form of the files it was read from, by its name in the set's card.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    form: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one input: channels, height, width."""
        channels, height, width = self.test.batch(slice(0, 1)).shape[1:]
        return channels, height, width

    def take(self, limits: Limits) -> Dataset:
        """Keep the first samples of each part (all, if there are fewer)."""
        train = self.train if limits.train is None else self.train.take(limits.train)
        test = self.test if limits.test is None else self.test.take(limits.test)
        return replace(self, train=train, test=test)
