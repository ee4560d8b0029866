"""Data sets by name: samples and labels with a fixed split. Copies no data into the project.

`digits` comes with scikit-learn and needs no folder. The others are read from a folder that the
user names; a new one is a card, a loader and one line in each table here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.errors import RequestError
from hil.training.data.cifar10 import normalise
from hil.training.data.cifar10_files import load_cifar10
from hil.training.data.digits import load_digits
from hil.training.data.mnist import load_mnist, unit_range
from hil.training.data.speech_commands import load_speech_commands
from hil.training.data.split import Dataset, Limits, Prepare, as_stored
from hil.training.data.spoken_digits import load_spoken_digits
from hil.training.speech import speech_inputs

__all__ = ["dataset_names", "load_dataset", "preparation"]

Loader = Callable[[str, Path | None, Limits], Dataset]
"""Name, data folder and how many samples are wanted to the set; fewer samples cost less time."""


def _whole(load: Callable[[str, Path | None], Dataset]) -> Loader:
    """Make a loader of one that always reads everything."""
    return lambda name, data_dir, limits: load(name, data_dir).take(limits)


_LOADERS: dict[str, Loader] = {
    "cifar10": load_cifar10,
    "cifar10-small": load_cifar10,
    "digits": load_digits,
    "fashion-mnist": load_mnist,
    "mnist": load_mnist,
    "speech-commands": load_speech_commands,
    "spoken-digits": load_spoken_digits,
}

_PREPARATIONS: dict[str, Prepare] = {
    "cifar10": normalise,
    "cifar10-small": normalise,
    "digits": as_stored,
    "fashion-mnist": unit_range,
    "mnist": unit_range,
    "speech-commands": speech_inputs,
    "spoken-digits": speech_inputs,
}


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(sorted(_LOADERS))


def load_dataset(
    name: str,
    data_dir: Path | None = None,
    *,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> Dataset:
    """Load a data set, or the first samples of its parts.

    Args:
        name: One of `dataset_names()`.
        data_dir: Folder with the data, or with a folder of the set's name that has them. Not
            needed for `digits`.
        train_samples, test_samples: Only so many, from the first (all, if there are fewer); the
            others are not decoded. None: all.

    Raises:
        RequestError: Unknown name; folder not given, missing or without the data; bad files; a
            number of samples below 1.
    """
    _check_name(name)
    limits = Limits(train=train_samples, test=test_samples)
    if data_dir is not None and not data_dir.is_dir():
        raise RequestError(
            f"data folder {data_dir} does not exist; give the folder of dataset {name!r} with "
            "--data DIR, or no folder for an embedded one",
            data_dir=str(data_dir),
        )
    return _LOADERS[name](name, data_dir, limits)


def preparation(name: str) -> Prepare:
    """Return what makes network inputs from samples of this set, as its splits do; reads no data.

    Raises:
        RequestError: Unknown name.
    """
    _check_name(name)
    return _PREPARATIONS[name]


def _check_name(name: str) -> None:
    if name not in _LOADERS:
        raise RequestError(
            f"dataset {name!r} is not known; known: {', '.join(dataset_names())}",
            dataset=name,
        )
