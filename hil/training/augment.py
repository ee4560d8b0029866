"""Image augmentation: one random shift, turn and zoom per image. Knows no data set."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

__all__ = ["Augmentation", "augment"]


class Augmentation(BaseModel):
    """Largest change per image; each is drawn uniformly up to it, in both directions.

    Attributes:
        shift_pixels: Shift along each axis, in pixels.
        rotate_degrees: Rotation about the centre, in degrees.
        zoom: Relative change of size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift_pixels: float = Field(default=0.7, ge=0, le=64)
    rotate_degrees: float = Field(default=8.0, ge=0, le=180)
    zoom: float = Field(default=0.08, ge=0, lt=1)


def augment(
    images: Float[Tensor, "n channels height width"],
    settings: Augmentation,
    generator: torch.Generator,
) -> Float[Tensor, "n channels height width"]:
    """Return changed copies, bilinear, background 0. Draws four CPU numbers per image."""
    count, _, height, width = images.shape
    draw = 2 * torch.rand(count, 4, generator=generator) - 1
    angle = torch.deg2rad(settings.rotate_degrees * draw[:, 0])
    size = 1 + settings.zoom * draw[:, 1]
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    # affine_grid works in units of half an image, so a turn must be scaled by the aspect ratio.
    aspect = height / width
    shift_x = settings.shift_pixels * draw[:, 2] * 2 / width
    shift_y = settings.shift_pixels * draw[:, 3] * 2 / height
    rows = [cos, -sin * aspect, shift_x, sin / aspect, cos, shift_y]
    theta = torch.stack(rows, dim=1).reshape(count, 2, 3).to(images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
