"""Data sets by name: images and labels with a fixed split. Copies no data into the project.

`digits` comes with scikit-learn and needs no folder. The others are read from a folder that the
user names; a new one is one loader function and one line in `_LOADERS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hil.errors import RequestError
from hil.training.idx import read_idx_gz

__all__ = ["DIGITS_SPLIT_SEED", "Dataset", "Split", "dataset_names", "load_dataset"]

DIGITS_SPLIT_SEED = 20_200_518
"""Seed of the fixed 1437/360 split of the digits; part of the data set's definition."""
DIGITS_TEST_SAMPLES = 360
DIGITS_FULL_SCALE = 16.0
"""Highest grey level of scikit-learn's digits (4 x 4 blocks of binary pixels, counted)."""
BYTE_FULL_SCALE = 255.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
        images: (n, channels, height, width), float32; full scale is 1 and background is 0, so
            that background drives no row of an array and equals the padding of a convolution.
        labels: (n,), int64, 0 .. classes-1.
    """

    images: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def take(self, samples: int) -> Split:
        """Keep the first `samples` of them (all, if there are fewer)."""
        if samples < 1:
            raise RequestError(f"samples {samples} is below 1")
        return Split(images=self.images[:samples], labels=self.labels[:samples])

    @property
    def sha256(self) -> str:
        """Digest of images and labels: the same digest is the same split."""
        digest = hashlib.sha256()
        digest.update(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A named data set with its fixed split into training and test part."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(sorted(_LOADERS))


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: One of `dataset_names()`.
        data_dir: Folder with the data, or with a folder of the set's name that has them. Not
            needed for `digits`.

    Raises:
        RequestError: Unknown name; folder not given, missing or without the data; bad files.
    """
    if name not in _LOADERS:
        raise RequestError(
            f"dataset {name!r} is not known; known: {', '.join(dataset_names())}",
            dataset=name,
        )
    if data_dir is not None and not data_dir.is_dir():
        raise RequestError(
            f"data folder {data_dir} does not exist; give the folder of dataset {name!r} with "
            "--data DIR, or no folder for an embedded one",
            data_dir=str(data_dir),
        )
    return _LOADERS[name](name, data_dir)


def _digits(name: str, data_dir: Path | None) -> Dataset:
    del data_dir  # embedded in scikit-learn
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second of import, for digits only

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8)
    is_test = _stratified_choice(labels, DIGITS_TEST_SAMPLES, DIGITS_SPLIT_SEED)
    return Dataset(
        name=name,
        class_names=tuple("0123456789"),
        train=_split(images[~is_test], labels[~is_test], DIGITS_FULL_SCALE),
        test=_split(images[is_test], labels[is_test], DIGITS_FULL_SCALE),
    )


def _mnist(name: str, data_dir: Path | None) -> Dataset:
    files = _find_files(
        name,
        data_dir,
        (
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ),
    )
    class_names = _MNIST_CLASSES[name]
    parts = []
    for images_file, labels_file in (files[:2], files[2:]):
        images = read_idx_gz(images_file, (28, 28))
        labels = read_idx_gz(labels_file, ())
        if len(images) != len(labels):
            raise RequestError(
                f"{images_file} holds {len(images)} images but {labels_file.name} holds "
                f"{len(labels)} labels; fetch both again"
            )
        if labels.max() >= len(class_names):
            raise RequestError(
                f"{labels_file} holds label {labels.max()}, outside 0...{len(class_names) - 1}"
            )
        parts.append(_split(images[:, None], labels, BYTE_FULL_SCALE))
    return Dataset(name=name, class_names=class_names, train=parts[0], test=parts[1])


_MNIST_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
}

_LOADERS: dict[str, Callable[[str, Path | None], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _mnist,
}


def _split(images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], full: float) -> Split:
    return Split(
        images=torch.from_numpy(images.astype(np.float32) / np.float32(full)),
        labels=torch.from_numpy(labels.astype(np.int64)),
    )


def _stratified_choice(
    labels: npt.NDArray[np.integer], samples: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Choose `samples` of the entries, each class by its share (largest remainders): mask (n,)."""
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (samples / len(labels))
    quota = np.floor(shares).astype(np.int64)
    quota[np.argsort(quota - shares, kind="stable")[: samples - quota.sum()]] += 1
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label, count in zip(classes, quota, strict=True):
        chosen[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return chosen


def _find_files(name: str, data_dir: Path | None, files: tuple[str, ...]) -> list[Path]:
    if data_dir is None:
        raise RequestError(
            f"dataset {name!r} is read from a folder; give it with --data DIR", dataset=name
        )
    for folder in (data_dir / name, data_dir):
        if all((folder / file).is_file() for file in files):
            return [folder / file for file in files]
    missing = [file for file in files if not (data_dir / file).is_file()]
    raise RequestError(
        f"data folder {data_dir} does not hold dataset {name!r}: {', '.join(missing)} missing "
        f"there and in {name}/; give its folder with --data DIR",
        dataset=name,
        data_dir=str(data_dir),
    )
