"""1/f noise has memory: one trajectory per device, variance and autocovariance of the law."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import sici

from hil.errors import RequestError
from sim_backend.flicker import (
    ALL_COMPONENTS,
    HOLD_TIMES_FREQUENCY,
    MATRIX_HOLD_S,
    SLOWEST,
    Band,
    FlickerNoise,
    _deviates,
)

pytestmark = pytest.mark.statistical

BAND = Band(t_read_s=512e-9)
SLOT_S = 521e-9
RIPPLE = 0.16
"""How far components a factor of 4 apart may be from a smooth band, in units of Q^2."""
Array = npt.NDArray[np.float64]


def _noise(shape: tuple[int, int, int], key: int = 5, band: Band = BAND) -> FlickerNoise:
    return FlickerNoise(shape=shape, band=band, key=key)


def _holds(shape: tuple[int, ...], age_s: float, band: Band = BAND) -> npt.NDArray[np.float32]:
    return np.full(shape, math.log(band.longest_s(age_s)), np.float32)


def _total(noise: FlickerNoise, age_s: float) -> float:
    """Variance of all components at an age."""
    holds = _holds((1,), age_s)
    reach = (float(holds[0]), float(holds[0]))
    parts = noise._variances(lambda: holds, reach, ALL_COMPONENTS)
    return sum(float(np.max(variance)) for _, variance in parts)


def _one_read(noise: FlickerNoise, now_s: float, holds: npt.NDArray[np.float32]) -> Array:
    """Every device once, fresh part drawn too."""
    number = np.arange(holds.size)
    seen = noise.read(number, now_s, samples=1, slot_s=SLOT_S, ln_longest=holds.ravel())
    fresh = np.random.default_rng(int(now_s * 1e7)).standard_normal(holds.size)
    return np.asarray(seen.held + np.sqrt(seen.fresh_variance) * fresh, np.float64)


def _autocovariance(tau_s: Array, age_s: float) -> Array:
    """Exact, of noise with density 1/f between the law's two frequencies."""
    high, low = 1 / (2 * BAND.t_read_s), 1 / (age_s + BAND.t_read_s)
    return np.asarray(sici(2 * math.pi * high * tau_s)[1] - sici(2 * math.pi * low * tau_s)[1])


@pytest.mark.parametrize("age_s", [20.0, 200.0, 86_400.0, 3e7])
def test_components_add_up_to_the_law_at_any_age(age_s: float) -> None:
    law = math.log((age_s + BAND.t_read_s) / (2 * BAND.t_read_s))
    assert BAND.variance(age_s) == pytest.approx(law, rel=1e-12)
    assert _total(_noise((1, 1, 1)), age_s) == pytest.approx(law, rel=1e-5)
    for limit in (1e-6, MATRIX_HOLD_S, 1.0):
        both = BAND.variance(age_s, slower_than_s=limit) + BAND.variance(age_s, faster_than_s=limit)
        assert both == pytest.approx(law, rel=1e-12)


def test_variance_grows_with_age_without_a_step() -> None:
    ages = np.geomspace(20.0, 1e8, 4000)
    noise = _noise((1, 1, 1))
    parts = [_total(noise, age) for age in ages]
    growth = np.diff(parts) / np.diff(np.log(ages))
    assert np.abs(growth - 1).max() < 0.02


def test_times_that_the_law_does_not_know_are_refused() -> None:
    for limits in ({"slower_than_s": 1e-8}, {"faster_than_s": 1e-8}):
        with pytest.raises(RequestError, match="read time"):
            BAND.variance(200.0, **limits)


def test_hashed_deviates_are_standard_normal_up_to_their_tails() -> None:
    n = 1 << 23
    z = _deviates(np.random.default_rng(1).integers(0, 1 << 32, n, dtype=np.uint32)).astype(float)
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    for limit in (3.0, 4.0, 4.5, 4.8):
        expected = n * math.erfc(limit / math.sqrt(2))
        assert abs(int((np.abs(z) > limit).sum()) - expected) < 4 * math.sqrt(expected) + 1, limit


def test_successive_numbers_give_independent_deviates() -> None:
    """Neighbours in device, pulse and hold differ in few bits of what is hashed."""
    noise = _noise((2, 64, 64))
    holds = _holds((2, 64, 64), 200.0)
    fields = [noise.held(t, holds).copy() for t in (1e5, 2e5, 3e5)]
    noise.begin(np.arange(8192), np.full(8192, 1))
    fields.append(noise.held(1e5, holds).copy())
    fields.append(_noise((2, 64, 64), key=6).held(1e5, holds))
    flat = np.stack([f.ravel() for f in fields])
    correlation = np.corrcoef(flat) - np.eye(len(fields))
    assert np.abs(correlation).max() < 4 / math.sqrt(flat.shape[1])
    for axis in range(3):
        rolled = np.roll(fields[0], 1, axis)
        assert abs(np.corrcoef(fields[0].ravel(), rolled.ravel())[0, 1]) < 4 / math.sqrt(8192)


@pytest.mark.parametrize("age_s", [200.0, 86_400.0])
def test_autocovariance_of_reads_is_that_of_one_over_f(age_s: float) -> None:
    """Half the mean squared change over a lag is R(0) - R(lag), over ten decades of lag."""
    noise = _noise((2, 128, 32))
    holds = _holds((2, 128, 32), age_s)
    lags = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])
    starts = 1e4 + 977.0 * np.arange(8)
    half = np.zeros((starts.size, lags.size))
    for i, start in enumerate(starts):
        first = _one_read(noise, start, holds)
        for k, lag in enumerate(lags):
            half[i, k] = 0.5 * np.mean((_one_read(noise, start + lag, holds) - first) ** 2)
    seen = half.mean(0)
    expected = BAND.variance(age_s) - _autocovariance(lags, age_s)
    error = expected * math.sqrt(2 / (holds.size * starts.size))
    assert (np.abs(seen - expected) < 4 * error + RIPPLE).all(), np.round(seen - expected, 2)
    slope = np.polyfit(np.log(lags[1:-1]), seen[1:-1], 1)[0]
    assert abs(slope - 1) < 0.03, "the variance of every decade is the same: 1/f"


def test_the_spectrum_of_a_trajectory_falls_as_one_over_f() -> None:
    noise = _noise((1, 16, 4))
    holds = _holds((1, 16, 4), 1e5)
    steps, dt = 1 << 10, 1e-3
    track = np.stack([noise.held((k + 0.5) * dt, holds).ravel().copy() for k in range(steps)])
    window = np.hanning(steps)[:, None]
    transform = np.fft.rfft((track - track.mean(0)) * window, axis=0)
    density = (np.abs(transform) ** 2).mean(1) * 2 * dt / (window**2).sum()
    f = np.fft.rfftfreq(steps, dt)
    edges = np.geomspace(4 / (steps * dt), 0.2 / dt, 12)  # below a fifth of the sampling rate
    centre, level = [], []
    for low, high in pairwise(edges):
        inside = (f >= low) & (f < high)
        centre.append(np.log(f[inside]).mean())
        level.append(np.log((density * f)[inside]).mean() + np.euler_gamma / track.shape[1])
    slope = np.polyfit(centre, level, 1)[0] - 1
    assert abs(slope + 1) < 0.08
    assert abs(np.exp(np.mean(level)) - 1) < 0.2, "S(f) = Q^2 / f, in units of Q^2"


def test_noise_depends_on_time_and_not_on_who_asked_when() -> None:
    times = np.random.default_rng(3).uniform(0.0, 2e3, 25)
    shape = (2, 12, 9)
    holds = _holds(shape, 500.0)
    in_turn, backwards = _noise(shape), _noise(shape)
    first = [in_turn.held(t, holds).copy() for t in times]
    last = [backwards.held(t, holds).copy() for t in times[::-1]][::-1]
    for t, one, other in zip(times, first, last, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, _noise(shape).held(t, holds)), "bit for bit"


def test_ages_of_single_devices_change_only_their_noise() -> None:
    shape = (2, 12, 9)
    noise, holds = _noise(shape), _holds(shape, 200.0)
    before = noise.held(1e4, holds).copy()
    older = holds.copy()
    older[1, 3, 5] = math.log(BAND.longest_s(1e6))
    after = noise.held(1e4, older).copy()
    assert np.argwhere(after != before).tolist() == [[1, 3, 5]]
    assert np.array_equal(after, _noise(shape).held(1e4, older))


def test_a_pulse_begins_a_new_trajectory_and_leaves_the_others() -> None:
    shape = (2, 40, 50)
    noise, holds = _noise(shape), _holds(shape, 200.0)
    before = noise.held(7.0, holds).copy()
    pulsed = np.arange(0, 4000, 2)
    noise.begin(pulsed, np.full(2000, 1))
    after = noise.held(7.0, holds).copy().ravel()
    untouched = np.arange(1, 4000, 2)
    assert np.array_equal(before.ravel()[untouched], after[untouched])
    assert abs(np.corrcoef(before.ravel()[pulsed], after[pulsed])[0, 1]) < 4 / math.sqrt(2000)


@pytest.mark.parametrize("share", [0.01, 0.6])
def test_what_changes_piece_by_piece_ends_where_all_at_once_does(share: float) -> None:
    """Pulses, ages and time in any mixture: the same noise, bit for bit, as done from nothing."""
    shape, rng = (2, 24, 11), np.random.default_rng(9)
    size = math.prod(shape)
    noise, lives = _noise(shape), np.zeros(size, np.int64)
    ages = np.full(shape, 1e6)
    for now_s in 10.0 + np.cumsum(rng.exponential([0.01, 3.0, 1e-3, 50.0, 0.0, 1e3])):
        pulsed = np.flatnonzero(rng.random(size) < share)
        lives[pulsed] += 1
        noise.begin(pulsed, lives[pulsed])
        ages.reshape(-1)[pulsed] = 200.0
        holds = np.log(HOLD_TIMES_FREQUENCY * (ages + BAND.t_read_s)).astype(np.float32)
        seen = noise.held(now_s, holds).copy()
        fresh = _noise(shape)
        fresh.begin(np.arange(size), lives)
        assert np.array_equal(seen, fresh.held(now_s, holds))


def test_cells_and_matrix_see_the_same_noise() -> None:
    """Where a law has nothing faster than a millisecond, a read is what an MVM multiplies by."""
    slow = Band(t_read_s=MATRIX_HOLD_S / 4 / HOLD_TIMES_FREQUENCY)
    shape = (2, 8, 8)
    noise, holds = _noise(shape, band=slow), _holds(shape, 500.0, slow)
    at_s = 12.3455
    seen = noise.read(np.arange(128), at_s, samples=1, slot_s=SLOT_S, ln_longest=holds.ravel())
    assert np.array_equal(seen.held.reshape(shape), noise.held(at_s, holds))
    assert not seen.fresh_variance.any()


def test_a_mean_of_samples_is_the_mean_of_its_reads() -> None:
    samples, slot_s = 64, 1e-5
    slow = Band(t_read_s=2e-3)  # nothing changes twice within 0.64 ms
    shape = (1, 64, 8)
    noise, holds = _noise(shape, band=slow), _holds(shape, 500.0, slow)
    number, ln_longest = np.arange(512), holds.ravel()
    now_s = 3.21
    mean = noise.read(number, now_s, samples=samples, slot_s=slot_s, ln_longest=ln_longest)
    single = [
        noise.read(number, now_s - k * slot_s, samples=1, slot_s=slot_s, ln_longest=ln_longest)
        for k in range(samples)
    ]
    assert np.allclose(mean.held, np.mean([s.held for s in single], axis=0), atol=2e-5)
    assert len({float(s.held[0]) for s in single} | {float(s.held[99]) for s in single}) > 2


@pytest.mark.parametrize("samples", [1, 8, 256])
def test_averaging_takes_away_only_what_changes_meanwhile(samples: int) -> None:
    shape = (1, 128, 64)
    noise, holds = _noise(shape), _holds(shape, 200.0)
    seen = noise.read(
        np.arange(8192), 50.0, samples=samples, slot_s=SLOT_S, ln_longest=holds.ravel()
    )
    total = seen.held.astype(float).var() + float(seen.fresh_variance.mean())
    apart = np.arange(1, samples)
    exact = BAND.variance(200.0) / samples + 2 / samples**2 * np.sum(
        (samples - apart) * _autocovariance(apart * SLOT_S, 200.0)
    )
    assert abs(total - exact) < 4 * exact * math.sqrt(2 / 8192) + RIPPLE
    assert total > 0.5 * BAND.variance(200.0), "most of it is slower than any read"


def test_every_time_a_chip_can_reach_has_its_components() -> None:
    assert BAND.longest_s(1e11) < MATRIX_HOLD_S * 4.0 ** (SLOWEST + 0.5)
