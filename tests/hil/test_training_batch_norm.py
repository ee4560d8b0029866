"""Batch-norm statistics of a finished network are those of its inputs, whatever came before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hil.errors import RequestError
from hil.training.batch_norm import settle_batch_norm_
from hil.training.data import Split
from hil.training.streams import stream


def a_split(samples: int) -> Split:
    images = 3 + 2 * torch.randn(samples, 4, 5, 5, generator=stream(1, "images"))
    return Split(samples=images, labels=torch.zeros(samples, dtype=torch.int64))


def a_network() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()


@pytest.mark.parametrize("samples", [7, 500, 1200])
def test_statistics_are_those_of_the_inputs(samples):
    network, split = a_network(), a_split(samples)
    network[0].running_mean.fill_(50.0)
    settle_batch_norm_(network, split, samples)
    channels = split.images.transpose(0, 1).flatten(1)
    assert torch.allclose(network[0].running_mean, channels.mean(1), atol=1e-4)
    assert torch.allclose(network[0].running_var, channels.var(1), rtol=5e-3)
    rectified = torch.relu((channels - channels.mean(1, True)) / channels.std(1, keepdim=True))
    assert torch.allclose(network[2].running_mean, rectified.mean(1), atol=5e-3)


def test_mode_momentum_and_weights_stay():
    network = a_network()
    before = [p.clone() for p in network.parameters()]
    settle_batch_norm_(network, a_split(20), 20)
    assert not network.training
    assert [m.momentum for m in network if isinstance(m, nn.BatchNorm2d)] == [0.1, 0.1]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_none_asked_for_changes_nothing_and_one_is_too_few():
    network = a_network()
    settle_batch_norm_(network, a_split(20), 0)
    assert float(network[0].running_mean.abs().sum()) == 0.0
    with pytest.raises(RequestError, match="at least 2"):
        settle_batch_norm_(network, a_split(20), 1)
