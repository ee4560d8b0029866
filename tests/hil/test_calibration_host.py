"""Quantities that look at samples only: input range, batch-norm statistics. No array involved."""

from __future__ import annotations

import numpy as np
import pytest

from hil import open_chip
from hil.calibration import (
    BatchNormStatistics,
    BinarySearch,
    ChannelMoments,
    InputRange,
    LeastSquares,
    LinearSolve,
    RangeRule,
    choose_input_range,
    restore_statistics,
    run_calibration,
)
from hil.core import Core
from hil.errors import RequestError

SEARCHES = [None, BinarySearch(), LinearSolve(), LeastSquares()]


@pytest.fixture
def core() -> Core:
    return open_chip("sim:ideal?rows=4&cols=4").cores[0]


@pytest.mark.parametrize("rule", list(RangeRule))
@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name if s else "default")
def test_input_range_record_equals_the_rule_and_touches_no_core(core, rule, search):
    samples = np.random.default_rng(3).laplace(size=(200, 30))
    verbs: list[str] = []
    core.observe(lambda event: verbs.append(event.verb))
    record = run_calibration(core, InputRange(samples=samples, rule=rule), seed=1, search=search)
    assert "mvm" not in verbs
    assert "configure" not in verbs
    wanted = choose_input_range(samples, rule)
    assert record.array("range")[0] == pytest.approx(wanted, rel=1e-9)
    assert record.residuals[0] == pytest.approx((np.abs(samples) > wanted).mean(), abs=2e-4)


def test_input_range_rules():
    samples = np.zeros((100, 100))
    samples[:50] = np.linspace(-1, 1, 5000).reshape(50, 100)
    samples[0, 0] = -100.0
    assert choose_input_range(samples, RangeRule.MAX) == 100.0
    # all-zero rows are dropped: one element in 5,000 lies outside the 0.999 quantile
    assert choose_input_range(samples, quantile=0.999) == pytest.approx(1.0, abs=0.01)
    used = samples[:50]
    assert choose_input_range(samples, RangeRule.STD, sigmas=2) == pytest.approx(
        2 * np.sqrt((used**2).mean())
    )
    sparse = np.zeros((3, 100_000))
    sparse[:, 0] = 4.0
    assert choose_input_range(sparse) == 4.0
    with pytest.raises(RequestError, match="all 3 sample vectors are zero"):
        choose_input_range(np.zeros((3, 4)))
    with pytest.raises(RequestError, match="NaN"):
        choose_input_range(np.full((3, 4), np.nan))
    with pytest.raises(RequestError, match=r"quantile 1\.5 is outside"):
        choose_input_range(samples, quantile=1.5)


def test_moments_of_parts_are_the_moments_of_the_whole():
    outputs = np.random.default_rng(4).normal(3.0, 2.0, (1000, 7))
    whole = ChannelMoments.of(outputs)
    parts = ChannelMoments.of(outputs[:13])
    for part in (outputs[13:400], outputs[400:401], outputs[401:]):
        parts = parts.merge(ChannelMoments.of(part))
    assert parts.count == whole.count
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.variance, whole.variance, rtol=1e-12)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name if s else "default")
def test_batch_norm_restores_mean_and_std(core, search):
    rng = np.random.default_rng(4)
    stored_mean, stored_std = rng.normal(0, 3, 20), rng.uniform(0.1, 4, 20)
    outputs = rng.normal(rng.normal(0, 2, 20), rng.uniform(0.2, 3, 20), (500, 20))
    measurement = BatchNormStatistics(
        measured=ChannelMoments.of(outputs), mean=stored_mean, std=stored_std
    )
    record = run_calibration(core, measurement, seed=1, search=search)
    restored = record.array("scale") * outputs + record.array("offset")
    np.testing.assert_allclose(restored.mean(axis=0), stored_mean, atol=1e-6)
    np.testing.assert_allclose(restored.std(axis=0), stored_std, rtol=1e-6)
    assert record.success_mask.all()


def test_a_constant_channel_gets_its_mean_back_and_is_not_trusted():
    outputs = np.full((10, 3), 5.0)
    outputs[:, 0] = np.arange(10)
    mean, std = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0])
    fit = restore_statistics(ChannelMoments.of(outputs), mean, std)
    assert fit.success.tolist() == [True, False, True]
    np.testing.assert_allclose(fit.apply(outputs).mean(axis=0), mean)
    with pytest.raises(RequestError, match="not negative"):
        restore_statistics(ChannelMoments.of(outputs), mean, -std)
