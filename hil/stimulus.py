"""Random input batches for programming, calibration and tests, as input codes. Knows no core."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.units import CodeScale

__all__ = ["InputKind", "random_inputs"]


class InputKind(StrEnum):
    """Distribution of synthetic inputs."""

    HADAMARD = "hadamard"
    """Full-scale ±1: Hadamard columns with random row signs; orthogonal over a whole block."""
    GAUSSIAN = "gaussian"
    """Zero mean, full scale at 2.5 sigma, clipped."""
    UNIFORM = "uniform"
    """Uniform over the signed range."""
    UNIFORM_SPARSE = "uniform_sparse"
    """Uniform over the signed range, half of the entries zero (the standard crossbar test)."""
    RELU = "relu"
    """Post-ReLU-like: the positive half of a Gaussian, the rest zero."""


def random_inputs(
    kind: InputKind, batch: int, rows: int, scale: CodeScale, rng: np.random.Generator
) -> npt.NDArray[np.signedinteger]:
    """Draw input codes, (batch, rows), dtype of `scale`.

    Hadamard inputs come in blocks of the next power of two >= rows; within a whole block the
    inputs of any two rows are orthogonal, so a correlation has no cross-talk.
    """
    if batch < 1 or rows < 1:
        raise RequestError(f"a batch of {batch} vectors of {rows} rows is empty")
    full = scale.max_code
    match kind:
        case InputKind.HADAMARD:
            values = full * _hadamard(batch, rows, rng)
        case InputKind.GAUSSIAN:
            values = full / 2.5 * rng.standard_normal((batch, rows))
        case InputKind.UNIFORM:
            values = full * rng.uniform(-1.0, 1.0, (batch, rows))
        case InputKind.UNIFORM_SPARSE:
            values = (
                full * rng.uniform(-1.0, 1.0, (batch, rows)) * (rng.random((batch, rows)) < 0.5)
            )
        case _:
            values = full / 2.5 * np.maximum(rng.standard_normal((batch, rows)), 0.0)
    return np.clip(np.rint(values), -full, full).astype(scale.dtype)


def _hadamard(batch: int, rows: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    from scipy.linalg import hadamard  # noqa: PLC0415 - keeps `import hil` light

    size = 1 << (rows - 1).bit_length() if rows > 1 else 1
    matrix = hadamard(size, dtype=np.int8).astype(np.float64)
    blocks = []
    for _ in range(-(-batch // size)):
        cols = rng.permutation(size)[:rows]
        signs = rng.choice((-1.0, 1.0), rows)
        blocks.append(matrix[rng.permutation(size)][:, cols] * signs)
    return np.concatenate(blocks)[:batch]
