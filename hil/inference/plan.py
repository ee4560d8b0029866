"""A network as analog layers with input ranges, and the digital rest. Knows no chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from hil.errors import RequestError
from hil.inference.digital import NormTarget, quantise
from hil.inference.folding import NormFold, fold_of
from hil.inference.geometry import Geometry, geometry_of, repeated_rows, weight_matrix
from hil.inference.observing import LayerInputs, observe_inputs
from hil.inference.tracing import analog_names, calls_of, trace
from hil.mapping import EncodedWeights, Scaling, encode_weights

__all__ = ["AnalogLayer", "NetworkPlan", "PlanSettings", "plan_network"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]

UNITS = 127
"""Weight levels that a unit of the accumulator counts in if weights are not rounded."""


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How a network is prepared.

    Attributes:
        scaling: What the largest conductance stands for.
        weight_levels: Levels per polarity that weights are rounded to (127: signed 8 bit);
            None leaves them as they are, and then no integer reference exists.
        input_levels: Highest input code.
        range_quantile: Quantile of a layer's |inputs| that becomes its highest input code.
        fill_rows: A layer of few rows has its weights written as often as this many rows hold, and
            each input drives all its copies in the same MVM: programming error and noise fall with
            the root of the copies, at no more MVMs and cols. 0 writes every weight once.
        sample_vectors: Input vectors kept per layer, for ranges and calibration.
        digital: Layers to keep on the host.
    """

    scaling: Scaling = Scaling.PER_COLUMN
    weight_levels: int | None = 127
    input_levels: int = 127
    range_quantile: float = 0.99995
    fill_rows: int = 0
    sample_vectors: int = 1000
    digital: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.5 <= self.range_quantile <= 1.0:
            raise RequestError(f"range_quantile {self.range_quantile} is outside 0.5...1")
        for name, least, most in (
            ("input_levels", 1, 32767),
            ("fill_rows", 0, 1_000_000),
            ("sample_vectors", 2, 1_000_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise RequestError(f"{name} {value} is outside {least}...{most}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AnalogLayer:
    """A layer whose products the array makes.

    Attributes:
        name: Name in the network.
        kind: "Conv2d", "Linear", ...
        geometry: Activations to vectors and back.
        encoded: Its weights (batch-norm folded in), all copies of the rows, (rows, cols).
        bias: Digital bias (batch-norm folded in), (cols,).
        input_range: |input| of the highest input code.
        input_levels: Highest input code.
        samples: Representative input codes, (n, rows) int16.
        norm: Statistics that its batch-norm gave the outputs; None if there is none to restore.
    """

    name: str
    kind: str
    geometry: Geometry
    encoded: EncodedWeights
    bias: Array
    input_range: float
    input_levels: int
    samples: Codes
    norm: NormTarget | None

    @property
    def rows(self) -> int:
        """Input lines."""
        return self.encoded.rows

    @property
    def cols(self) -> int:
        """Output lines."""
        return self.encoded.cols

    @property
    def units(self) -> int:
        """Units of the accumulator at full conductance and input code 1."""
        return self.encoded.levels or UNITS

    @property
    def weight_codes(self) -> Array:
        """Weights in units: integers if the weights were rounded, (rows, cols) float64."""
        codes = self.encoded.fraction * self.units
        return codes if self.encoded.levels is None else np.rint(codes)

    @property
    def weight_per_unit(self) -> Array:
        """Weight of one unit of the sum over all copies, (cols,)."""
        return self.encoded.scale / (self.units * self.geometry.copies)

    @property
    def input_per_code(self) -> float:
        """Input of one input code."""
        return self.input_range / self.input_levels


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkPlan:
    """A network ready for an array.

    Attributes:
        graph: The traced network; analog layers are called by name.
        layers: Analog layers, in the order of their first call.
        passed: Modules that pass their input on (folded batch-norms).
        input_shape: Shape of one input.
        dtype: Float type of the digital part.
        settings: How it was prepared.
    """

    graph: fx.GraphModule
    layers: Mapping[str, AnalogLayer]
    passed: frozenset[str]
    input_shape: tuple[int, ...]
    dtype: torch.dtype
    settings: PlanSettings = field(default_factory=PlanSettings)

    @property
    def weights(self) -> int:
        """Weights of all layers, each counted once."""
        return sum(
            layer.encoded.fraction.size // layer.geometry.copies for layer in self.layers.values()
        )

    @property
    def cells(self) -> int:
        """Cells that all layers need, copies included."""
        return sum(layer.encoded.fraction.size for layer in self.layers.values())

    def check_images(self, images: Tensor) -> Tensor:
        """Return images (batch, *input_shape) in the plan's dtype, on the CPU.

        Raises:
            RequestError: Another shape, not floats, or not finite.
        """
        return checked_images(images, self.input_shape, self.dtype)


def plan_network(
    module: nn.Module, samples: Tensor, settings: PlanSettings | None = None
) -> NetworkPlan:
    """Prepare a trained network: analog layers, folded batch-norms, input ranges.

    The module is not changed. Batch-norm is folded where its layer feeds nothing else.

    Args:
        module: Any traceable network with one input and one output tensor.
        samples: Representative inputs (batch, ...), unlabelled; they set the input ranges.
        settings: How to prepare it.

    Raises:
        RequestError: The network or the samples cannot be used; the sentence says why.
    """
    chosen = settings or PlanSettings()
    graph = trace(module)
    names = analog_names(graph, chosen.digital)
    dtype = next((p.dtype for p in graph.parameters() if p.is_floating_point()), torch.float32)
    if not isinstance(samples, Tensor) or samples.ndim < 2 or samples.shape[0] < 1:
        shape = tuple(samples.shape) if isinstance(samples, Tensor) else type(samples).__name__
        raise RequestError(f"samples are {shape}; give a tensor (batch >= 1, ...)")
    samples = checked_images(samples, tuple(samples.shape[1:]), dtype)
    inputs = observe_inputs(graph, names, samples, chosen.sample_vectors)
    layers: dict[str, AnalogLayer] = {}
    passed: set[str] = set()
    for name in names:
        if name not in inputs:
            continue
        fold = fold_of(graph, name, inputs[name].output_ndim)
        layers[name] = _layer(graph, name, inputs[name], fold, chosen)
        if fold is not None:
            passed.add(fold.name)
    return NetworkPlan(
        graph=graph,
        layers=MappingProxyType(layers),
        passed=frozenset(passed),
        input_shape=tuple(samples.shape[1:]),
        dtype=dtype,
        settings=chosen,
    )


def checked_images(images: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return images (batch, *shape) in `dtype` on the CPU, or refuse them."""
    if not isinstance(images, Tensor):
        raise RequestError(f"images are {type(images).__name__}; give a torch tensor")
    if not images.is_floating_point():
        raise RequestError(f"images have dtype {images.dtype}; give floats, normalised as trained")
    if tuple(images.shape[1:]) != shape or images.ndim < 1:
        wanted = ", ".join(["batch", *map(str, shape)])
        raise RequestError(f"images have shape {tuple(images.shape)}; ({wanted}) is needed")
    bad = int((~torch.isfinite(images)).sum())
    if bad:
        raise RequestError(f"images hold {bad} values that are NaN or infinite; give finite ones")
    return images.detach().to("cpu", dtype)


def _layer(
    graph: fx.GraphModule,
    name: str,
    seen: LayerInputs,
    fold: NormFold | None,
    settings: PlanSettings,
) -> AnalogLayer:
    module = graph.get_submodule(name)
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)  # noqa: S101 - by analog_names
    weights = weight_matrix(module)
    bias = np.zeros(weights.shape[1])
    if module.bias is not None:
        bias = module.bias.detach().to(torch.float64).numpy().copy()
    norm = None
    if fold is not None:
        weights, bias = weights * fold.scale, bias * fold.scale + fold.offset
        norm = fold.target if len(calls_of(graph, name)) == 1 else None
    if not np.isfinite(bias).all():
        raise RequestError(f"layer {name!r}: its bias holds NaN or infinity; give a sound network")
    input_range = _input_range(seen.vectors, settings.range_quantile)
    codes = quantise(seen.vectors, input_range, settings.input_levels).numpy()
    geometry = repeated_rows(geometry_of(module), settings.fill_rows)
    encoded = encode_weights(
        weights,
        scaling=settings.scaling,
        levels=settings.weight_levels,
        name=f"layer {name!r}",
    )
    return AnalogLayer(
        name=name,
        kind=type(module).__name__,
        geometry=geometry,
        encoded=replace(encoded, fraction=np.tile(encoded.fraction, (geometry.copies, 1))),
        bias=bias,
        input_range=input_range,
        input_levels=settings.input_levels,
        samples=np.tile(codes, (1, geometry.copies)),
        norm=norm,
    )


def _input_range(vectors: Tensor, quantile: float) -> float:
    """Quantile of |values| over vectors that are not all zero; 1 if every vector is."""
    values = vectors.abs().to(torch.float64).numpy()
    values = values[values.any(axis=1)]
    found = float(np.quantile(values, quantile)) if values.size else 0.0
    return found or float(values.max(initial=0.0)) or 1.0
