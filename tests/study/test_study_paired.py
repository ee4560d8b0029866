"""Paired differences: what intervals promise, and what they must not claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hil.errors import RequestError
from hil.paired import paired_difference

CHIPS, SAMPLES = 4, 30
Right = arrays(np.bool_, (CHIPS, SAMPLES))


@given(Right, Right)
def test_turning_the_comparison_round_turns_every_sign(right, other):
    one, back = paired_difference(right, other), paired_difference(other, right)
    assert back.mean == pytest.approx(-one.mean)
    assert (back.samples_low, back.samples_high) == pytest.approx(
        (-one.samples_high, -one.samples_low)
    )
    assert (back.better, back.worse) == (one.worse, one.better)
    assert back.chips_half == pytest.approx(one.chips_half)


@given(Right, Right)
def test_the_mean_is_the_difference_of_the_accuracies_and_counts_agree(right, other):
    paired = paired_difference(right, other)
    assert paired.mean == pytest.approx(right.mean() - other.mean())
    assert (paired.better - paired.worse) / right.size == pytest.approx(paired.mean)
    assert -1 <= paired.samples_low <= paired.samples_high <= 1


@given(Right)
def test_equal_answers_differ_by_nothing_and_leave_a_width(right):
    paired = paired_difference(right, right)
    assert paired.mean == 0
    assert paired.samples_low < 0 < paired.samples_high
    assert not paired.excludes_zero


def test_chips_that_differ_by_the_same_amount_do_not_make_it_certain():
    """One sample of sixty that both chips lose: an interval of no width would exclude zero."""
    right = np.ones((2, 60), np.bool_)
    other = right.copy()
    right[:, 7] = False
    paired = paired_difference(right, other)
    assert paired.chips_half is None
    assert not paired.excludes_zero


@pytest.mark.statistical
@pytest.mark.parametrize("samples", [40, 400])
def test_the_interval_over_samples_covers_the_true_difference_in_95_of_100_cases(samples):
    rng = np.random.default_rng(3)
    better, worse, trials = 0.08, 0.04, 2000
    hits = 0
    for _ in range(trials):
        u = rng.random((1, samples))
        paired = paired_difference(u > worse, u < 1 - better)
        hits += paired.samples_low <= better - worse <= paired.samples_high
    error = np.sqrt(0.95 * 0.05 / trials)
    assert hits / trials == pytest.approx(0.95, abs=5 * error)


@pytest.mark.statistical
def test_the_interval_over_chips_covers_the_true_difference_in_95_of_100_cases():
    rng = np.random.default_rng(5)
    chips, samples, trials = 5, 400, 1000
    hits = 0
    for _ in range(trials):
        gain = 0.05 + 0.02 * rng.standard_normal((chips, 1))  # each chip has its own
        right = rng.random((chips, samples)) < 0.7 + gain
        other = rng.random((chips, samples)) < 0.7
        paired = paired_difference(right, other)
        hits += paired.low <= 0.05 <= paired.high
    error = np.sqrt(0.95 * 0.05 / trials)
    assert hits / trials == pytest.approx(0.95, abs=4 * error)


def test_pairing_narrows_the_interval_where_chips_differ_by_themselves():
    rng = np.random.default_rng(8)
    level = np.array([0.5, 0.6, 0.7, 0.8, 0.9])[:, None]
    u = rng.random((5, 500))
    right, other = u < level + 0.05, u < level
    unpaired = np.sqrt(right.mean(axis=1).var(ddof=1) + other.mean(axis=1).var(ddof=1))
    paired = paired_difference(right, other)
    assert paired.chips_half < 0.3 * unpaired
    assert paired.excludes_zero


@given(st.integers(0, 3))
def test_answers_that_do_not_belong_together_are_refused(chips):
    right = np.zeros((chips, SAMPLES), np.bool_)
    other = np.zeros((chips, SAMPLES + 1), np.bool_)
    with pytest.raises(RequestError, match="cannot be paired"):
        paired_difference(right, other)
