"""One call of a layer: activations in, activations out, a piece of the batch at a time.

A piece is what the multiplier takes at once. Its codes, vectors and products stay in the
processor's cache; of the whole batch only input and output are held, and the sums where another
stage adds to them or batch-norm statistics need them. Knows no graph and no chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hil.errors import RequestError
from hil.inference.digital import NormCorrection, accumulate, quantise, scale_outputs
from hil.metrics import mvm_error

if TYPE_CHECKING:
    from hil.inference.digital import NormTarget
    from hil.inference.multiplier import Multiplier, Stage
    from hil.inference.plan import AnalogLayer

__all__ = ["LayerCall", "LayerRun"]

Array = npt.NDArray[np.float64]

ERROR_VECTORS = 1024
"""Vectors per layer call whose exact product is computed, for the MVM error."""


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """What one call of a layer did.

    Attributes:
        layer: Its name.
        vectors: Input vectors.
        mvms: Vectors multiplied, all blocks together.
        mvm_error: Against the exact product of the same input codes; None if that is all zero.
        saturated, converted: Converter outputs that were clipped, and all.
        clipped_share: Share of inputs beyond the input range.
        chip_s, wall_s: Time of the call on the device and here, without programming, s.
    """

    layer: str
    vectors: int
    mvms: int
    mvm_error: float | None
    saturated: int
    converted: int
    clipped_share: float
    chip_s: float
    wall_s: float


@dataclass(kw_only=True)
class _Tally:
    """What the pieces add up to."""

    mvms: int = 0
    saturated: int = 0
    converted: int = 0
    clipped: int = 0
    inputs: int = 0
    chip_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Items first...last-1 of the batch, and their vectors."""

    items: slice
    vectors: slice


class LayerCall:
    """A layer about to work on a batch.

    Args:
        layer: The layer.
        x: Its input, batch first.
        multiplier: What makes the products.
        tell: Called after each piece with the vectors done of all.
    """

    def __init__(
        self,
        layer: AnalogLayer,
        x: Tensor,
        multiplier: Multiplier,
        tell: Callable[[int, int], None],
    ) -> None:
        self._layer = layer
        self._geometry = layer.geometry
        self._x = x
        self._multiplier = multiplier
        self._tell = tell
        item = self._geometry.pad(x[:1]).shape[1:]
        self._padded_shape = torch.Size((x.shape[0], *item))
        self._positions = self._geometry.positions(self._padded_shape)
        self._vectors = x.shape[0] * self._positions
        self._tally = _Tally()
        self._error = _ErrorSample(layer, x.shape[0], self._positions)

    def run(self, correction: NormCorrection | None) -> Tensor:
        """Return the layer's output, with a batch-norm correction or none."""
        y = torch.empty(self._geometry.output_shape(self._padded_shape), dtype=self._x.dtype)
        if self._multiplier.stages_of(self._layer) > 1:
            self._finish_all(self._sums(), correction, y)
            return y
        for stage in self._multiplier.stages(self._layer):
            for piece, units in self._products(stage):
                self._finish(piece, units, correction, y)
        return y

    def run_reestimating(self, norm: NormTarget, items: int) -> tuple[Tensor, NormCorrection]:
        """Return the output corrected to a batch-norm's statistics, and the correction.

        Args:
            norm: What the statistics shall be.
            items: They are measured on the first so many items.
        """
        y = torch.empty(self._geometry.output_shape(self._padded_shape), dtype=self._x.dtype)
        units = self._sums()
        leading = self._scaled(accumulate(units[: items * self._positions]))
        correction = NormCorrection.between(leading, norm)
        self._finish_all(units, correction, y)
        return y, correction

    def report(self) -> LayerRun:
        """Return what the call did, after it ended."""
        tally = self._tally
        return LayerRun(
            layer=self._layer.name,
            vectors=self._vectors,
            mvms=tally.mvms,
            mvm_error=self._error.value(),
            saturated=tally.saturated,
            converted=tally.converted,
            clipped_share=tally.clipped / tally.inputs if tally.inputs else 0.0,
            chip_s=tally.chip_s,
            wall_s=tally.wall_s,
        )

    def _sums(self) -> Array:
        """Sums of all stages, (vectors, cols)."""
        units = np.zeros((self._vectors, self._layer.cols))
        for stage in self._multiplier.stages(self._layer):
            for piece, more in self._products(stage):
                units[piece.vectors] += more
        return units

    def _products(self, stage: Stage) -> Iterator[tuple[_Piece, Array]]:
        """Multiply piece by piece; what is done with a piece counts to the time of the call."""
        tally = self._tally
        began_s, began = self._multiplier.now_s(), time.perf_counter()
        for piece in self._pieces():
            padded = self._geometry.pad(self._x[piece.items])
            tally.clipped += _beyond(padded, self._layer.input_range)
            tally.inputs += padded.numel()
            codes = quantise(padded, self._layer.input_range, self._layer.input_levels)
            vectors = self._geometry.vectors(codes).numpy()
            made = stage(vectors)
            tally.mvms += made.mvms
            tally.saturated += made.saturated
            tally.converted += made.converted
            self._error.take_inputs(piece.items, vectors)
            yield piece, made.units
            self._tell(piece.vectors.stop, self._vectors)
        tally.chip_s += self._multiplier.now_s() - began_s
        tally.wall_s += time.perf_counter() - began

    def _pieces(self) -> Iterator[_Piece]:
        items, positions = self._x.shape[0], self._positions
        step = max(1, self._multiplier.max_batch // max(1, positions))
        for start in range(0, items, step):
            stop = min(start + step, items)
            yield _Piece(
                items=slice(start, stop), vectors=slice(start * positions, stop * positions)
            )

    def _finish_all(self, units: Array, correction: NormCorrection | None, y: Tensor) -> None:
        for piece in self._pieces():
            self._finish(piece, units[piece.vectors], correction, y)

    def _finish(
        self, piece: _Piece, units: Array, correction: NormCorrection | None, y: Tensor
    ) -> None:
        """Scale the sums of a piece and write them to its place in the output."""
        rounded = accumulate(units)
        self._error.take_outputs(piece.items, rounded)
        scaled = self._scaled(rounded)
        if correction is not None:
            scaled *= correction.scale
            scaled += correction.offset
        shape = torch.Size((piece.items.stop - piece.items.start, *self._padded_shape[1:]))
        y[piece.items] = self._geometry.restore(torch.from_numpy(scaled), shape)

    def _scaled(self, rounded: Array) -> Array:
        layer = self._layer
        return scale_outputs(rounded, layer.weight_per_unit, layer.input_per_code, layer.bias)


class _ErrorSample:
    """Inputs and outputs of items spread evenly over the batch, for the MVM error."""

    def __init__(self, layer: AnalogLayer, items: int, positions: int) -> None:
        self._layer = layer
        self._positions = positions
        wanted = min(items, max(1, ERROR_VECTORS // max(1, positions)))
        self._chosen = np.unique(np.linspace(0, items - 1, wanted).astype(int))
        self._inputs: dict[int, npt.NDArray[np.integer[Any]]] = {}
        self._outputs: dict[int, Array] = {}

    def take_inputs(self, items: slice, vectors: npt.NDArray[np.integer[Any]]) -> None:
        """Keep what is wanted of a piece's input codes; another stage sees the same again."""
        self._inputs[items.start] = vectors[self._rows(items)]

    def take_outputs(self, items: slice, units: Array) -> None:
        """Keep what is wanted of a piece's sums."""
        self._outputs[items.start] = units[self._rows(items)]

    def value(self) -> float | None:
        """MVM error in units of the weights; None without a product other than 0."""
        if not self._inputs:
            return None
        weights, unit = self._layer.weight_codes, self._layer.weight_per_unit
        exact = np.concatenate(list(self._inputs.values())).astype(np.float64) @ weights
        got = np.concatenate(list(self._outputs.values()))
        try:
            return mvm_error(got * unit, exact * unit)
        except RequestError:
            return None

    def _rows(self, items: slice) -> npt.NDArray[np.intp]:
        """Places of the chosen items' vectors within a piece."""
        inside = (self._chosen >= items.start) & (self._chosen < items.stop)
        first = (self._chosen[inside] - items.start) * self._positions
        rows: npt.NDArray[np.intp] = (first[:, None] + np.arange(self._positions)).ravel()
        return rows


def _beyond(padded: Tensor, input_range: float) -> int:
    """Number of inputs that will be clipped."""
    values = padded.to(torch.float32).numpy()  # numpy compares several times faster than torch
    return int(np.count_nonzero(np.abs(values) > input_range))
