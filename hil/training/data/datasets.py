"""Data sets by name: images and labels with a fixed split. Copies no data into the project.

`digits` comes with scikit-learn and needs no folder. The others are read from a folder that the
user names; a new one is one loader function and one line in `_LOADERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hil.errors import RequestError
from hil.training.data import cifar10
from hil.training.data.idx import read_idx_gz
from hil.training.data.split import Dataset, Split

__all__ = ["DIGITS_SPLIT_SEED", "dataset_names", "load_dataset"]

DIGITS_SPLIT_SEED = 20_200_518
"""Seed of the fixed 1437/360 split of the digits; part of the data set's definition."""
DIGITS_TEST_SAMPLES = 360
DIGITS_FULL_SCALE = 16.0
"""Highest grey level of scikit-learn's digits (4 x 4 blocks of binary pixels, counted)."""
BYTE_FULL_SCALE = 255.0


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


def _cifar10(name: str, data_dir: Path | None) -> Dataset:
    (file,) = _find_files(name, data_dir, ("cifar10_dct.npz",))
    parts = []
    with np.load(file) as arrays:
        for part in ("train", "test"):
            pixels = cifar10.decode_blocks(
                arrays[f"{part}_y"], arrays[f"{part}_c"], arrays["qt_y"], arrays["qt_c"]
            )
            parts.append(
                Split(
                    samples=torch.from_numpy(pixels),
                    labels=torch.from_numpy(arrays[f"{part}_label"].astype(np.int64)),
                    prepare=cifar10.normalise,
                )
            )
    return Dataset(name=name, class_names=cifar10.CLASSES, train=parts[0], test=parts[1])


_LOADERS: dict[str, Callable[[str, Path | None], Dataset]] = {
    "cifar10": _cifar10,
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _mnist,
}


def _split(images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], full: float) -> Split:
    return Split(
        samples=torch.from_numpy(images.astype(np.float32) / np.float32(full)),
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
