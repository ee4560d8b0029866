"""What makes training hardware-aware: weight clipping and weight noise. Knows no chip.

Source: Joshi et al., Nat. Commun. 11, 2473 (2020): additive Gaussian noise in the forward pass,
sigma = eta W_max per layer, with weights clipped at alpha sigma_W of their layer. Left out:
state-dependent noise, converters and drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hil.errors import RequestError

__all__ = ["analog_layers", "clip_weights_", "draw_noise", "weight_noise"]

AnalogLayer = nn.Linear | nn.Conv1d | nn.Conv2d


def analog_layers(module: nn.Module) -> dict[str, AnalogLayer]:
    """Find the layers whose weights go onto an array, by their dotted name; each one once."""
    found: dict[str, AnalogLayer] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, AnalogLayer):
            if not isinstance(layer, nn.Linear) and layer.padding_mode != "zeros":
                raise RequestError(
                    f"layer {name!r} pads with {layer.padding_mode!r}; only 'zeros' is supported"
                )
            found[name] = layer
    return found


def clip_weights_(module: nn.Module, clip_sigma: float) -> None:
    """Clip the weights of every analog layer in place at ± clip_sigma of its own std.

    Done after every step: a narrow distribution uses more of the conductance range, so the same
    programming error weighs less.
    """
    with torch.no_grad():
        for layer in analog_layers(module).values():
            bound = clip_sigma * layer.weight.std(correction=0)
            layer.weight.copy_(torch.clamp(layer.weight, -bound, bound))


def draw_noise(module: nn.Module, eta: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw one Gaussian noise tensor per analog layer, std = eta max|w| of the layer.

    Numbers are drawn on the CPU: a seed means the same noise on every device.
    """
    noise = {}
    for name, layer in analog_layers(module).items():
        weight = layer.weight.detach()
        unit = torch.randn(weight.shape, generator=generator).to(weight)
        noise[name] = eta * weight.abs().max() * unit
    return noise


@contextmanager
def weight_noise(module: nn.Module, eta: float, generator: torch.Generator) -> Iterator[None]:
    """Add one draw of weight noise to every forward pass within the context.

    Straight-through: the noisy part is added to each layer's output outside the gradient graph,
    so the backward pass sees the clean weights, and the module's parameters are never touched.
    """
    layers = analog_layers(module)
    with ExitStack() as stack:
        for name, noise in draw_noise(module, eta, generator).items():
            handle = layers[name].register_forward_hook(partial(_add_noise, noise))
            stack.callback(handle.remove)
        yield


def _add_noise(
    noise: Tensor, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    with torch.no_grad():
        match layer:
            case nn.Linear():
                extra = functional.linear(inputs[0], noise)
            case nn.Conv1d():
                extra = functional.conv1d(
                    inputs[0],
                    noise,
                    None,
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                    layer.groups,
                )
            case nn.Conv2d():
                extra = functional.conv2d(
                    inputs[0],
                    noise,
                    None,
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                    layer.groups,
                )
            case _:
                raise TypeError(f"{type(layer).__name__} is no analog layer")
    return output + extra
