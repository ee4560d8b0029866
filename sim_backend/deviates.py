"""Standard normal deviates in bulk: one per output of an MVM batch. Knows no physics.

torch draws them one after the other on the CPU, at more than half the cost of the matrix product
they are added to. Here 16 random bits choose one of 65,536 equally likely slices of the normal
distribution within 4.17 sigma; a deviate is the mean of its slice, at most 0.2 sigma wide. As many
deviates as belong outside, at random places, are drawn exactly from the tails.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, Int64
from scipy.special import ndtri
from torch import Tensor
from typing_extensions import override

__all__ = ["SLICES", "DeviceNormal", "HostNormal", "NormalSource", "slice_means"]

SLICES = 1 << 16
OUTSIDE = 2.0 / SLICES
"""Probability of a deviate beyond the slices, on either side."""
PER_WORD = 4
"""Deviates from one 64-bit random word."""
ROWS_AT_ONCE = 1024
"""Rows drawn in one go: the table of slices and what is drawn from it share the cache. A longer
draw is the draws of its parts, one after the other."""


@runtime_checkable
class NormalSource(Protocol):
    """A running stream of deviates."""

    def draw(self, rows: int, cols: int) -> Float32[Tensor, "{rows} {cols}"]:
        """Draw the next deviates of the stream."""
        ...

    def state(self) -> Int64[Tensor, " words"]:
        """Where the stream stands, as far as no other generator knows it."""
        ...

    def restore(self, state: Int64[Tensor, " words"]) -> None:
        """Go on from where a stream stood."""
        ...


@final
class HostNormal(NormalSource):
    """Deviates drawn by the CPU."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.SFC64(seed)
        self._rng = np.random.Generator(self._bits)

    @override
    def draw(self, rows: int, cols: int) -> Float32[Tensor, "{rows} {cols}"]:
        """Draw the next deviates."""
        deviates = torch.empty((rows, cols))
        for start in range(0, rows, ROWS_AT_ONCE):
            self._fill(deviates[start : start + ROWS_AT_ONCE].view(-1))
        return deviates

    @override
    def state(self) -> Int64[Tensor, " words"]:
        """The generator's four words, then the half word that it keeps back."""
        now = self._bits.state
        kept = np.array([now["has_uint32"], now["uinteger"]], np.uint64)
        words = np.concatenate([now["state"]["state"], kept])
        return torch.from_numpy(words.view(np.int64).copy())

    @override
    def restore(self, state: Int64[Tensor, " words"]) -> None:
        """Go on from where a stream stood."""
        words = state.numpy().view(np.uint64)
        self._bits.state = {
            "bit_generator": "SFC64",
            "state": {"state": words[:4].copy()},
            "has_uint32": int(words[4]),
            "uinteger": int(words[5]),
        }

    def _fill(self, deviates: Float32[Tensor, " count"]) -> None:
        count = deviates.shape[0]
        words = self._bits.random_raw(-(-count // PER_WORD))
        index = torch.from_numpy(np.asarray(words).view(np.uint16)[:count]).to(torch.int32)
        torch.index_select(_inner_means(), 0, index, out=deviates)
        beyond = self._rng.binomial(count, OUTSIDE)
        if beyond:
            where = self._rng.integers(0, count, beyond)
            side = 2.0 * self._rng.random(beyond) - 1.0
            deviates.numpy()[where] = np.copysign(ndtri(OUTSIDE / 2 * (1.0 - abs(side))), side)


@final
class DeviceNormal(NormalSource):
    """Deviates drawn where a torch generator lives: an accelerator draws in parallel."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    @override
    def draw(self, rows: int, cols: int) -> Float32[Tensor, "{rows} {cols}"]:
        """Draw the next deviates."""
        return torch.randn((rows, cols), generator=self._generator, device=self._generator.device)

    @override
    def state(self) -> Int64[Tensor, " words"]:
        """Nothing: the generator it was handed knows."""
        return torch.zeros(0, dtype=torch.int64)

    @override
    def restore(self, state: Int64[Tensor, " words"]) -> None:
        """Do nothing: the generator is restored by its owner."""


@cache
def _inner_means() -> Float32[Tensor, " slices"]:
    return torch.from_numpy(slice_means(OUTSIDE))


@cache
def slice_means(outside: float) -> npt.NDArray[np.float32]:
    """Mean of a normal deviate in each of 65,536 equally likely slices: (phi(a) - phi(b)) / P.

    Args:
        outside: Probability of a deviate beyond the slices, on both sides together.
    """
    edges = ndtri(np.linspace(outside / 2, 1.0 - outside / 2, SLICES + 1))
    density: npt.NDArray[np.float64] = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    return (-np.diff(density) * SLICES / (1.0 - outside)).astype(np.float32)
