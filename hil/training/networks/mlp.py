"""A multi-layer perceptron: linear layers with ReLU between them. Knows no data."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["Mlp", "MlpArguments"]

Width = Annotated[int, Field(ge=1, le=4096)]


class MlpArguments(BaseModel):
    """What an MLP is made from.

    Attributes:
        image_shape: Channels, height, width of the input.
        hidden: Width of each hidden layer, first to last.
        classes: Outputs of the last layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: tuple[Width, Width, Width]
    hidden: tuple[Width, ...] = Field(min_length=1, max_length=16)
    classes: Width = 10


class Mlp(nn.Module):
    """Linear layers `linear0`, `linear1`, ... with bias, ReLU after all but the last."""

    def __init__(self, arguments: MlpArguments) -> None:
        super().__init__()
        widths = (math.prod(arguments.image_shape), *arguments.hidden, arguments.classes)
        self.layers = nn.Sequential(nn.Flatten(1))
        for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            if index > 0:
                self.layers.add_module(f"relu{index}", nn.ReLU())
            self.layers.add_module(f"linear{index}", nn.Linear(inputs, outputs))

    @override
    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Compute logits."""
        logits: Tensor = self.layers(images)
        return logits
