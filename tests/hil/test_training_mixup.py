"""Mixup: inputs and losses are mixed by the same shares, and nothing is drawn where it is off."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hil.training.mixup import Mix
from hil.training.settings import TrainingSettings
from hil.training.streams import stream
from hil.training.train import train


@given(count=st.integers(1, 40), largest=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_partners_are_a_permutation_and_shares_stay_below_their_limit(count, largest, seed):
    mix = Mix.draw(count, largest, stream(seed, "mix"))
    assert sorted(mix.other.tolist()) == list(range(count))
    assert 0 <= float(mix.share.min()) <= float(mix.share.max()) <= largest
    same = Mix.draw(count, largest, stream(seed, "mix"))
    assert torch.equal(mix.share, same.share)
    assert torch.equal(mix.other, same.other)


def test_inputs_are_weighted_means():
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, 2, 2)
    mix = Mix(other=torch.tensor([1, 2, 0]), share=torch.tensor([0.5, 0.25, 0.0]))
    assert mix.inputs(images)[:, 0, 0, 0].tolist() == [0.5, 1.25, 2.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_that_of_the_mixed_targets(smoothing):
    generator = stream(0, "logits")
    logits = torch.randn(6, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    mix = Mix.draw(6, 0.5, generator)
    share = mix.share[:, None]
    hot = functional.one_hot(labels, 4).float()
    wanted = functional.cross_entropy(
        logits, (1 - share) * hot + share * hot[mix.other], label_smoothing=smoothing
    )
    assert torch.allclose(mix.loss(logits, labels, smoothing), wanted)


def test_training_with_mixed_and_smoothed_targets_learns_and_repeats():
    settings = TrainingSettings(
        network="mlp-digits", epochs=4, mixup=0.3, label_smoothing=0.1, noise_eta=0.05
    )
    one, same = train(settings), train(settings)
    assert one.metadata.software_accuracy > 0.85
    for name, value in one.module.state_dict().items():
        assert torch.equal(value, same.module.state_dict()[name])
    plain = train(settings.model_copy(update={"mixup": 0.0}))
    assert plain.history[-1].loss < one.history[-1].loss  # mixed targets cannot be hit as well
