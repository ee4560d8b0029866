"""One seed from several whole numbers: each random stimulus has a stream of its own."""

from __future__ import annotations

import numpy as np

__all__ = ["mixed_seed"]


def mixed_seed(*parts: int) -> int:
    """Return a seed of 63 bits; other parts, or the same in another order, give another seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
