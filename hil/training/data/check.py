"""Compares a data set that was read with its card: shapes, counts, classes, inputs."""

from __future__ import annotations

import torch

from hil.errors import RequestError
from hil.training.data.card import DatasetCard
from hil.training.data.split import Dataset, Split

__all__ = ["check_dataset"]

PREPARED_SAMPLES = 256
"""Samples of each part whose inputs are looked at."""


def check_dataset(dataset: Dataset, card: DatasetCard) -> None:
    """Refuse a set that is not what its card says.

    Raises:
        RequestError: Other classes, shape, dtype or number of samples; a class without samples;
            inputs of another shape, or not finite.
    """
    form = card.form(dataset.form)
    if dataset.class_names != card.class_names:
        raise RequestError(f"dataset {card.name!r} has classes {dataset.class_names}, not its own")
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        what = f"the {part} part of {card.name!r}"
        if form is not None and len(split) != getattr(form, part):
            raise RequestError(
                f"{what} has {len(split)} samples; its form {form.name!r} has "
                f"{getattr(form, part)}: get the files again"
            )
        _check_samples(split, card, what)
        _check_inputs(split, card, what)


def _check_samples(split: Split, card: DatasetCard, what: str) -> None:
    shape, dtype = tuple(split.samples.shape[1:]), str(split.samples.dtype).removeprefix("torch.")
    if shape != card.sample_shape or dtype != card.sample_dtype:
        raise RequestError(
            f"{what} has samples {dtype} {shape}; {card.sample_dtype} {card.sample_shape} is needed"
        )
    counts = torch.bincount(split.labels, minlength=len(card.class_names)).tolist()
    empty = [name for name, count in zip(card.class_names, counts, strict=True) if count == 0]
    if empty:
        raise RequestError(f"{what} has no sample of {', '.join(empty)}: get the files again")


def _check_inputs(split: Split, card: DatasetCard, what: str) -> None:
    inputs = split.batch(slice(0, PREPARED_SAMPLES))
    if tuple(inputs.shape[1:]) != card.input_shape or not bool(torch.isfinite(inputs).all()):
        raise RequestError(
            f"{what} gives inputs {tuple(inputs.shape[1:])}, of which "
            f"{int((~torch.isfinite(inputs)).sum())} values are not finite; {card.input_shape} "
            "and finite is needed"
        )
