"""Seeded inputs: what a device draws for MVM_SEEDED, in whole numbers only. Knows no message.

This is the reference for firmware and for faster implementations: SplitMix64 (Steele, Lea & Flood,
OOPSLA 2014) as a function of seed and counter, so that a vector can be drawn without those before.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.wire.vocabulary import Distribution

__all__ = ["seeded_codes", "word"]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # odd, 2^64 over the golden ratio
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_NORMAL_TERMS = 12  # uniform numbers in a sum: its variance is 1 (in units of their range)
_NORMAL_MEAN = _NORMAL_TERMS * 0xFFFF // 2


def word(seed: int, counter: int) -> int:
    """Return the 64-bit word `counter` (0, 1, ...) of the stream of `seed`."""
    z = (seed + (counter + 1) * _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def seeded_codes(
    distribution: Distribution, *, seed: int, first: int, batch: int, inputs: int, full: int
) -> list[int]:
    """Draw vectors `first` ... `first + batch - 1` of `inputs` codes each, row-major.

    Args:
        distribution: What to draw; all but HADAMARD draw each code from counters of its own.
        seed: 64 bits.
        first: Index of the first vector in the stream.
        batch: Vectors.
        inputs: Codes of a vector.
        full: Highest code, 1 ... 32767; the lowest is its negative.
    """
    draw = _DRAWS[distribution]
    return [
        draw(seed, vector, entry, inputs, full)
        for vector in range(first, first + batch)
        for entry in range(inputs)
    ]


def _uniform(seed: int, vector: int, entry: int, inputs: int, full: int) -> int:
    high = word(seed, vector * inputs + entry) >> 32
    return ((high * (2 * full + 1)) >> 32) - full


def _uniform_sparse(seed: int, vector: int, entry: int, inputs: int, full: int) -> int:
    drawn = word(seed, vector * inputs + entry)
    return (((drawn >> 32) * (2 * full + 1)) >> 32) - full if drawn & 1 else 0


def _gaussian(seed: int, vector: int, entry: int, inputs: int, full: int) -> int:
    counter = 3 * (vector * inputs + entry)
    total = 0
    for k in range(3):
        drawn = word(seed, counter + k)
        total += sum((drawn >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
    # full * (total - mean) / 65536 / 2.5, rounded to the nearest, halves upwards
    code = (4 * full * (total - _NORMAL_MEAN) + 5 * 65536) // (10 * 65536)
    return min(max(code, -full), full)


def _relu(seed: int, vector: int, entry: int, inputs: int, full: int) -> int:
    return max(_gaussian(seed, vector, entry, inputs, full), 0)


def _hadamard(seed: int, vector: int, entry: int, inputs: int, full: int) -> int:
    size = 1 << (inputs - 1).bit_length()  # next power of two
    block, within = divmod(vector, size)
    base = block * (size + 2)
    rows, cols = word(seed, base), word(seed, base + 1)
    row = (within * (rows >> 32 | 1) + rows) & (size - 1)
    col = (entry * (cols >> 32 | 1) + cols) & (size - 1)
    sign = word(seed, base + 2 + entry) >> 63
    return -full if ((row & col).bit_count() + sign) & 1 else full


_DRAWS: dict[Distribution, Callable[[int, int, int, int, int], int]] = {
    Distribution.UNIFORM: _uniform,
    Distribution.UNIFORM_SPARSE: _uniform_sparse,
    Distribution.GAUSSIAN: _gaussian,
    Distribution.RELU: _relu,
    Distribution.HADAMARD: _hadamard,
}
