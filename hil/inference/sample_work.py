"""What one sample asks of each analog layer and of the host. Walks the graph once; no chip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional
from typing_extensions import override

from hil.inference.observing import Interpreter
from hil.inference.plan import AnalogLayer, NetworkPlan

__all__ = ["HostWork", "SampleWork", "work_of"]


@dataclass(frozen=True, kw_only=True)
class HostWork:
    """A kind of operation that runs on the host: its name in torch, calls and values computed."""

    operation: str
    calls: int
    values: int


@dataclass(frozen=True, kw_only=True)
class SampleWork:
    """What one sample asks for.

    Attributes:
        vectors: Input vectors by analog layer, all its calls together.
        calls: Calls by analog layer.
        host: Operations on the host, in the order of their first call; those that only change a
            shape are left out, and so is what belongs to a layer's own outputs (partial sums,
            scales and bias).
    """

    vectors: Mapping[str, int]
    calls: Mapping[str, int]
    host: tuple[HostWork, ...]


def work_of(plan: NetworkPlan) -> SampleWork:
    """Count the work of one sample: runs one blank input through the float network."""
    walk = _Counter(plan)
    with torch.no_grad():
        walk.run(torch.zeros((1, *plan.input_shape), dtype=plan.dtype))
    return SampleWork(
        vectors=MappingProxyType(dict(walk.vectors)),
        calls=MappingProxyType(dict(walk.calls)),
        host=tuple(
            HostWork(operation=name, calls=calls, values=walk.host_values[name])
            for name, calls in walk.host_calls.items()
        ),
    )


class _Counter(Interpreter):
    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__(plan.graph)
        self.plan = plan
        self.vectors: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.host_calls: Counter[str] = Counter()
        self.host_values: Counter[str] = Counter()

    @override
    def run_node(self, n: fx.Node) -> Any:
        output = super().run_node(n)
        if n.op not in ("call_function", "call_method", "call_module"):
            return output
        inputs = [self.env[source] for source in n.all_input_nodes]
        if n.op == "call_module" and n.target in self.plan.layers:
            self._count_layer(self.plan.layers[str(n.target)], inputs[0])
        elif n.target not in self.plan.passed and isinstance(output, Tensor):
            held = {x.untyped_storage().data_ptr() for x in inputs if isinstance(x, Tensor)}
            if output.untyped_storage().data_ptr() not in held:  # a view computes nothing
                name = self._name(n)
                self.host_calls[name] += 1
                self.host_values[name] += output.numel()
        return output

    def _count_layer(self, layer: AnalogLayer, x: Tensor) -> None:
        geometry = layer.geometry
        padded = geometry.pad(x.unsqueeze(0) if x.ndim == geometry.item_ndim else x)
        self.vectors[layer.name] += padded.shape[0] * geometry.positions(padded.shape)
        self.calls[layer.name] += 1

    def _name(self, n: fx.Node) -> str:
        if n.op == "call_module":
            return _plain(type(self.fetch_attr(str(n.target))).__name__)
        if n.op == "call_method":
            return _plain(str(n.target))
        return _plain(getattr(n.target, "__name__", str(n.target)))


def _plain(name: str) -> str:
    """Give a module, a function and an operator that do the same the same name, as torch has it."""
    bare = name.strip("_")
    if hasattr(functional, bare.lower()):
        return bare.lower()
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", bare).lower()
    return words.removeprefix("i") if words in ("iadd", "imul", "isub") else words
