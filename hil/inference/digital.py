"""Digital arithmetic around the array: quantise, accumulate, scale, renormalise. No chip, no graph.

The quantised reference and the chip share this path, so that equal products give equal outputs to
the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = [
    "ACCUMULATOR_STEPS",
    "NormCorrection",
    "NormTarget",
    "accumulate",
    "quantise",
    "scale_outputs",
]

Array = npt.NDArray[np.float64]

ACCUMULATOR_STEPS = 65536.0
"""Steps of the digital accumulator per unit (one weight code times one input code): finer than any
converter, coarser than float64's rounding, so that integer products stay exact integers however
they were split, scaled to siemens and added."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormTarget:
    """Mean and standard deviation that batch-norm gave each output in training, (cols,)."""

    mean: Array
    std: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class NormCorrection:
    """Per-col correction that restores a `NormTarget`: output * scale + offset; both (cols,)."""

    scale: Array
    offset: Array

    @classmethod
    def between(cls, outputs: Array, target: NormTarget) -> NormCorrection:
        """Return what brings outputs (n, cols) to the target's statistics (AdaBS).

        A col whose outputs or target do not vary keeps its scale and gets the target's mean.
        Source: Joshi et al., Nat. Commun. 11, 2473 (2020).
        """
        mean, std = outputs.mean(axis=0), outputs.std(axis=0)
        live = (std > 0) & (target.std > 0)
        scale = np.where(live, target.std / np.where(live, std, 1.0), 1.0)
        return cls(scale=scale, offset=target.mean - scale * mean)


def quantise(x: Tensor, input_range: float, levels: int) -> Int[Tensor, "*shape"]:
    """Return input codes round(clip(levels * x / range)), int16, the shape of x."""
    codes = x.to(torch.float64) * (levels / input_range)
    return codes.round_().clamp_(-levels, levels).to(torch.int16)


def accumulate(units: Array) -> Array:
    """Return sums of products, in units of weight code times input code, as accumulator steps."""
    steps = units * ACCUMULATOR_STEPS
    return np.rint(steps, out=steps)


def scale_outputs(
    steps: Array, weight_per_unit: Array, input_per_code: float, bias: Array
) -> Array:
    """Return outputs (n, cols) of accumulator steps: units * weight * input + bias, per col."""
    # The steps of a unit are a power of two: to divide by them rounds nothing.
    outputs = steps * (weight_per_unit * input_per_code / ACCUMULATOR_STEPS)
    outputs += bias
    return outputs
