"""Named random streams of a training run. Touches no global generator."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from hil.errors import RequestError

__all__ = ["stream"]


def stream(seed: int, name: str, index: int = 0) -> torch.Generator:
    """Make the CPU generator of stream `name`, number `index` (an epoch, a draw).

    Every (seed, name, index) is a generator of its own, so a run that is resumed at an epoch
    draws what the uninterrupted run would have drawn, and no generator state needs saving.
    """
    if seed < 0 or index < 0:
        raise RequestError(f"seed {seed} and index {index} must not be negative")
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), index))
    state = int(sequence.generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
