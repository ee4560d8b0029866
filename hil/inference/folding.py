"""Batch-norm after an analog layer, folded into weights and bias. Changes no module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from hil.errors import RequestError
from hil.inference.digital import NormTarget
from hil.inference.geometry import geometry_of
from hil.inference.tracing import calls_of

__all__ = ["NormFold", "fold_of"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class NormFold:
    """A batch-norm as scale and offset per col, and the statistics it gave its outputs."""

    name: str
    scale: Array
    offset: Array
    target: NormTarget


def fold_of(graph: fx.GraphModule, name: str, output_ndim: int) -> NormFold | None:
    """Return the batch-norm that can be folded into analog layer `name`, or None.

    It can if every output of the layer goes to this batch-norm alone, the batch-norm sees nothing
    else, and its channels are the layer's cols.

    Raises:
        RequestError: The batch-norm has no running statistics.
    """
    calls = calls_of(graph, name)
    follower = _only_follower(calls)
    if follower is None:
        return None
    norm = graph.get_submodule(follower)
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        return None
    if norm.running_mean is None or norm.running_var is None:
        raise RequestError(
            f"batch-norm {follower!r} has no running statistics; train it with "
            "track_running_stats=True"
        )
    layer = graph.get_submodule(name)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)  # noqa: S101 - an analog layer
    geometry = geometry_of(layer)
    batched = 1 + geometry.item_ndim
    if output_ndim != batched or norm.num_features != geometry.cols:
        return None
    if any(site.args[0] not in calls for site in calls_of(graph, follower)):
        return None
    return _fold(follower, norm)


def _only_follower(calls: list[fx.Node]) -> str | None:
    users = [user for call in calls for user in call.users]
    names = {str(user.target) if user.op == "call_module" else "" for user in users}
    alone = all(len(call.users) == 1 for call in calls)
    return names.pop() or None if alone and len(names) == 1 else None


def _fold(name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> NormFold:
    mean, var = _array(norm.running_mean), _array(norm.running_var)
    gamma = np.ones_like(mean) if norm.weight is None else _array(norm.weight)
    beta = np.zeros_like(mean) if norm.bias is None else _array(norm.bias)
    scale = gamma / np.sqrt(var + norm.eps)
    return NormFold(
        name=name,
        scale=scale,
        offset=beta - mean * scale,
        target=NormTarget(mean=beta, std=np.abs(scale) * np.sqrt(var)),
    )


def _array(values: Tensor | None) -> Array:
    assert values is not None  # noqa: S101 - checked by fold_of
    return values.detach().to("cpu", torch.float64).numpy()
