"""Networks by name: which architecture, with which arguments. Knows no weights and no data.

A new network of a known architecture is one line in `_NETWORKS`; a new architecture is one file
and one line in `_ARCHITECTURES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from hil.errors import RequestError
from hil.training.networks.analognet import AnalogNet, AnalogNetArguments
from hil.training.networks.mlp import Mlp, MlpArguments
from hil.training.networks.resnet9 import ResNet9, ResNet9Arguments

__all__ = ["NetworkSpec", "build_network", "initialise_", "network_names", "network_spec"]


class NetworkSpec(BaseModel):
    """A network as a document: enough to build it, without its weights.

    Attributes:
        name: Name it goes by.
        architecture: Key of the architecture.
        arguments: Its arguments, as JSON values.
        image_shape: Channels, height, width of one input image.
        classes: Number of outputs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    arguments: dict[str, Any]
    image_shape: tuple[int, int, int]
    classes: int


Arguments = ResNet9Arguments | AnalogNetArguments | MlpArguments


@dataclass(frozen=True)
class _Architecture:
    arguments: type[Arguments]
    build: Callable[[Any], nn.Module]


_ARCHITECTURES = {
    "resnet9": _Architecture(ResNet9Arguments, ResNet9),
    "analognet": _Architecture(AnalogNetArguments, AnalogNet),
    "mlp": _Architecture(MlpArguments, Mlp),
}

_NETWORKS: dict[str, tuple[str, Arguments]] = {
    # 28 channels are 252 rows: in blocks of 252 rows all layers take 430 of the 512 cols of two
    # 256x256 cores. Widths of the candidate for the two-core network of JSSC 57, 1027 (2022).
    "resnet9-digits": (
        "resnet9",
        ResNet9Arguments(image_shape=(1, 8, 8), channels=(28, 28, 28, 56), pools=(2, 2, 1, 2)),
    ),
    # The candidate itself: 100,726 parameters on 32x32 images.
    "resnet9-cifar10": (
        "resnet9",
        ResNet9Arguments(image_shape=(3, 32, 32), channels=(28, 28, 28, 56), pools=(2, 2, 2, 4)),
    ),
    # 1,866,536 weights, as run on 64 cores (Le Gallo et al., Nat. Electron. 6, 680 (2023)).
    "resnet9-cifar10-wide": (
        "resnet9",
        ResNet9Arguments(image_shape=(3, 32, 32), channels=(56, 112, 224, 224), pools=(2, 2, 2, 4)),
    ),
    # 300,720 weights, 57.36 % of a 1024x512 array: the keyword spotter of arXiv 2111.06503.
    "analognet-kws": ("analognet", AnalogNetArguments()),
    "analognet-digits": ("analognet", AnalogNetArguments(classes=10)),
    "mlp-digits": ("mlp", MlpArguments(image_shape=(1, 8, 8), hidden=(64,))),
    # 784-240-10 as run on two HERMES cores (JSSC 57, 1027 (2022)).
    "mlp-mnist": ("mlp", MlpArguments(image_shape=(1, 28, 28), hidden=(240,))),
}


def network_names() -> tuple[str, ...]:
    """Names that `network_spec` knows."""
    return tuple(sorted(_NETWORKS))


def network_spec(name: str) -> NetworkSpec:
    """Look up a network by name.

    Raises:
        RequestError: Unknown name; the message lists the known ones.
    """
    if name not in _NETWORKS:
        raise RequestError(
            f"network {name!r} is not known; known: {', '.join(network_names())}", network=name
        )
    architecture, arguments = _NETWORKS[name]
    return NetworkSpec(
        name=name,
        architecture=architecture,
        arguments=arguments.model_dump(mode="json"),
        image_shape=arguments.image_shape,
        classes=arguments.classes,
    )


def build_network(spec: NetworkSpec, *, device: str = "cpu") -> nn.Module:
    """Build the module a spec describes; its weights are not meaningful yet.

    Leaves torch's global generator as it was. On device "meta" only shapes exist, no memory.

    Raises:
        RequestError: Unknown architecture, arguments it refuses, or a spec at odds with itself.
    """
    if spec.architecture not in _ARCHITECTURES:
        raise RequestError(
            f"architecture {spec.architecture!r} of network {spec.name!r} is not known; "
            f"known: {', '.join(_ARCHITECTURES)}",
            architecture=spec.architecture,
        )
    architecture = _ARCHITECTURES[spec.architecture]
    try:
        arguments = architecture.arguments.model_validate(spec.arguments)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "arguments"
        raise RequestError(
            f"network {spec.name!r}: {place} = {first['input']!r} is refused: {first['msg']}",
            network=spec.name,
        ) from error
    if (arguments.image_shape, arguments.classes) != (spec.image_shape, spec.classes):
        raise RequestError(
            f"network {spec.name!r} says images {spec.image_shape} and {spec.classes} classes, but "
            f"its arguments say {arguments.image_shape} and {arguments.classes}",
            network=spec.name,
        )
    with torch.random.fork_rng(devices=[]), torch.device(device):  # layers draw from it at birth
        return architecture.build(arguments)


def initialise_(module: nn.Module, generator: torch.Generator) -> None:
    """Draw initial weights of convolutions and linear layers in place: He normal, bias 0."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                fan_in = math.prod(layer.weight.shape[1:])
                draw = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(draw * math.sqrt(2 / fan_in))
                if layer.bias is not None:
                    layer.bias.zero_()
