"""Weight matrices to compare programming methods on. Knows no chip.

Every matrix is scaled so that its largest magnitude is 1: that weight takes the largest
conductance.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

__all__ = ["LAYER_CHECKPOINT", "MatrixKind", "make_matrix"]

Array = npt.NDArray[np.float64]

CLIP_SIGMA = 2.5
"""Gaussian weights are clipped here, as trained ones are (Joshi et al. 2020: 2.0 to 2.5)."""
ZERO_SHARE = 0.8
TAIL_FREEDOM = 3.0
TAIL_CLIP = 8.0
"""Student's t with 3 degrees of freedom is clipped here, 4.6 of its standard deviations."""
LAYER_CHECKPOINT = "resnet9-digits"


class MatrixKind(StrEnum):
    """Distribution of the weights."""

    GAUSSIAN = "gaussian"
    UNIFORM = "uniform"
    SPARSE = "sparse"
    """Four of five weights are zero, the others Gaussian."""
    HEAVY_TAILED = "heavy_tailed"
    """Student's t with 3 degrees of freedom: most weights are small."""
    REAL_LAYER = "real_layer"
    """The widest convolutions of the bundled network, batch-norm folded in."""


def make_matrix(kind: MatrixKind, rows: int, cols: int, rng: np.random.Generator) -> Array:
    """Make a (rows, cols) matrix with largest magnitude 1; the real layer draws nothing."""
    shape = (rows, cols)
    match kind:
        case MatrixKind.GAUSSIAN:
            values = _gaussian(shape, rng)
        case MatrixKind.UNIFORM:
            values = rng.uniform(-1.0, 1.0, shape)
        case MatrixKind.SPARSE:
            values = _gaussian(shape, rng) * (rng.random(shape) >= ZERO_SHARE)
        case MatrixKind.HEAVY_TAILED:
            values = np.clip(rng.standard_t(TAIL_FREEDOM, shape), -TAIL_CLIP, TAIL_CLIP)
        case _:
            values = _tiled(_layers(), rows, cols)
    most = float(np.abs(values).max())
    return values / most if most > 0 else values


def _gaussian(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    return np.clip(rng.standard_normal(shape), -CLIP_SIGMA, CLIP_SIGMA)


def _layers() -> list[Array]:
    """Return the network's convolutions with the most cols, largest first, each with maximum 1."""
    from torch import nn  # noqa: PLC0415 - torch for this matrix only

    from hil.inference.folding import fold_of  # noqa: PLC0415
    from hil.inference.geometry import weight_matrix  # noqa: PLC0415
    from hil.inference.tracing import trace  # noqa: PLC0415
    from hil.training import load_checkpoint  # noqa: PLC0415

    graph = trace(load_checkpoint(LAYER_CHECKPOINT)[0])
    found = []
    for name, layer in graph.named_modules():
        if isinstance(layer, nn.Conv2d):
            fold = fold_of(graph, name, output_ndim=4)
            weights = weight_matrix(layer) * (1.0 if fold is None else fold.scale)
            found.append(weights / np.abs(weights).max())
    widest = max(w.shape[1] for w in found)
    return sorted((w for w in found if w.shape[1] == widest), key=lambda w: -w.shape[0])


def _tiled(layers: list[Array], rows: int, cols: int) -> Array:
    """Fill a block from layers of one width, put end to end: cols by cols, each goes on below.

    Where the layers are used up they begin again, so that a block may be of any size.
    """
    strip = np.concatenate(layers)
    groups = -(-cols // strip.shape[1])
    taken = np.arange(groups * rows) % strip.shape[0]
    blocks = strip[taken].reshape(groups, rows, strip.shape[1])
    return np.ascontiguousarray(np.concatenate(list(blocks), axis=1)[:, :cols])
