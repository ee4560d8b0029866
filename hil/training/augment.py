"""Augmentation of training images: shift, turn and zoom, or crop and flip. Knows no data set."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

__all__ = ["Affine", "CropFlip", "affine", "crop_flip"]


class Affine(BaseModel):
    """Largest change per image; each is drawn uniformly up to it, in both directions.

    Attributes:
        shift_pixels: Shift along each axis, in pixels.
        rotate_degrees: Rotation about the centre, in degrees.
        zoom: Relative change of size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["affine"] = "affine"
    shift_pixels: float = Field(default=0.7, ge=0, le=64)
    rotate_degrees: float = Field(default=8.0, ge=0, le=180)
    zoom: float = Field(default=0.08, ge=0, lt=1)


class CropFlip(BaseModel):
    """Whole-pixel shifts and mirrored images, as usual for photographs.

    Attributes:
        pad_pixels: Border of zeros on each side; a window of the image's size is cut from it.
        flip: Share of the images that are mirrored left to right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["crop_flip"] = "crop_flip"
    pad_pixels: int = Field(default=4, ge=0, le=64)
    flip: float = Field(default=0.5, ge=0, le=1)


def affine(
    images: Float[Tensor, "n channels height width"],
    settings: Affine,
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


def crop_flip(
    images: Float[Tensor, "n channels height width"],
    settings: CropFlip,
    generator: torch.Generator,
) -> Float[Tensor, "n channels height width"]:
    """Return shifted and mirrored copies. Draws three CPU numbers per image."""
    count, channels, height, width = images.shape
    pad = settings.pad_pixels
    padded = functional.pad(images, (pad, pad, pad, pad))
    draw = torch.rand(count, 3, generator=generator)
    top, left = (draw[:, :2] * (2 * pad + 1)).long().to(images.device).T
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    mirrored = (draw[:, 2] < settings.flip).to(images.device)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns) + left[:, None]
    flat = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).reshape(count, 1, -1)
    taken = padded.flatten(2).gather(2, flat.expand(count, channels, height * width))
    return taken.reshape(images.shape)
