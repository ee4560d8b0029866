"""Layer geometry: activations -> input vectors of the array -> activations. Moves numbers only.

The order of rows is that of torch's weights: channel, then kernel row, then kernel col.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

__all__ = [
    "ConvGeometry",
    "Geometry",
    "LinearGeometry",
    "RepeatedRows",
    "geometry_of",
    "repeated_rows",
    "weight_matrix",
]


class Geometry(ABC):
    """How a layer's input becomes vectors and its outputs become a tensor again.

    Attributes:
        rows, cols: Size of the layer's matrix.
        item_ndim: Dimensions of one unbatched input.
        copies: Rows that each input drives; the products are summed as often.
    """

    rows: int
    cols: int
    item_ndim: int
    copies: int = 1

    @abstractmethod
    def pad(self, x: Tensor) -> Tensor:
        """Pad activations (batch, ...) as the layer does."""

    @abstractmethod
    def vectors(self, padded: Tensor) -> Tensor:
        """Return input vectors (positions, rows) of padded activations; any dtype."""

    @abstractmethod
    def restore(self, y: Tensor, padded_shape: torch.Size) -> Tensor:
        """Return outputs (positions, cols) as the tensor that the layer would give, as a view."""

    @abstractmethod
    def output_shape(self, padded_shape: torch.Size) -> tuple[int, ...]:
        """Shape of what the layer gives."""

    @abstractmethod
    def positions(self, padded_shape: torch.Size) -> int:
        """Vectors per item of the batch."""


@dataclass(frozen=True, kw_only=True)
class LinearGeometry(Geometry):
    """A dense layer on the last dimension; every other dimension is a batch."""

    rows: int
    cols: int
    item_ndim: int = 1

    @override
    def pad(self, x: Tensor) -> Tensor:
        return x

    @override
    def vectors(self, padded: Tensor) -> Tensor:
        return padded.reshape(-1, self.rows)

    @override
    def restore(self, y: Tensor, padded_shape: torch.Size) -> Tensor:
        return y.reshape(self.output_shape(padded_shape))

    @override
    def output_shape(self, padded_shape: torch.Size) -> tuple[int, ...]:
        return (*padded_shape[:-1], self.cols)

    @override
    def positions(self, padded_shape: torch.Size) -> int:
        return math.prod(padded_shape[1:-1])


@dataclass(frozen=True, kw_only=True)
class ConvGeometry(Geometry):
    """A convolution over one or two dimensions, by im2col.

    Attributes:
        kernel, stride, dilation: Per dimension.
        padding: As `torch.nn.functional.pad` wants it: last dimension first, before and after.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
    """

    rows: int
    cols: int
    item_ndim: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    padding_mode: str

    @override
    def pad(self, x: Tensor) -> Tensor:
        if not any(self.padding):
            return x
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return functional.pad(x, self.padding, mode=mode)

    @override
    def vectors(self, padded: Tensor) -> Tensor:
        if padded.dtype is torch.bfloat16:  # numpy has no such type; only places are moved
            return self.vectors(padded.view(torch.int16)).view(torch.bfloat16)
        out = self._out_size(padded.shape)
        batch, channels = padded.shape[:2]
        # One strided copy per kernel offset, channels innermost on both sides: several times
        # faster than one gather that follows the order of rows.
        source = np.ascontiguousarray(np.moveaxis(padded.numpy(), 1, -1))
        taken = np.empty((batch, *out, channels, *self.kernel), source.dtype)
        for offset in itertools.product(*(range(k) for k in self.kernel)):
            starts = [k * d for k, d in zip(offset, self.dilation, strict=True)]
            window = tuple(
                slice(start, start + (n - 1) * s + 1, s)
                for start, n, s in zip(starts, out, self.stride, strict=True)
            )
            place: Any = (..., *offset)
            taken[place] = source[(slice(None), *window)]
        return torch.from_numpy(taken.reshape(-1, self.rows))

    @override
    def restore(self, y: Tensor, padded_shape: torch.Size) -> Tensor:
        out = self._out_size(padded_shape)
        return y.reshape(padded_shape[0], *out, self.cols).movedim(-1, 1)

    @override
    def output_shape(self, padded_shape: torch.Size) -> tuple[int, ...]:
        return (padded_shape[0], self.cols, *self._out_size(padded_shape))

    @override
    def positions(self, padded_shape: torch.Size) -> int:
        return math.prod(self._out_size(padded_shape))

    def _out_size(self, padded_shape: torch.Size) -> tuple[int, ...]:
        return tuple(
            (size - d * (k - 1) - 1) // s + 1
            for size, k, s, d in zip(
                padded_shape[2:], self.kernel, self.stride, self.dilation, strict=True
            )
        )


@dataclass(frozen=True, kw_only=True)
class RepeatedRows(Geometry):
    """Another geometry with every input on several rows, one whole copy of the rows after another.

    Attributes:
        inner: The geometry with every row once.
    """

    rows: int
    cols: int
    item_ndim: int
    copies: int
    inner: Geometry

    @override
    def pad(self, x: Tensor) -> Tensor:
        return self.inner.pad(x)

    @override
    def vectors(self, padded: Tensor) -> Tensor:
        return self.inner.vectors(padded).repeat(1, self.copies)

    @override
    def restore(self, y: Tensor, padded_shape: torch.Size) -> Tensor:
        return self.inner.restore(y, padded_shape)

    @override
    def output_shape(self, padded_shape: torch.Size) -> tuple[int, ...]:
        return self.inner.output_shape(padded_shape)

    @override
    def positions(self, padded_shape: torch.Size) -> int:
        return self.inner.positions(padded_shape)


def repeated_rows(geometry: Geometry, fill_rows: int) -> Geometry:
    """Return the geometry with as many copies of its rows as `fill_rows` holds, at least one."""
    copies = fill_rows // geometry.rows
    if copies <= 1:
        return geometry
    return RepeatedRows(
        rows=copies * geometry.rows,
        cols=geometry.cols,
        item_ndim=geometry.item_ndim,
        copies=copies,
        inner=geometry,
    )


def geometry_of(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> Geometry:
    """Return the geometry of a layer."""
    if isinstance(layer, nn.Linear):
        return LinearGeometry(rows=layer.in_features, cols=layer.out_features)
    kernel = tuple(int(k) for k in layer.kernel_size)
    dilation = tuple(int(d) for d in layer.dilation)
    return ConvGeometry(
        rows=layer.in_channels * math.prod(kernel),
        cols=layer.out_channels,
        item_ndim=1 + len(kernel),
        kernel=kernel,
        stride=tuple(int(s) for s in layer.stride),
        dilation=dilation,
        padding=_padding(layer.padding, kernel, dilation),
        padding_mode=layer.padding_mode,
    )


def weight_matrix(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> npt.NDArray[np.float64]:
    """Return a layer's weights as (rows, cols) float64; groups become a block-diagonal matrix."""
    weight = layer.weight.detach().to("cpu", torch.float64)
    flat = weight.reshape(weight.shape[0], -1).T.numpy()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    if groups == 1:
        return np.ascontiguousarray(flat)
    rows, cols = flat.shape[0], flat.shape[1] // groups
    matrix = np.zeros((rows * groups, cols * groups))
    for g in range(groups):
        own = slice(g * cols, (g + 1) * cols)
        matrix[g * rows : (g + 1) * rows, own] = flat[:, own]
    return matrix


def _padding(given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ANN401 - torch takes a word or numbers
    if given == "valid":
        sides = [(0, 0)] * len(kernel)
    elif given == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(int(p), int(p)) for p in given]
    return tuple(side for pair in reversed(sides) for side in pair)
