"""AnalogNet-KWS: five dense convolutions, average pooling and a dense layer. Knows no data.

The six-layer keyword spotter of AnalogNets (Zhou et al., arXiv 2111.06503): MicroNet-KWS-S (arXiv
2010.11267) with dense 3x3 convolutions in place of its depthwise-separable blocks, because a
depthwise layer is block-diagonal on a crossbar: mostly empty cells.
"""

from __future__ import annotations

from typing import Annotated, Self

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

__all__ = ["AnalogNet", "AnalogNetArguments"]

Width = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=1024)]


class AnalogNetArguments(BaseModel):
    """What an AnalogNet is made from.

    Attributes:
        image_shape: Channels, frames, coefficients of the input.
        first_kernel: Frames, coefficients under the kernel of the first convolution.
        channels: Output channels of the five convolutions.
        classes: Outputs of the dense layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: tuple[Width, Side, Side] = (1, 49, 10)
    first_kernel: tuple[Side, Side] = (10, 4)
    channels: tuple[Width, Width, Width, Width, Width] = (84, 112, 84, 84, 84)
    classes: Width = 12

    @model_validator(mode="after")
    def _check(self) -> Self:
        frames, coefficients = self.image_shape[1:]
        if frames < self.first_kernel[0] or coefficients < self.first_kernel[1]:
            raise ValueError(
                f"first_kernel {self.first_kernel} is larger than its input {frames}x{coefficients}"
            )
        return self

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """Frames, coefficients that the average pooling sees: half, rounded up."""
        _, frames, coefficients = self.image_shape
        return (frames + 1) // 2, (coefficients + 1) // 2


class AnalogNet(nn.Module):
    """AnalogNet with batch-norm and ReLU after each convolution, no conv bias.

    The first convolution keeps the size of its input (more zeros behind than before where its
    kernel is even), the second has stride 2.
    """

    def __init__(self, arguments: AnalogNetArguments) -> None:
        super().__init__()
        tall, wide = (k - 1 for k in arguments.first_kernel)
        self.border = nn.ZeroPad2d((wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        inputs, widths = arguments.image_shape[0], arguments.channels
        self.conv0 = nn.Conv2d(inputs, widths[0], arguments.first_kernel, bias=False)
        self.conv1 = _conv3x3(widths[0], widths[1], stride=2)
        self.conv2 = _conv3x3(widths[1], widths[2])
        self.conv3 = _conv3x3(widths[2], widths[3])
        self.conv4 = _conv3x3(widths[3], widths[4])
        self.norm0, self.norm1, self.norm2, self.norm3, self.norm4 = map(nn.BatchNorm2d, widths)
        self.pool = nn.AvgPool2d(arguments.pooled_shape)
        self.dense = nn.Linear(widths[4], arguments.classes)

    @override
    def forward(
        self, images: Float[Tensor, "batch channels frames coefficients"]
    ) -> Float[Tensor, "batch classes"]:
        """Compute logits."""
        x = functional.relu(self.norm0(self.conv0(self.border(images))))
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)))
        x = functional.relu(self.norm3(self.conv3(x)))
        x = functional.relu(self.norm4(self.conv4(x)))
        logits: Tensor = self.dense(self.pool(x).flatten(1))
        return logits


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
