"""Bulk deviates are standard normal, tails included, and belong to their stream."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import kstest

from sim_backend.deviates import ROWS_AT_ONCE, SLICES, DeviceNormal, HostNormal
from sim_backend.streams import Streams


def sample(count, seed=1):
    return HostNormal(seed).draw(1, count).double().numpy().ravel()


@pytest.mark.statistical
def test_moments_are_those_of_a_standard_normal():
    z = sample(2_000_000)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)):
        error = (np.mean(z**power) - moment) / np.sqrt(variance / z.size)
        assert abs(error) < 4, power


@pytest.mark.statistical
def test_the_distribution_is_normal_in_its_body():
    assert kstest(sample(500_000), "norm").pvalue > 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize("level", [3.5, 4.3, 4.6, 5.0])
def test_tails_reach_beyond_the_outermost_slice(level):
    z = sample(4_000_000)
    expected = 2 * ndtr(-level) * z.size
    assert abs((np.abs(z) > level).sum() - expected) < 4 * np.sqrt(expected) + 1
    assert abs((z > level).sum() - (z < -level).sum()) < 4 * np.sqrt(expected) + 1


@pytest.mark.statistical
def test_neighbours_are_independent():
    z = HostNormal(3).draw(1000, 1000).double().numpy()
    flat = z.ravel()
    for lag in (1, 2, 3, 4, 1000):
        assert abs(np.mean(flat[lag:] * flat[:-lag])) < 4 / np.sqrt(flat.size)


def test_slices_are_equally_likely():
    z = sample(SLICES * 64, seed=4)
    body = z[np.abs(z) < 4]
    assert np.unique(body).size > 0.999 * SLICES * (2 * ndtr(4.0) - 1)


def test_a_stream_goes_on_and_a_seed_repeats_it():
    one, other = HostNormal(7), HostNormal(7)
    first, second = one.draw(3, 5), one.draw(3, 5)
    assert not torch.equal(first, second)
    assert torch.equal(other.draw(3, 5), first)
    assert torch.equal(other.draw(3, 5), second)
    assert not torch.equal(HostNormal(8).draw(3, 5), first)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (1, 3), (7, 5), (2, 64)])
def test_any_shape_is_filled(shape):
    z = HostNormal(1).draw(*shape)
    assert z.shape == shape
    assert z.dtype == torch.float32
    assert torch.isfinite(z).all()


def test_streams_of_other_names_and_cores_differ_and_the_device_has_its_own():
    streams = Streams(5, 0, torch.device("cpu"))
    z = streams.normal("mvm").draw(2, 8)
    assert streams.normal("mvm") is streams.normal("mvm")
    assert not torch.equal(z, streams.normal("read").draw(2, 8))
    assert not torch.equal(z, Streams(5, 1, torch.device("cpu")).normal("mvm").draw(2, 8))
    on_device = DeviceNormal(torch.Generator().manual_seed(3)).draw(50, 40)
    assert on_device.shape == (50, 40)
    assert abs(float(on_device.mean())) < 4 / np.sqrt(2000)


def test_a_long_draw_is_the_draws_of_its_parts():
    whole = HostNormal(4).draw(2 * ROWS_AT_ONCE + 300, 7)
    source = HostNormal(4)
    parts = [source.draw(rows, 7) for rows in (ROWS_AT_ONCE, ROWS_AT_ONCE, 300)]
    assert torch.equal(whole, torch.cat(parts))
    assert HostNormal(4).draw(0, 7).shape == (0, 7)
