"""Inputs that each analog layer sees for sample data, in float. Runs the network once; no chip."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from hil.errors import RequestError
from hil.inference.geometry import geometry_of
from hil.inference.tracing import DROPOUTS

__all__ = ["Interpreter", "LayerInputs", "observe_inputs"]

SAMPLING_SEED = 0
"""The same network and samples always give the same plan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerInputs:
    """Vectors drawn from a layer's inputs, (n, rows); dimensions of its output."""

    vectors: Tensor
    output_ndim: int


class Interpreter(fx.Interpreter):
    """Runs a graph node by node, without dropout."""

    @override
    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in DROPOUTS:
            return args[0] if args else kwargs["input"]
        return super().call_function(target, args, kwargs)


class _Observer(Interpreter):
    def __init__(self, graph: fx.GraphModule, names: Collection[str], most: int) -> None:
        super().__init__(graph)
        self.names = names
        self.most = most
        self.found: dict[str, LayerInputs] = {}
        self._generator = torch.Generator().manual_seed(SAMPLING_SEED)

    @override
    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(target, args, kwargs)
        if target in self.names:
            layer = self.fetch_attr(str(target))
            assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)  # noqa: S101 - analog
            x = args[0] if args else kwargs["input"]
            self._keep(str(target), layer, x, output.ndim)
        return output

    def _keep(
        self, name: str, layer: nn.Conv1d | nn.Conv2d | nn.Linear, x: Tensor, ndim: int
    ) -> None:
        geometry = geometry_of(layer)
        if x.ndim == geometry.item_ndim:
            x = x.unsqueeze(0)
        # Drawn at random: an even step would meet the same places of every image.
        items = x[self._draw(x.shape[0])]
        taken = geometry.vectors(geometry.pad(items))
        taken = taken[self._draw(taken.shape[0])]
        earlier = self.found.get(name)
        if earlier is not None:
            taken, ndim = torch.cat([earlier.vectors, taken]), max(ndim, earlier.output_ndim)
        self.found[name] = LayerInputs(vectors=taken, output_ndim=ndim)

    def _draw(self, total: int) -> Tensor:
        return torch.randperm(total, generator=self._generator)[: self.most]


def observe_inputs(
    graph: fx.GraphModule, names: Collection[str], samples: Tensor, most: int
) -> dict[str, LayerInputs]:
    """Run samples through the float network; return up to `most` vectors per call and layer.

    Raises:
        RequestError: The network does not take these samples, or does not give one tensor.
    """
    observer = _Observer(graph, names, most)
    try:
        with torch.no_grad():
            output = observer.run(samples)
    except RequestError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise RequestError(
            f"the network does not take inputs of shape {tuple(samples.shape)}: {error}"
        ) from error
    if not isinstance(output, Tensor):
        raise RequestError(f"the network gives {type(output).__name__}; one tensor is needed")
    return observer.found
