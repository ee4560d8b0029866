"""The digits of scikit-learn, 8 x 8 grey levels, with a fixed split. Needs no folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hil.training.data.card import dataset_card
from hil.training.data.split import Dataset, Limits, Split

__all__ = ["DIGITS_SPLIT_SEED", "load_digits"]

DIGITS_SPLIT_SEED = 20_200_518
"""Seed of the fixed 1437/360 split of the digits; part of the data set's definition."""
DIGITS_TEST_SAMPLES = 360
DIGITS_FULL_SCALE = 16.0
"""Highest grey level of scikit-learn's digits (4 x 4 blocks of binary pixels, counted)."""


def load_digits(name: str, data_dir: Path | None, limits: Limits) -> Dataset:
    """Load the digits; each class has its share in both parts."""
    del data_dir  # embedded in scikit-learn
    from sklearn import datasets  # noqa: PLC0415 - a second of import, for digits only

    pixels, labels = datasets.load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8)
    is_test = _stratified_choice(labels, DIGITS_TEST_SAMPLES, DIGITS_SPLIT_SEED)
    whole = Dataset(
        name=name,
        class_names=dataset_card(name).class_names,
        train=_split(images[~is_test], labels[~is_test]),
        test=_split(images[is_test], labels[is_test]),
        form="embedded",
    )
    return whole.take(limits)


def _split(images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> Split:
    return Split(
        samples=torch.from_numpy(images.astype(np.float32) / np.float32(DIGITS_FULL_SCALE)),
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
