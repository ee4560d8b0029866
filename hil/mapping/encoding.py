"""Weights <-> signed conductance fractions. Knows arrays; does not know cores or places."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

__all__ = ["EncodedWeights", "Scaling", "check_weights", "encode_weights"]

Array = npt.NDArray[np.float64]


class Scaling(StrEnum):
    """What the largest conductance stands for."""

    PER_MATRIX = "per_matrix"
    """The largest |weight| of the matrix: one scale for all cols."""
    PER_COLUMN = "per_column"
    """The largest |weight| of each col: every col uses the whole conductance range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedWeights:
    """A weight matrix as fractions of the largest conductance: weight = fraction * scale[col].

    Attributes:
        fraction: Signed conductance over its maximum, (rows, cols), within ± 1.
        scale: Weight of a cell at full conductance, (cols,), above 0.
        levels: Levels per polarity that `fraction` was rounded to; None if it was not.
    """

    fraction: Array
    scale: Array
    levels: int | None

    @property
    def rows(self) -> int:
        """Input lines."""
        return int(self.fraction.shape[0])

    @property
    def cols(self) -> int:
        """Output lines."""
        return int(self.fraction.shape[1])

    def to_siemens(self, g_max_siemens: float) -> Array:
        """Return signed target conductances, S, (rows, cols)."""
        return self.fraction * g_max_siemens

    def decode(self) -> Array:
        """Return the weights that the fractions stand for, (rows, cols)."""
        return self.fraction * self.scale


def encode_weights(
    weights: npt.ArrayLike,
    *,
    scaling: Scaling | str = Scaling.PER_MATRIX,
    levels: int | None = None,
    name: str = "weights",
) -> EncodedWeights:
    """Encode weights as fractions of the largest conductance.

    A col of zeros (or a matrix of zeros) encodes to zeros; its scale is that of the matrix (or 1).

    Args:
        weights: (rows, cols), finite.
        scaling: What the largest conductance stands for.
        levels: Round to this many levels per polarity (127: signed 8-bit weights).
        name: What to call the matrix in an error.

    Raises:
        RequestError: Not a finite, non-empty, two-dimensional matrix, or an unknown scaling.
    """
    matrix = check_weights(weights, name=name)
    try:
        kind = Scaling(scaling)
    except ValueError as error:
        known = ", ".join(s.value for s in Scaling)
        raise RequestError(f"scaling {str(scaling)!r} is unknown; known: {known}") from error
    if levels is not None and levels < 1:
        raise RequestError(f"levels {levels} is below 1; give 127 for signed 8-bit weights")
    largest = float(np.max(np.abs(matrix)))
    whole = largest if largest > 0 else 1.0
    scale = np.full(matrix.shape[1], whole)
    if kind is Scaling.PER_COLUMN:
        per_col = np.max(np.abs(matrix), axis=0)
        # A col of nothing but subnormal weights would overflow the division: it counts as zeros.
        scale = np.where(per_col > np.finfo(np.float64).tiny, per_col, whole)
    fraction = np.clip(matrix / scale, -1.0, 1.0)
    if levels is not None:
        fraction = np.rint(fraction * levels) / levels
    return EncodedWeights(fraction=fraction, scale=scale, levels=levels)


def check_weights(weights: npt.ArrayLike, *, name: str = "weights") -> Array:
    """Return weights as float64 (rows, cols); refuse what cannot be a weight matrix."""
    given: npt.NDArray[Any] = np.asarray(weights)
    if given.dtype.kind not in "fiub":
        raise RequestError(
            f"{name}: dtype {given.dtype} is not real numbers; give a float (rows, cols) array"
        )
    if given.ndim != 2:
        raise RequestError(
            f"{name}: shape {given.shape} has {given.ndim} dimensions; give (rows, cols)"
        )
    if given.size == 0:
        raise RequestError(f"{name}: shape {given.shape} is empty; give at least one weight")
    matrix = given.astype(np.float64)
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, col = (int(i) for i in np.argwhere(bad)[0])
        raise RequestError(
            f"{name}: {int(bad.sum())} of {matrix.size} values are not finite, the first is "
            f"{matrix[row, col]} at row {row}, col {col}; give finite weights"
        )
    return matrix
