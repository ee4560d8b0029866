"""Paired differences of right answers: mean, 95 % intervals over chips and over samples.

The same samples are answered two ways on the same chips, so what a chip or a sample is worth by
itself cancels. Pure numpy; knows no experiment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from hil.errors import RequestError
from hil.metrics import confidence_interval_95

__all__ = ["PairedDifference", "paired_difference"]

Z_95 = 1.959964
"""97.5 % quantile of the normal distribution."""
PSEUDO_SAMPLES = 2
"""Samples added to an interval over samples, of which half a one each way differs (Agresti & Min,
Stat. Med. 24, 729 (2005)): a few samples without any difference still leave a width."""
LEAST_HALF = 1e-12
"""Half-widths below this are rounding."""

Right = npt.NDArray[np.bool_]


class PairedDifference(BaseModel):
    """Accuracy one way minus accuracy another way, as fractions.

    Attributes:
        chips, samples: How many of each.
        mean: The difference; above 0 where the first way is better.
        chips_half: Half-width of the 95 % interval over chips (Student t on the chips' differences;
            for these samples); None for one chip, and where all chips differ by the same amount:
            they then say nothing of their spread.
        samples_low, samples_high: 95 % interval over samples (for these chips; the answers of all
            chips to a sample count once).
        better, worse: Answers that only the first, only the second way got right, over all chips.
        excludes_zero: Whether low...high does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chips: int
    samples: int
    mean: float
    chips_half: float | None
    samples_low: float
    samples_high: float
    better: int
    worse: int
    excludes_zero: bool

    @property
    def low(self) -> float:
        """Lower end of the interval over chips; of that over samples where there is none."""
        return self.samples_low if self.chips_half is None else self.mean - self.chips_half

    @property
    def high(self) -> float:
        """Upper end, likewise."""
        return self.samples_high if self.chips_half is None else self.mean + self.chips_half


def paired_difference(right: Right, other: Right) -> PairedDifference:
    """Compare right answers, both (chips, samples), with those another way.

    Raises:
        RequestError: The shapes differ, or there is no answer.
    """
    if right.shape != other.shape or right.ndim != 2 or right.size == 0:
        raise RequestError(
            f"right answers of shape {right.shape} and {other.shape} cannot be paired; give two "
            "equal (chips, samples) arrays"
        )
    d = right.astype(np.float64) - other.astype(np.float64)
    chips, samples = d.shape
    mean, half = confidence_interval_95(d.mean(axis=1))
    spread = chips > 1 and half > LEAST_HALF
    low, high = _over_samples(d.mean(axis=0))
    lowest, highest = (mean - half, mean + half) if spread else (low, high)
    return PairedDifference(
        chips=chips,
        samples=samples,
        mean=mean,
        chips_half=half if spread else None,
        samples_low=low,
        samples_high=high,
        better=int((d > 0).sum()),
        worse=int((d < 0).sum()),
        excludes_zero=not lowest <= 0.0 <= highest,
    )


def _over_samples(d: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of d (samples,), each within -1...1."""
    n = d.size + PSEUDO_SAMPLES
    mean = float(d.sum()) / n
    variance = (float(d @ d) + PSEUDO_SAMPLES / 2) / n - mean**2
    half = Z_95 * float(np.sqrt(max(0.0, variance) / n))
    return max(-1.0, mean - half), min(1.0, mean + half)
