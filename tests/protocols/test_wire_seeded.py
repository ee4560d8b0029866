"""Seeded inputs: published words, golden codes, and the laws of each distribution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from protocols import wire
from protocols.wire.seeded import seeded_codes, word
from protocols.wire.vocabulary import Distribution

VECTORS = json.loads((Path(wire.__path__[0]) / "vectors.json").read_text(encoding="utf-8"))


def draw(kind: Distribution, batch: int, inputs: int, *, seed: int = 7, full: int = 127):
    codes = seeded_codes(kind, seed=seed, first=0, batch=batch, inputs=inputs, full=full)
    return np.array(codes).reshape(batch, inputs)


def test_words_are_those_of_splitmix64():
    """Its published first outputs for the seeds 0 and 1234567."""
    assert word(0, 0) == 0xE220A8397B1DCDAF
    assert [word(1234567, k) for k in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("vector", VECTORS["seeded"], ids=lambda v: v["distribution"])
def test_golden_codes_are_drawn(vector):
    kind = Distribution[vector["distribution"]]
    asked = {k: vector[k] for k in ("seed", "first", "batch", "inputs", "full")}
    assert seeded_codes(kind, **asked) == vector["codes"]


def test_every_distribution_has_golden_codes():
    assert {v["distribution"] for v in VECTORS["seeded"]} == {d.name for d in Distribution}


@pytest.mark.parametrize("kind", Distribution)
def test_a_batch_is_its_halves(kind):
    def part(first: int, batch: int) -> list[int]:
        return seeded_codes(kind, seed=2**64 - 1, first=first, batch=batch, inputs=5, full=7)

    assert part(3, 9) == part(3, 4) + part(7, 5)


@pytest.mark.parametrize("full", [1, 7, 127, 32767])
@pytest.mark.parametrize("kind", Distribution)
def test_codes_stay_within_full_scale_and_reach_it(kind, full):
    codes = draw(kind, 64, 64, full=full)
    assert np.abs(codes).max() <= full
    assert codes.max() > 0.95 * full
    low = 0 if kind is Distribution.RELU else -0.95 * full
    assert codes.min() <= low


def test_uniform_codes_have_the_uniform_moments():
    codes = draw(Distribution.UNIFORM, 200, 100)
    n, sigma = codes.size, np.sqrt((255**2 - 1) / 12)  # of whole numbers -127...127
    assert abs(codes.mean()) < 4 * sigma / np.sqrt(n)
    assert codes.std() == pytest.approx(sigma, rel=0.02)


def test_half_of_the_sparse_codes_are_zero():
    zeros = np.mean(draw(Distribution.UNIFORM_SPARSE, 200, 100) == 0)
    share = 0.5 + 0.5 / 255  # a drawn zero is a zero too
    assert zeros == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20_000))


def test_gaussian_codes_have_full_scale_at_two_and_a_half_sigma():
    codes = draw(Distribution.GAUSSIAN, 200, 100, full=1000)
    inside = codes[np.abs(codes) < 1000]
    clipped = 1 - inside.size / codes.size
    assert clipped == pytest.approx(0.0124, abs=0.004)  # 2 (1 - Phi(2.5))
    assert abs(codes.mean()) < 4 * 400 / np.sqrt(codes.size)
    assert np.mean(np.abs(codes) < 400) == pytest.approx(0.683, abs=0.015)


def test_relu_is_the_positive_half_of_the_gaussian():
    gaussian, relu = draw(Distribution.GAUSSIAN, 20, 50), draw(Distribution.RELU, 20, 50)
    assert (relu == np.maximum(gaussian, 0)).all()


@pytest.mark.parametrize("inputs", [1, 2, 5, 16, 33])
def test_hadamard_inputs_are_orthogonal_over_a_whole_block(inputs):
    size = 1 << (inputs - 1).bit_length()
    for first in (0, size, 3 * size):
        codes = seeded_codes(
            Distribution.HADAMARD, seed=11, first=first, batch=size, inputs=inputs, full=1
        )
        block = np.array(codes).reshape(size, inputs)
        assert (np.abs(block) == 1).all()
        assert (block.T @ block == size * np.eye(inputs)).all()
