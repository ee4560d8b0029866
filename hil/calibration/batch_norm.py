"""AdaBS: restore per-channel statistics that drift has moved, from few measured outputs. Host only.

Batch-norm standardises a layer's outputs with statistics taken in training. On a drifted array the
outputs have others; re-estimating them on few samples (Joshi et al. 2020: 2,600 images of CIFAR-10)
brings mean and standard deviation of every channel back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.calibration.base import (
    Array,
    BoolArray,
    Judgement,
    Measurement,
    Seen,
    Setup,
    Stimulus,
    Values,
)
from hil.calibration.search import Knob
from hil.errors import RequestError
from hil.info import CoreInfo
from hil.metrics import AffineFit

__all__ = ["BatchNormStatistics", "ChannelMoments", "restore_statistics"]

LOWEST_SPREAD = 1e-12
"""A standard deviation below this share of the mean is rounding, not signal."""
KNOB_MARGIN = 2.0
"""Knob limits over the largest value looked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelMoments:
    """Count, mean and variance per channel, (channels,); batches merge without loss."""

    count: int
    mean: Array
    variance: Array

    @classmethod
    def of(cls, outputs: npt.ArrayLike) -> Self:
        """Take the moments of (samples, channels); a convolution gives its places as samples."""
        given = np.asarray(outputs, np.float64)
        if given.ndim != 2 or given.shape[0] < 1:
            raise RequestError(f"outputs have shape {given.shape}; give (samples >= 1, channels)")
        if not np.isfinite(given).all():
            raise RequestError("outputs hold NaN or infinity; give finite outputs")
        return cls(count=given.shape[0], mean=given.mean(axis=0), variance=given.var(axis=0))

    def merge(self, other: ChannelMoments) -> ChannelMoments:
        """Return the moments of both sets of samples together (Chan's update)."""
        if self.mean.shape != other.mean.shape:
            raise RequestError(
                f"moments of {self.mean.size} and {other.mean.size} channels do not merge"
            )
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance
        return ChannelMoments(
            count=count,
            mean=self.mean + share * apart,
            variance=variance + share * (1 - share) * apart**2,
        )

    @property
    def std(self) -> Array:
        """Standard deviation per channel."""
        return np.sqrt(self.variance)


def restore_statistics(measured: ChannelMoments, mean: Array, std: Array) -> AffineFit:
    """Return the affine that gives outputs of `measured` the stored mean and std per channel.

    A channel whose measured output does not vary keeps scale 1, gets the stored mean, and is
    marked as not successful unless it was stored without variation.

    Args:
        measured: Moments of the outputs as they are.
        mean, std: As they should be, (channels,), std >= 0.
    """
    shape = measured.mean.shape
    if mean.shape != shape or std.shape != shape:
        raise RequestError(f"stored mean {mean.shape} and std {std.shape} must both be {shape}")
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
        raise RequestError("stored mean and std must be finite, and std not negative")
    varies = measured.std > LOWEST_SPREAD * np.abs(measured.mean)
    scale = np.where(varies, std / np.where(varies, measured.std, 1.0), 1.0)
    return AffineFit(scale=scale, offset=mean - scale * measured.mean, success=varies | (std == 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNormStatistics(Measurement):
    """Affine per channel that restores stored statistics: restored = `scale` * output + `offset`.

    Outputs may be in any unit (that of the layer's output after its own correction). The residual
    is the larger deviation left of mean and standard deviation, in that unit.

    Attributes:
        measured: Moments of the outputs on the chip now.
        mean, std: Stored with the network, (channels,).
    """

    kind = "batch_norm"
    depends_on = ("output_range", "gain_trim", "offset_trim")
    prerequisites = ("column_affine",)
    of_cells = True
    measured: ChannelMoments
    mean: Array
    std: Array

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        fit = restore_statistics(self.measured, self.mean, self.std)
        high = KNOB_MARGIN * max(1.0, float(np.max(fit.scale, initial=1.0)))
        limit = KNOB_MARGIN * max(1.0, float(np.max(np.abs(fit.offset), initial=1.0)))
        return (
            Knob(name="scale", unit="1", low=0.0, high=high, neutral=1.0),
            Knob(name="offset", unit="output", low=-limit, high=limit),
        )

    @override
    def instances(self, info: CoreInfo) -> int:
        return self.mean.size

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        return Stimulus.none()

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        if knob == "scale":
            return values["scale"] - restore_statistics(self.measured, self.mean, self.std).scale
        return values["scale"] * self.measured.mean + values["offset"] - self.mean

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        mean_left = values["scale"] * self.measured.mean + values["offset"] - self.mean
        std_left = values["scale"] * self.measured.std - self.std
        fit = restore_statistics(self.measured, self.mean, self.std)
        return Judgement(
            residual=np.maximum(np.abs(mean_left), np.abs(std_left)),
            unit="output",
            success=fit.success & found["scale"] & found["offset"],
        )
