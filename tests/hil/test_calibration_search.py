"""Searches alone, on instances whose error is known: their parameter, its twin, dead, noisy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.calibration.search import BinarySearch, Knob, LeastSquares, LinearSolve, Search
from hil.errors import RequestError
from hil.units import CodeScale

SEARCHES = [BinarySearch(), LinearSolve(), LeastSquares()]
REGISTER = Knob.register("trim", CodeScale(min_code=-31, max_code=31, step=0.25, unit="1"))
UNSIGNED = Knob.register("trim", CodeScale(min_code=0, max_code=200, step=1.0, unit="1"))
CONTINUOUS = Knob(name="scale", unit="1", low=-3.0, high=5.0, neutral=1.0)


def settle(
    search: Search, knob: Knob, instances: int, error: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Run a search against an error function; return values, found, trials."""
    trial, trials = search.start(knob, instances), 0
    while trial.found is None:
        assert trial.values.shape == (instances,)
        assert np.array_equal(trial.values, knob.settle(trial.values))
        trials += 1
        assert trials < 500
        trial = search.advance(trial.state, error(trial.values))
    return trial.values, trial.found, trials


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
@pytest.mark.parametrize("slope", [1.0, -1.0, 0.01, -40.0])
def test_a_linear_knob_is_found_in_either_direction(search, slope):
    wanted = np.random.default_rng(0).uniform(-2.9, 4.9, 50)
    values, found, _ = settle(search, CONTINUOUS, 50, lambda v: slope * (v - wanted))
    assert found.all()
    np.testing.assert_allclose(values, wanted, atol=1e-9)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
@pytest.mark.parametrize("knob", [REGISTER, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("slope", [0.5, -0.5])
def test_a_register_ends_within_one_step(search, knob, slope):
    wanted = np.random.default_rng(1).uniform(knob.low, knob.high, 64)
    wanted[:2] = knob.low, knob.high
    values, found, _ = settle(search, knob, 64, lambda v: slope * (v - wanted))
    assert found.all()
    assert np.max(np.abs(values - wanted)) <= 0.5 + 1e-9


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
def test_a_root_beyond_the_limits_is_not_found_and_the_nearer_limit_is_taken(search):
    wanted = np.array([-40.0, 40.0, 3.0])
    values, found, _ = settle(search, REGISTER, 3, lambda v: v - wanted)
    assert found.tolist() == [False, False, True]
    assert values.tolist() == [-31.0, 31.0, 3.0]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
def test_an_instance_that_does_not_respond_stays_neutral(search):
    dead = np.array([True, False, False])

    def error(v: np.ndarray) -> np.ndarray:
        return np.where(dead, 7.0, v - 2.0)

    values, found, _ = settle(search, REGISTER, 3, error)
    assert found.tolist() == [False, True, True]
    assert values.tolist() == [0.0, 2.0, 2.0]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
def test_zero_error_everywhere_changes_nothing(search):
    values, found, _ = settle(search, CONTINUOUS, 4, np.zeros_like)
    assert found.all()
    assert np.array_equal(values, np.full(4, CONTINUOUS.neutral))


def test_bisection_takes_the_logarithm_of_the_range():
    wanted = np.linspace(-30.3, 30.4, 40)
    _, _, trials = settle(BinarySearch(), REGISTER, 40, lambda v: v - wanted)
    assert trials == 2 + 6


@given(
    st.lists(st.floats(-31, 31), min_size=1, max_size=8),
    st.sampled_from([1.0, -1.0]),
    st.sampled_from([0.25, 0.1, 0.03]),
)
def test_bisection_takes_the_middle_of_a_band_of_zeros(wanted, sign, codes_per_step):
    """A coarse converter rounds the error; the knob's true zero is the middle of the band."""
    root = np.array(wanted)
    values, found, _ = settle(
        BinarySearch(), REGISTER, root.size, lambda v: sign * np.rint(codes_per_step * (v - root))
    )
    band = np.arange(-31, 32)[:, None]
    zero = np.rint(codes_per_step * (band - root)) == 0
    first = np.where(zero, band, 99).min(axis=0)
    last = np.where(zero, band, -99).max(axis=0)
    everywhere = zero.all(axis=0)
    has_band = zero.any(axis=0) & ~everywhere
    np.testing.assert_array_equal(values[has_band], np.floor((first + last) / 2)[has_band])
    assert found[has_band].all()
    assert not values[everywhere].any()


@pytest.mark.statistical
@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_least_squares_error_falls_as_the_root_of_the_number_of_points(slope):
    rng = np.random.default_rng(5)
    wanted = rng.uniform(0.0, 2.0, 4000)

    def spread(points: int) -> float:
        values, found, _ = settle(
            LeastSquares(points=points, rounds=1),
            CONTINUOUS,
            4000,
            lambda v: slope * (v - wanted) + 0.1 * rng.standard_normal(4000),
        )
        assert found.all()
        return float(np.std(values - wanted))

    ratio = spread(8) / spread(128)
    # sigma ~ N^-1/2: a factor of 4, known to 1/sqrt(2 x 4000) twice: 5 standard errors
    assert abs(ratio / 4.0 - 1.0) < 5 * np.sqrt(2 / 8000) + 0.03


@pytest.mark.statistical
@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.4])
def test_error_grows_with_the_noise_and_no_faster(search, noise):
    rng = np.random.default_rng(6)
    wanted = rng.uniform(-20, 20, 500)
    values, _, _ = settle(
        search, REGISTER, 500, lambda v: v - wanted + noise * rng.standard_normal(500)
    )
    assert np.std(values - wanted) < 1 / np.sqrt(12) + 3 * noise


@pytest.mark.statistical
def test_least_squares_tells_a_noisy_dead_instance_from_a_live_one():
    rng = np.random.default_rng(7)
    dead = np.arange(400) < 200
    _, found, _ = settle(
        LeastSquares(points=15),
        CONTINUOUS,
        400,
        lambda v: np.where(dead, 0.0, v - 1.0) + 0.05 * rng.standard_normal(400),
    )
    assert found[~dead].all()
    # t with 13 degrees of freedom beyond 5: 2.4e-4 per instance
    assert found[dead].sum() <= 2


def test_a_knob_needs_limits_in_order_around_neutral():
    with pytest.raises(RequestError, match=r"limits 2\.0\.\.\.1\.0"):
        Knob(name="x", unit="1", low=2.0, high=1.0)
    with pytest.raises(RequestError, match="neutral"):
        Knob(name="x", unit="1", low=1.0, high=2.0)
    with pytest.raises(RequestError, match="points"):
        LeastSquares(points=2)


def test_least_squares_zooms_in_where_the_response_is_curved():
    wanted = np.linspace(-2.0, 4.0, 25)

    def miss(rounds: int) -> float:
        values, found, _ = settle(
            LeastSquares(rounds=rounds),
            CONTINUOUS,
            25,
            lambda v: np.exp(0.3 * v) - np.exp(0.3 * wanted),
        )
        assert found.all()
        return float(np.max(np.abs(values - wanted)))

    # a quarter of the span leaves a sixteenth of the curvature
    assert miss(2) < miss(1) / 4
    assert miss(3) < miss(2) / 4
