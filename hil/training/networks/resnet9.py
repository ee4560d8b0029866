"""ResNet-9: eight convolutions and a dense layer, of any width and image shape. Knows no data.

Topology as run on HERMES-type chips (Khaddam-Aljameh et al., JSSC 57, 1027 (2022); Le Gallo et
al., Nat. Electron. 6, 680 (2023)); the widths are arguments, because the cores at hand set them.
"""

from __future__ import annotations

from typing import Annotated, Self

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

__all__ = ["ResNet9", "ResNet9Arguments"]

Width = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=1024)]


class ResNet9Arguments(BaseModel):
    """What a ResNet-9 is made from.

    Attributes:
        image_shape: Channels, height, width of the input.
        channels: Output channels of conv0, of conv1...conv3, of conv4, of conv5...conv7.
        pools: Max-pooling window and stride after conv1, conv4, conv5 and conv7; 1 is none.
        classes: Outputs of the dense layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: tuple[Width, Side, Side]
    channels: tuple[Width, Width, Width, Width]
    pools: tuple[Side, Side, Side, Side]
    classes: Width = 10

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.final_shape) < 1:
            raise ValueError(
                f"pools {self.pools} shrink a {self.image_shape[1]}x{self.image_shape[2]} image "
                f"to nothing; make them smaller"
            )
        return self

    @property
    def final_shape(self) -> tuple[int, int]:
        """Height and width after the last pooling."""
        _, height, width = self.image_shape
        for pool in self.pools:
            height, width = height // pool, width // pool
        return height, width


class ResNet9(nn.Module):
    """ResNet-9 with batch-norm and ReLU after each convolution, 3x3, padding 1, no conv bias.

    Rows a convolution needs on an array: 9 times its input channels.
    """

    def __init__(self, arguments: ResNet9Arguments) -> None:
        super().__init__()
        width0, width1, width4, width5 = arguments.channels
        self.conv0, self.norm0 = _conv_norm(arguments.image_shape[0], width0)
        self.conv1, self.norm1 = _conv_norm(width0, width1)
        self.conv2, self.norm2 = _conv_norm(width1, width1)
        self.conv3, self.norm3 = _conv_norm(width1, width1)
        self.conv4, self.norm4 = _conv_norm(width1, width4)
        self.conv5, self.norm5 = _conv_norm(width4, width5)
        self.conv6, self.norm6 = _conv_norm(width5, width5)
        self.conv7, self.norm7 = _conv_norm(width5, width5)
        self.pool1, self.pool4, self.pool5, self.pool7 = (_pool(p) for p in arguments.pools)
        height, width = arguments.final_shape
        self.dense = nn.Linear(width5 * height * width, arguments.classes)

    @override
    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Compute logits."""
        x = functional.relu(self.norm0(self.conv0(images)))
        x = self.pool1(functional.relu(self.norm1(self.conv1(x))))
        inner = functional.relu(self.norm2(self.conv2(x)))
        x = x + functional.relu(self.norm3(self.conv3(inner)))
        x = self.pool4(functional.relu(self.norm4(self.conv4(x))))
        x = self.pool5(functional.relu(self.norm5(self.conv5(x))))
        inner = functional.relu(self.norm6(self.conv6(x)))
        x = x + functional.relu(self.norm7(self.conv7(inner)))
        logits: Tensor = self.dense(self.pool7(x).flatten(1))
        return logits


def _conv_norm(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)


def _pool(size: int) -> nn.Module:
    return nn.Identity() if size == 1 else nn.MaxPool2d(size)
