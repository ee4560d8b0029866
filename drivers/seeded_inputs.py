"""Seeded inputs: what `protocols.wire.seeded` draws, a whole batch at a time. No message, no core.

Host and device draw the same codes from the same seed, so that a batch costs no input bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.wire.vocabulary import Distribution

__all__ = ["seeded_batch"]

IntArray = npt.NDArray[np.integer[Any]]
Words = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_NORMAL_TERMS = 12
_NORMAL_MEAN = _NORMAL_TERMS * 0xFFFF // 2


def seeded_batch(
    distribution: Distribution, *, seed: int, first: int, batch: int, inputs: int, full: int
) -> IntArray:
    """Draw vectors `first` ... `first + batch - 1` of the stream of `seed`: int64 (batch, inputs).

    Args:
        distribution: What to draw.
        seed: 64 bits.
        first: Index of the first vector.
        batch: Vectors.
        inputs: Codes of a vector.
        full: Highest code, 1...32767; the lowest is its negative.
    """
    if distribution is Distribution.HADAMARD:
        return _hadamard(seed, first, batch, inputs, full)
    start = np.uint64(first * inputs & (1 << 64) - 1)
    places = start + np.arange(batch * inputs, dtype=np.uint64)
    if distribution in (Distribution.UNIFORM, Distribution.UNIFORM_SPARSE):
        drawn = _words(seed, places)
        codes = _uniform(drawn, full)
        if distribution is Distribution.UNIFORM_SPARSE:
            codes[(drawn & np.uint64(1)) == 0] = 0
    else:
        codes = _gaussian(seed, places, full)
        if distribution is Distribution.RELU:
            codes = np.maximum(codes, 0)
    return codes.reshape(batch, inputs)


def _words(seed: int, counters: Words) -> Words:
    """SplitMix64 as a function of seed and counter; whole numbers modulo 2^64."""
    z = np.uint64(seed) + (counters + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return np.asarray(z ^ (z >> np.uint64(31)))


def _uniform(drawn: Words, full: int) -> npt.NDArray[np.int64]:
    high = drawn >> np.uint64(32)
    return ((high * np.uint64(2 * full + 1)) >> np.uint64(32)).astype(np.int64) - full


def _gaussian(seed: int, places: Words, full: int) -> npt.NDArray[np.int64]:
    counters = places * np.uint64(3)
    total = np.zeros(places.shape, np.int64)
    for k in range(_NORMAL_TERMS // 4):
        drawn = _words(seed, counters + np.uint64(k))
        for shift in (0, 16, 32, 48):
            total += ((drawn >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    codes = (4 * full * (total - _NORMAL_MEAN) + 5 * 65536) // (10 * 65536)
    return np.clip(codes, -full, full)


def _hadamard(seed: int, first: int, batch: int, inputs: int, full: int) -> IntArray:
    size = 1 << (inputs - 1).bit_length()
    mask = np.uint64(size - 1)
    entries = np.arange(inputs, dtype=np.uint64)
    codes = np.empty((batch, inputs), np.int64)
    done = 0
    while done < batch:
        block, within = divmod(first + done, size)
        here = min(batch - done, size - within)
        base = np.uint64(block * (size + 2) & (1 << 64) - 1)
        rows, cols = _words(seed, base + np.arange(2, dtype=np.uint64))
        row = _permuted(np.arange(within, within + here, dtype=np.uint64), rows, mask)
        col = _permuted(entries, cols, mask)
        signs = _words(seed, base + np.uint64(2) + entries) >> np.uint64(63)
        odd = _parity(row[:, None] & col[None, :]) ^ signs
        codes[done : done + here] = np.where(odd.astype(np.bool_), -full, full)
        done += here
    return codes


def _permuted(places: Words, drawn: np.uint64, mask: np.uint64) -> Words:
    """A permutation of 0...mask: times an odd number, plus an offset."""
    offset = np.broadcast_to(drawn, places.shape)  # arrays wrap in silence, numbers warn
    return (places * ((offset >> np.uint64(32)) | np.uint64(1)) + offset) & mask


def _parity(words: Words) -> Words:
    for shift in (32, 16, 8, 4, 2, 1):
        words = words ^ (words >> np.uint64(shift))
    return words & np.uint64(1)
