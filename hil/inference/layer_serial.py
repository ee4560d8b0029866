"""The layer-serial loop: layer outside, batch inside, activations on the host. Knows no chip.

What multiplies is handed in: a chip with every layer resident, a chip whose cores are written
layer by layer, or the exact integer reference. All else is shared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from hil.errors import RequestError
from hil.inference.digital import NormCorrection
from hil.inference.layer_call import LayerCall, LayerRun
from hil.inference.multiplier import Multiplier, Products, Stage
from hil.inference.observing import Interpreter
from hil.inference.plan import AnalogLayer, NetworkPlan

__all__ = [
    "LayerProgress",
    "LayerRun",
    "Multiplier",
    "Products",
    "RunResult",
    "Stage",
    "run_layer_serial",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LayerProgress:
    """How far a run is: call `index` (from 0) of `calls`; vectors done of all in this call."""

    layer: str
    index: int
    calls: int
    vectors_done: int
    vectors: int


OnLayer = Callable[[LayerProgress], None]


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
        single = x.ndim == layer.geometry.item_ndim
        call = LayerCall(
            layer, x.unsqueeze(0) if single else x, self.multiplier, partial(self._tell, layer)
        )
        if layer.norm is not None and self.norm_images > 0:
            y, self.norms[layer.name] = call.run_reestimating(layer.norm, self.norm_images)
        else:
            y = call.run(self.norms.get(layer.name))
        run = call.report()
        self.runs.append(run)
        log.info("layer %s: %d vectors, MVM error %s", layer.name, run.vectors, run.mvm_error)
        return y.squeeze(0) if single else y

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
