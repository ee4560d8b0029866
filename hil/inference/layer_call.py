"""One call of a layer: activations in, activations out, a strip of the batch at a time.

A strip is worked on in pieces that the multiplier takes at once. Codes, vectors and products of a
strip stay in the processor's cache; of the whole batch only input and output are held, and the
sums where another stage adds to them or batch-norm statistics need them. Knows no graph and no
chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hil.errors import RequestError
from hil.inference.digital import (
    ACCUMULATOR_STEPS,
    NormCorrection,
    accumulate,
    quantise,
    scale_outputs,
)
from hil.metrics import mvm_error

if TYPE_CHECKING:
    from hil.inference.digital import NormTarget
    from hil.inference.multiplier import Multiplier, Stage
    from hil.inference.plan import AnalogLayer

__all__ = ["LayerCall", "LayerRun"]

Array = npt.NDArray[np.float64]

ERROR_VECTORS = 1024
"""Vectors per layer call whose exact product is computed, for the MVM error."""

STRIP_VECTORS = 4096
"""Vectors that are quantised and scaled together: enough that the calls cost little, few enough for
the cache."""


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
    """What the strips add up to."""

    mvms: int = 0
    saturated: int = 0
    converted: int = 0
    clipped: int = 0
    inputs: int = 0
    chip_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Items:
    """Items start...stop-1 of the batch, `positions` vectors each."""

    start: int
    stop: int
    positions: int

    @property
    def items(self) -> slice:
        """Their places in the batch."""
        return slice(self.start, self.stop)

    @property
    def vectors(self) -> slice:
        """Places of their vectors among all."""
        return slice(self.start * self.positions, self.stop * self.positions)

    def parts(self, size: int) -> Iterator[_Items]:
        """Cut them into parts of at most `size` items."""
        for start in range(self.start, self.stop, size):
            yield _Items(start=start, stop=min(start + size, self.stop), positions=self.positions)


class LayerCall:
    """A layer about to work on a batch.

    Args:
        layer: The layer.
        x: Its input, batch first.
        multiplier: What makes the products.
        tell: Called after each strip with the vectors done of all.
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
        positions = self._geometry.positions(self._padded_shape)
        self._all = _Items(start=0, stop=x.shape[0], positions=positions)
        self._piece = max(1, multiplier.max_batch // max(1, positions))
        self._strip = self._piece * max(1, STRIP_VECTORS // max(1, self._piece * positions))
        self._tally = _Tally()
        self._error = _ErrorSample(layer, self._all)

    def run(self, correction: NormCorrection | None) -> Tensor:
        """Return the layer's output, with a batch-norm correction or none."""
        y = torch.empty(self._geometry.output_shape(self._padded_shape), dtype=self._x.dtype)
        if self._multiplier.stages_of(self._layer) > 1:
            self._finish_all(self._sums(), correction, y)
            return y
        for stage in self._multiplier.stages(self._layer):
            for strip, units in self._products(stage):
                self._finish(strip, units, correction, y)
        return y

    def run_reestimating(self, norm: NormTarget, items: int) -> tuple[Tensor, NormCorrection]:
        """Return the output corrected to a batch-norm's statistics, and the correction.

        Args:
            norm: What the statistics shall be.
            items: They are measured on the first so many items.
        """
        y = torch.empty(self._geometry.output_shape(self._padded_shape), dtype=self._x.dtype)
        units = self._sums()
        leading = self._scaled(accumulate(units[: items * self._all.positions]))
        correction = NormCorrection.between(leading, norm)
        self._finish_all(units, correction, y)
        return y, correction

    def report(self) -> LayerRun:
        """Return what the call did, after it ended."""
        tally = self._tally
        return LayerRun(
            layer=self._layer.name,
            vectors=self._all.vectors.stop,
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
        units = np.zeros((self._all.vectors.stop, self._layer.cols))
        for stage in self._multiplier.stages(self._layer):
            for strip, more in self._products(stage):
                units[strip.vectors] += more
        return units

    def _products(self, stage: Stage) -> Iterator[tuple[_Items, Array]]:
        """Multiply strip by strip; what is done with a strip counts to the time of the call."""
        layer, tally = self._layer, self._tally
        began_s, began = self._multiplier.now_s(), time.perf_counter()
        for strip in self._all.parts(self._strip):
            padded = self._geometry.pad(self._x[strip.items])
            tally.clipped += _beyond(padded, layer.input_range)
            tally.inputs += padded.numel()
            codes = quantise(padded, layer.input_range, layer.input_levels)
            self._error.take_inputs(strip, codes)
            units = np.empty((strip.vectors.stop - strip.vectors.start, layer.cols))
            for piece in _Items(start=0, stop=codes.shape[0], positions=strip.positions).parts(
                self._piece
            ):
                made = stage(self._geometry.vectors(codes[piece.items]).numpy())
                units[piece.vectors] = made.units
                tally.mvms += made.mvms
                tally.saturated += made.saturated
                tally.converted += made.converted
            yield strip, units
            self._tell(strip.vectors.stop, self._all.vectors.stop)
        tally.chip_s += self._multiplier.now_s() - began_s
        tally.wall_s += time.perf_counter() - began

    def _finish_all(self, units: Array, correction: NormCorrection | None, y: Tensor) -> None:
        for strip in self._all.parts(self._strip):
            self._finish(strip, units[strip.vectors], correction, y)

    def _finish(
        self, strip: _Items, units: Array, correction: NormCorrection | None, y: Tensor
    ) -> None:
        """Scale the sums of a strip and write them to its place in the output."""
        steps = accumulate(units)
        self._error.take_outputs(strip, steps)
        scaled = self._scaled(steps)
        if correction is not None:
            scaled *= correction.scale
            scaled += correction.offset
        shape = torch.Size((strip.stop - strip.start, *self._padded_shape[1:]))
        y[strip.items] = self._geometry.restore(torch.from_numpy(scaled), shape)

    def _scaled(self, steps: Array) -> Array:
        layer = self._layer
        return scale_outputs(steps, layer.weight_per_unit, layer.input_per_code, layer.bias)


class _ErrorSample:
    """Inputs and outputs of items spread evenly over the batch, for the MVM error."""

    def __init__(self, layer: AnalogLayer, batch: _Items) -> None:
        self._layer = layer
        wanted = min(batch.stop, max(1, ERROR_VECTORS // max(1, batch.positions)))
        self._chosen = np.unique(np.linspace(0, batch.stop - 1, wanted).astype(int))
        self._codes: dict[int, Tensor] = {}
        self._outputs: dict[int, Array] = {}

    def take_inputs(self, strip: _Items, codes: Tensor) -> None:
        """Keep what is wanted of a strip's input codes; another stage sees the same again."""
        inside = self._inside(strip)
        if inside.size:
            self._codes[strip.start] = codes[torch.from_numpy(inside)]

    def take_outputs(self, strip: _Items, steps: Array) -> None:
        """Keep what is wanted of a strip's sums, in accumulator steps."""
        inside = self._inside(strip)
        if inside.size:
            items = steps.reshape(strip.stop - strip.start, strip.positions, steps.shape[1])
            self._outputs[strip.start] = items[inside].reshape(-1, steps.shape[1])

    def value(self) -> float | None:
        """MVM error in units of the weights; None without a product other than 0."""
        if not self._codes:
            return None
        weights, unit = self._layer.weight_codes, self._layer.weight_per_unit
        vectors = self._layer.geometry.vectors(torch.cat(list(self._codes.values()))).numpy()
        exact = vectors.astype(np.float64) @ weights
        got = np.concatenate(list(self._outputs.values())) / ACCUMULATOR_STEPS
        try:
            return mvm_error(got * unit, exact * unit)
        except RequestError:
            return None

    def _inside(self, strip: _Items) -> npt.NDArray[np.int64]:
        """Chosen items of a strip, counted from its first."""
        inside = (self._chosen >= strip.start) & (self._chosen < strip.stop)
        return self._chosen[inside] - strip.start


def _beyond(padded: Tensor, input_range: float) -> int:
    """Number of inputs that will be clipped."""
    values = padded.to(torch.float32).numpy()  # numpy compares several times faster than torch
    return int(np.count_nonzero(np.abs(values) > input_range))
