"""MNIST and Fashion-MNIST: the four idx files to 8-bit pictures, (n, 1, 28, 28), and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hil.errors import RequestError
from hil.training.data.card import dataset_card
from hil.training.data.find import find_form
from hil.training.data.idx import idx_items, read_idx
from hil.training.data.split import Dataset, Limits, Split

__all__ = ["load_mnist", "unit_range"]

SIDE = 28
FULL_SCALE = 255.0


def load_mnist(name: str, data_dir: Path | None, limits: Limits) -> Dataset:
    """Load a set that is stored as MNIST is: `name` is that of its card.

    Raises:
        RequestError: Files missing or damaged, not as many images as labels, a label without class.
    """
    card = dataset_card(name)
    found = find_form(card, data_dir)
    train_images, train_labels, test_images, test_labels = found.files
    classes = len(card.class_names)
    return Dataset(
        name=name,
        class_names=card.class_names,
        train=_read_part(train_images, train_labels, classes, limits.train),
        test=_read_part(test_images, test_labels, classes, limits.test),
        form=found.form.name,
    )


def unit_range(pixels: Tensor) -> Tensor:
    """Turn 8-bit pixels into inputs 0...1: the black background is 0, as a border of zeros is."""
    return pixels.to(torch.float32) / FULL_SCALE


def _read_part(images_file: Path, labels_file: Path, classes: int, samples: int | None) -> Split:
    labels = read_idx(labels_file, ())
    images = idx_items(images_file, (SIDE, SIDE))
    if images != len(labels):
        raise RequestError(
            f"{images_file} holds {images} images but {labels_file.name} holds {len(labels)} "
            "labels; fetch both again"
        )
    if labels.max() >= classes:
        raise RequestError(f"{labels_file} holds label {labels.max()}, outside 0...{classes - 1}")
    pixels = read_idx(images_file, (SIDE, SIDE), samples)[:, None]
    return Split(
        samples=torch.from_numpy(pixels.copy()),  # the file's bytes cannot be written to
        labels=torch.from_numpy(labels[: len(pixels)].astype(np.int64)),
        prepare=unit_range,
    )
