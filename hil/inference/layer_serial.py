"""The layer-serial loop: layer outside, batch inside, activations on the host. Knows no chip.

What multiplies is handed in: a chip with every layer resident, a chip whose cores are written
layer by layer, or the exact integer reference. All else is shared.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from hil.errors import RequestError
from hil.inference.digital import NormCorrection, accumulate, quantise, scale_outputs
from hil.inference.observing import Interpreter
from hil.inference.plan import AnalogLayer, NetworkPlan
from hil.metrics import mvm_error

__all__ = ["LayerProgress", "LayerRun", "Multiplier", "Products", "RunResult", "run_layer_serial"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]

ERROR_VECTORS = 1024
"""Vectors per layer call whose exact product is computed, for the MVM error."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Sums of products of a batch, in units of weight code times input code, (n, cols).

    Attributes:
        units: The sums.
        mvms: Vectors multiplied, all blocks together.
        saturated, converted: Converter outputs that were clipped, and all.
    """

    units: Array
    mvms: int = 0
    saturated: int = 0
    converted: int = 0


Stage = Callable[[Codes], Products]


class Multiplier(ABC):
    """What makes the products of a layer."""

    max_batch: int
    """Most vectors to hand over at once."""

    @abstractmethod
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        """Make the layer ready, part by part; the sums of all parts are the layer's products."""

    @abstractmethod
    def now_s(self) -> float:
        """Device time, s."""


@dataclass(frozen=True, kw_only=True)
class LayerProgress:
    """How far a run is: call `index` (from 0) of `calls`; vectors done of all in this call."""

    layer: str
    index: int
    calls: int
    vectors_done: int
    vectors: int


OnLayer = Callable[[LayerProgress], None]


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
        chip_s, wall_s: Time of its MVMs on the device and here, s.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class RunResult:
    """Outputs of the network, what each layer did, and the batch-norm corrections in force."""

    outputs: Tensor
    layers: tuple[LayerRun, ...]
    norms: dict[str, NormCorrection] = field(default_factory=dict)


def run_layer_serial(
    plan: NetworkPlan,
    images: Tensor,
    multiplier: Multiplier,
    *,
    norms: Mapping[str, NormCorrection] | None = None,
    norm_images: int = 0,
    on_layer: OnLayer | None = None,
) -> RunResult:
    """Run a batch through the network, one layer after another.

    Args:
        plan: The network.
        images: (batch, *input_shape).
        multiplier: What makes the products.
        norms: Batch-norm corrections to apply, by layer.
        norm_images: Re-estimate these corrections on the first so many images, layer by layer, and
            apply them to all. 0 keeps `norms`.
        on_layer: Called after each chunk.

    Raises:
        RequestError: The images do not fit the network.
    """
    images = plan.check_images(images)
    if not 0 <= norm_images <= images.shape[0]:
        raise RequestError(f"norm_images {norm_images} is outside 0...{images.shape[0]}")
    walk = _Walk(plan, multiplier, dict(norms or {}), norm_images, on_layer)
    with torch.no_grad():
        outputs = walk.run(images)
    return RunResult(outputs=outputs, layers=tuple(walk.runs), norms=walk.norms)


class _Walk(Interpreter):
    """Walks the graph; digital nodes run in torch, analog ones through the multiplier."""

    def __init__(
        self,
        plan: NetworkPlan,
        multiplier: Multiplier,
        norms: dict[str, NormCorrection],
        norm_images: int,
        on_layer: OnLayer | None,
    ) -> None:
        super().__init__(plan.graph)
        self.plan = plan
        self.multiplier = multiplier
        self.norms = norms
        self.norm_images = norm_images
        self.on_layer = on_layer
        self.runs: list[LayerRun] = []
        self.calls = sum(
            n.op == "call_module" and n.target in plan.layers for n in plan.graph.graph.nodes
        )

    @override
    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target)
        if name in self.plan.passed:
            return args[0] if args else kwargs["input"]
        if name in self.plan.layers:
            return self._multiply(self.plan.layers[name], args[0] if args else kwargs["input"])
        return super().call_module(target, args, kwargs)

    def _multiply(self, layer: AnalogLayer, x: Tensor) -> Tensor:
        geometry = layer.geometry
        single = x.ndim == geometry.item_ndim
        padded = geometry.pad(x.unsqueeze(0) if single else x)
        codes = quantise(padded, layer.input_range, layer.input_levels)
        positions = geometry.positions(padded.shape)
        units = np.zeros((padded.shape[0] * positions, layer.cols))
        per_chunk = max(1, self.multiplier.max_batch // max(1, positions))
        saturated = converted = mvms = 0
        chip_s = wall_s = 0.0
        for stage in self.multiplier.stages(layer):
            entered_s, entered = self.multiplier.now_s(), time.perf_counter()
            for start in range(0, padded.shape[0], per_chunk):
                vectors = geometry.vectors(codes[start : start + per_chunk]).numpy()
                part = slice(start * positions, start * positions + vectors.shape[0])
                made = stage(np.ascontiguousarray(vectors))
                units[part] += made.units
                mvms += made.mvms
                saturated += made.saturated
                converted += made.converted
                self._tell(layer, part.stop, units.shape[0])
            chip_s += self.multiplier.now_s() - entered_s
            wall_s += time.perf_counter() - entered
        units = accumulate(units)
        y = scale_outputs(units, layer.weight_per_unit, layer.input_per_code, layer.bias)
        y = self._renormalise(layer, y, self.norm_images * positions)
        vectors_done, error = units.shape[0], _error(layer, codes, units, positions)
        self.runs.append(
            LayerRun(
                layer=layer.name,
                vectors=vectors_done,
                mvms=mvms,
                mvm_error=error,
                saturated=saturated,
                converted=converted,
                clipped_share=_share(padded.abs() > layer.input_range),
                chip_s=chip_s,
                wall_s=wall_s,
            )
        )
        log.info("layer %s: %d vectors, MVM error %s", layer.name, vectors_done, error)
        restored = geometry.restore(y.to(x.dtype), padded.shape)
        return restored.squeeze(0) if single else restored

    def _renormalise(self, layer: AnalogLayer, y: Tensor, vectors: int) -> Tensor:
        if layer.norm is not None and vectors > 0:
            self.norms[layer.name] = NormCorrection.between(y[:vectors].numpy(), layer.norm)
        correction = self.norms.get(layer.name)
        if correction is None:
            return y
        return y * torch.from_numpy(correction.scale) + torch.from_numpy(correction.offset)

    def _tell(self, layer: AnalogLayer, done: int, vectors: int) -> None:
        if self.on_layer is not None:
            self.on_layer(
                LayerProgress(
                    layer=layer.name,
                    index=len(self.runs),
                    calls=self.calls,
                    vectors_done=done,
                    vectors=vectors,
                )
            )


def _share(mask: Tensor) -> float:
    return float(mask.to(torch.float64).mean()) if mask.numel() else 0.0


def _error(layer: AnalogLayer, codes: Tensor, units: Array, positions: int) -> float | None:
    """MVM error on items spread evenly over the batch, in units of the weights."""
    if units.shape[0] == 0:
        return None
    items = codes.shape[0]
    wanted = max(1, ERROR_VECTORS // positions)
    chosen = np.unique(np.linspace(0, items - 1, min(items, wanted)).astype(int))
    vectors = layer.geometry.vectors(codes[torch.from_numpy(chosen)]).numpy()
    exact = vectors.astype(np.float64) @ layer.weight_codes
    got = units.reshape(items, positions, layer.cols)[chosen].reshape(-1, layer.cols)
    try:
        return mvm_error(got * layer.weight_per_unit, exact * layer.weight_per_unit)
    except RequestError:
        return None
