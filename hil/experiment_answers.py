"""Every answer of a run: the class given to each test sample, at each point. One npz file.

Whatever is said of accuracies can be computed again from it: intervals, paired differences,
confusion at any age.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import RecordError
from hil.run_folder import write_atomically

__all__ = ["ANSWERS_FILE", "Answers", "PointKey", "load_answers", "save_answers"]

ANSWERS_FILE = "answers.npz"

Classes = npt.NDArray[np.int16]
PointKey = tuple[str, float, str]
"""Method, age (s), compensation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers of one run.

    Attributes:
        keys: Points, in the order of the results.
        chip: Classes on the chip, (points, samples).
        software: Classes of the float network, (samples,).
        quantised: Classes with exact integer products, (samples,).
        labels: True classes, (samples,).
    """

    keys: tuple[PointKey, ...]
    chip: Classes
    software: Classes
    quantised: Classes
    labels: Classes

    def right(self, key: PointKey) -> npt.NDArray[np.bool_]:
        """Whether each sample was classified correctly at a point, (samples,)."""
        return np.asarray(self.chip[self.keys.index(key)] == self.labels)

    @property
    def software_right(self) -> npt.NDArray[np.bool_]:
        """Whether software classified each sample correctly, (samples,)."""
        return np.asarray(self.software == self.labels)

    def confusion(self, key: PointKey, classes: int) -> npt.NDArray[np.int64]:
        """Count (true class, answer) at a point, (classes, classes)."""
        table = np.zeros((classes, classes), np.int64)
        np.add.at(table, (self.labels, self.chip[self.keys.index(key)]), 1)
        return table


def save_answers(folder: Path, answers: Answers) -> Path:
    """Write `answers.npz` into a run folder; return its path."""
    buffer = io.BytesIO()
    methods, ages_s, compensations = zip(*answers.keys, strict=True)
    arrays: dict[str, Any] = {
        "method": np.array(methods),
        "age_s": np.array(ages_s, np.float64),
        "compensation": np.array(compensations),
        "chip": answers.chip,
        "software": answers.software,
        "quantised": answers.quantised,
        "labels": answers.labels,
    }
    np.savez_compressed(buffer, **arrays)
    path = folder / ANSWERS_FILE
    write_atomically(path, buffer.getvalue())
    return path


def load_answers(folder: Path) -> Answers:
    """Read the answers of a run folder.

    Raises:
        RecordError: There are none, or they are damaged.
    """
    path = folder / ANSWERS_FILE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            keys = zip(
                data["method"].tolist(),
                data["age_s"].tolist(),
                data["compensation"].tolist(),
                strict=True,
            )
            answers = Answers(
                keys=tuple(keys),
                chip=data["chip"],
                software=data["software"],
                quantised=data["quantised"],
                labels=data["labels"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} holds no answers of a run: {error}; run it again") from error
    samples = answers.labels.shape
    if (
        answers.chip.shape != (len(answers.keys), *samples)
        or answers.software.shape != samples
        or answers.quantised.shape != samples
    ):
        raise RecordError(f"{path}: its arrays do not belong together; run it again")
    return answers
