"""Mixup: samples of a batch mixed in pairs, inputs and losses alike. Knows no network.

Source: Zhang et al., "mixup: beyond empirical risk minimization", arXiv 1710.09412; shares are
drawn uniformly here, not from a beta distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

__all__ = ["Mix"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix:
    """Which sample is mixed into which, and by how much.

    Attributes:
        other: For each sample of the batch the one that is mixed into it.
        share: Share of that other sample, 0...0.5.
    """

    other: Int64[Tensor, " n"]
    share: Float[Tensor, " n"]

    @classmethod
    def draw(cls, count: int, largest: float, generator: torch.Generator) -> Self:
        """Draw partners and shares up to `largest`, on the CPU."""
        other = torch.randperm(count, generator=generator)
        return cls(other=other, share=largest * torch.rand(count, generator=generator))

    def inputs(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Mix inputs."""
        share = self.share.to(images)[:, None, None, None]
        return images + share * (images[self.other.to(images.device)] - images)

    def loss(self, logits: Float[Tensor, "n classes"], labels: Tensor, smoothing: float) -> Tensor:
        """Mean cross-entropy to both labels, each by its share."""
        losses = [
            functional.cross_entropy(logits, wanted, label_smoothing=smoothing, reduction="none")
            for wanted in (labels, labels[self.other.to(labels.device)])
        ]
        share = self.share.to(logits.device)
        return ((1 - share) * losses[0] + share * losses[1]).mean()
