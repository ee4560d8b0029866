"""CIFAR-10 images: quantised DCT coefficients of JPEG files to 8-bit pixels, pixels to inputs.

Images: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). The file
keeps what a baseline JPEG of quality 75 keeps (8x8 blocks, chroma halved in both directions), so
pixels differ from the originals by 7.6 of 255 RMS. Decoding follows ITU-T T.81 with the colour
space of JFIF 1.02 and linear interpolation of the chroma.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["SIDE", "decode_blocks", "normalise"]

MEAN = (0.4914, 0.4822, 0.4465)
"""Mean of each colour over the training images, full scale 1: what a border of zeros stands for."""
STD = (0.2470, 0.2435, 0.2616)
"""Standard deviation of each colour, likewise."""
SIDE = 32
BLOCK = 8
CENTRE = 128
CHUNK = 2048
"""Images decoded at a time: 0.2 GB of intermediate values."""

Coefficients = npt.NDArray[np.int16]


def decode_blocks(
    luma: Coefficients,
    chroma: Coefficients,
    luma_table: npt.NDArray[np.uint16],
    chroma_table: npt.NDArray[np.uint16],
) -> npt.NDArray[np.uint8]:
    """Decode coefficients to pixels, (n, 3, 32, 32) uint8.

    Args:
        luma: (64, n, 16): coefficient 8u + v (u vertical frequency), image, block (4 rows of 4).
        chroma: (64, n, 8): likewise; blocks 0...3 are Cb (2 rows of 2), 4...7 are Cr.
        luma_table, chroma_table: Quantisation tables, (8, 8).
    """
    pixels = np.empty((luma.shape[1], 3, SIDE, SIDE), np.uint8)
    for start in range(0, len(pixels), CHUNK):
        part = slice(start, start + CHUNK)
        y = _plane(luma[:, part], luma_table, SIDE // BLOCK)
        cb, cr = (
            _doubled(_doubled(_plane(half, chroma_table, SIDE // BLOCK // 2), 1), 2) - CENTRE
            for half in (chroma[:, part, :4], chroma[:, part, 4:])
        )
        colours = (y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)
        pixels[part] = np.clip(np.rint(np.stack(colours, axis=1)), 0, 255)
    return pixels


def normalise(pixels: Tensor) -> Tensor:
    """Turn 8-bit pixels (n, 3, height, width) into inputs of mean 0 and deviation 1 per colour."""
    mean, std = (torch.tensor(v, device=pixels.device).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels.to(torch.float32) / 255 - mean) / std


def _plane(
    coefficients: Coefficients, table: npt.NDArray[np.uint16], blocks: int
) -> npt.NDArray[np.float64]:
    """Inverse DCT of (64, n, blocks^2) to one colour plane (n, 8 blocks, 8 blocks), 0...255."""
    k = np.arange(BLOCK)
    basis = np.cos((2 * k[:, None] + 1) * k * np.pi / (2 * BLOCK))
    basis *= np.where(k > 0, 0.5, np.sqrt(1 / BLOCK))
    images = coefficients.shape[1]
    scaled = coefficients * table.reshape(-1, 1, 1).astype(np.float64)
    scaled = scaled.reshape(BLOCK, BLOCK, images, blocks, blocks)
    levels = np.einsum("xu,yv,uvnij->nixjy", basis, basis, scaled, optimize=True) + CENTRE
    side = BLOCK * blocks
    return np.asarray(np.clip(np.rint(levels.reshape(images, side, side)), 0, 255))


def _doubled(plane: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Double one axis: each new sample is 3/4 its own old one and 1/4 the nearest other."""
    before = np.concatenate([plane.take([0], axis), plane], axis).take(
        range(plane.shape[axis]), axis
    )
    after = np.concatenate([plane, plane.take([-1], axis)], axis).take(
        range(1, plane.shape[axis] + 1), axis
    )
    pair = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
    shape = list(plane.shape)
    shape[axis] *= 2
    return pair.reshape(shape)
