"""A torch module as a graph of layers; says which are analog and refuses what cannot run.

Analog: Conv1d, Conv2d, Linear. Everything without weights runs digitally, and so do the modules of
`DIGITAL_WITH_WEIGHTS`. Other modules with weights are refused by name.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from typing_extensions import override

from hil.errors import RequestError

__all__ = ["ANALOG", "DIGITAL_WITH_WEIGHTS", "DROPOUTS", "analog_names", "calls_of", "trace"]

ANALOG = (nn.Conv1d, nn.Conv2d, nn.Linear)
DIGITAL_WITH_WEIGHTS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.LayerNorm,
    nn.PReLU,
)
"""Modules with weights that are computed on the host, in torch."""
DROPOUTS = (
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
)
"""Functional forms that default to training; at inference they pass their input on."""

_PRODUCTS = (
    functional.linear,
    functional.bilinear,
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
    functional.embedding,
    functional.scaled_dot_product_attention,
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.addmm,
    torch.einsum,
    operator.matmul,
)
_PRODUCT_METHODS = ("matmul", "mm", "bmm", "addmm", "__matmul__", "__rmatmul__")


class _Tracer(fx.Tracer):
    """Keeps torch's own layers whole, also under a subclass that only adds to them."""

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        same = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in ANALOG)
        return same or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.GraphModule:
    """Return a copy of `module` on the CPU, in evaluation mode, as a graph.

    Raises:
        RequestError: Its flow depends on data, or it takes more than one tensor.
    """
    own = copy.deepcopy(module).to("cpu").eval()
    try:
        graph = _Tracer().trace(own)
    except Exception as error:
        raise RequestError(
            f"{type(module).__name__} cannot be traced by torch.fx: {error}; take data-dependent "
            "control flow out of forward"
        ) from error
    inputs = [n for n in graph.nodes if n.op == "placeholder" and not n.args]
    if len(inputs) != 1:
        raise RequestError(
            f"{type(module).__name__} takes {len(inputs)} tensors ({', '.join(map(str, inputs))}); "
            "give a network with one input"
        )
    return fx.GraphModule(own, graph)


def analog_names(graph: fx.GraphModule, digital: Collection[str]) -> list[str]:
    """Return the names of analog layers in the order of their first call.

    Args:
        graph: A traced network.
        digital: Layers to keep on the host.

    Raises:
        RequestError: A layer with weights can run neither on the array nor on the host.
    """
    modules = dict(graph.named_modules())
    called = {str(n.target): modules[str(n.target)] for n in graph.graph.nodes if _is_module(n)}
    unknown = sorted(set(digital) - set(called))
    if unknown:
        raise RequestError(f"no layer {unknown[0]!r} to keep digital; known: {', '.join(called)}")
    names = []
    for name, layer in called.items():
        if name in digital:
            continue
        if isinstance(layer, ANALOG):
            _check_initialised(name, layer)
            names.append(name)
        elif any(True for _ in layer.parameters()) and not isinstance(layer, DIGITAL_WITH_WEIGHTS):
            raise RequestError(
                f"layer {name!r} ({type(layer).__name__}) has weights but no way onto the array; "
                "rebuild it from Conv1d, Conv2d or Linear, or list it under digital",
                layer=name,
            )
    _check_free_weights(graph)
    if not names:
        raise RequestError("the network has no Conv1d, Conv2d or Linear layer to put on the array")
    return names


def calls_of(graph: fx.GraphModule, name: str) -> list[fx.Node]:
    """Return the call sites of a module."""
    return [n for n in graph.graph.nodes if _is_module(n) and n.target == name]


def _is_module(node: fx.Node) -> bool:
    return node.op == "call_module"


def _check_initialised(name: str, layer: nn.Module) -> None:
    for weight, value in layer.named_parameters():
        if nn.parameter.is_lazy(value):
            raise RequestError(f"layer {name!r}: {weight} has no shape yet; run the network once")


def _check_free_weights(graph: fx.GraphModule) -> None:
    """Refuse products with weights that no module owns: they would silently run digitally."""
    from_weights: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            if isinstance(_attribute(graph, str(node.target)), Tensor):
                from_weights[node] = str(node.target)
            continue
        sources = node.all_input_nodes
        product = (node.op == "call_function" and node.target in _PRODUCTS) or (
            node.op == "call_method" and node.target in _PRODUCT_METHODS
        )
        weights = [from_weights[s] for s in sources if s in from_weights]
        if product and weights:
            raise RequestError(
                f"{node.name} multiplies by the bare weight {weights[0]!r}; make it a "
                "Conv1d, Conv2d or Linear layer, so that it can go onto the array"
            )
        if sources and len(weights) == len(sources):
            from_weights[node] = weights[0]


def _attribute(graph: fx.GraphModule, path: str) -> Any:  # noqa: ANN401 - whatever the module holds
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value
