"""Laws of weight clipping, weight noise, augmentation and the learning-rate schedule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hil.errors import RequestError
from hil.training.augment import Affine, affine
from hil.training.data import Split, load_dataset
from hil.training.evaluate import accuracy, noisy_accuracy
from hil.training.networks import initialise_
from hil.training.streams import stream
from hil.training.train import learning_rate_factor
from hil.training.weight_noise import analog_layers, clip_weights_, draw_noise, weight_noise


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2),
            nn.ReLU(),
            nn.Flatten(2),
            nn.Conv1d(6, 4, 3, dilation=2),
            nn.Flatten(1),
            nn.Linear(20, 5),
        )
    initialise_(module, stream(seed, "weights"))
    return module


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 2, 6, 6, generator=stream(seed, "images"))


@given(alpha=st.floats(1.1, 4.0), seed=st.integers(0, 50))
def test_clipping_bounds_each_layer_by_its_own_sigma_and_moves_nothing_else(alpha, seed):
    module = small_network(seed)
    with torch.no_grad():
        analog_layers(module)["5"].weight.mul_(100)  # layers must not share a bound
    before = {n: layer.weight.detach().clone() for n, layer in analog_layers(module).items()}
    clip_weights_(module, alpha)
    for name, layer in analog_layers(module).items():
        bound = alpha * before[name].std(correction=0)
        inside = before[name].abs() <= bound
        after = layer.weight.detach()
        assert torch.equal(after[inside], before[name][inside])
        assert torch.allclose(after[~inside], bound * before[name][~inside].sign())


@pytest.mark.statistical
def test_noise_is_gaussian_with_sigma_eta_times_largest_weight():
    module, eta = nn.Sequential(nn.Flatten(), small_network()[5]), 0.07
    draws = torch.stack(
        [draw_noise(module, eta, stream(1, "noise", i))["1"] for i in range(300)]
    ).double()
    sigma = eta * float(analog_layers(module)["1"].weight.detach().abs().max())
    n = draws.numel()
    assert abs(float(draws.mean())) < 4 * sigma / math.sqrt(n)
    assert abs(float(draws.std()) / sigma - 1) < 4 / math.sqrt(2 * n)
    assert abs(float((draws / sigma).pow(4).mean()) - 3) < 4 * math.sqrt(96 / n)
    neighbours = (draws[:-1] * draws[1:]).mean() / sigma**2  # a new mini-batch, new noise
    assert abs(float(neighbours)) < 4 / math.sqrt(n)


def test_noisy_output_is_that_of_the_noisy_weights():
    module, x = small_network(), images()
    noisy = small_network()
    for name, noise in draw_noise(module, 0.2, stream(4, "noise")).items():
        layer = analog_layers(noisy)[name]
        with torch.no_grad():
            layer.weight.add_(noise)
    with weight_noise(module, 0.2, stream(4, "noise")):
        inside = module(x)
    assert torch.allclose(inside, noisy(x), atol=1e-5)
    assert not torch.allclose(inside, module(x), atol=1e-2)


def test_backward_sees_clean_weights():
    layer, x = nn.Sequential(small_network()[5]), torch.ones(2, 20, requires_grad=True)
    weight = analog_layers(layer)["0"].weight
    with weight_noise(layer, 0.5, stream(0, "noise")):
        layer(x).sum().backward()
    assert torch.allclose(x.grad, weight.detach().sum(dim=0).expand(2, -1))
    assert torch.allclose(weight.grad, torch.full_like(weight, 2.0))


def test_noise_ends_with_its_context_even_after_an_error():
    module, x = small_network(), images()
    clean = module(x)
    with pytest.raises(ZeroDivisionError), weight_noise(module, 0.5, stream(0, "noise")):
        raise ZeroDivisionError
    assert torch.equal(module(x), clean)


def test_shared_layer_has_one_noise_in_both_its_places():
    linear = nn.Sequential(small_network()[5]).get_submodule("0")
    module = nn.ModuleList([linear, linear])
    assert list(analog_layers(module)) == ["0"]
    with weight_noise(module, 0.3, stream(0, "noise")):
        x = torch.ones(1, 20)
        assert torch.equal(module[0](x), module[1](x))


def test_padding_other_than_zeros_is_refused_by_name():
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(RequestError, match="layer '0' pads with 'reflect'"):
        analog_layers(module)


def test_streams_are_repeatable_and_differ_by_seed_name_and_index():
    def first(*key: object) -> float:
        return float(torch.rand((), generator=stream(*key), dtype=torch.float64))

    assert first(1, "a", 2) == first(1, "a", 2)
    assert len({first(1, "a", 2), first(2, "a", 2), first(1, "b", 2), first(1, "a", 3)}) == 4
    with pytest.raises(RequestError, match="seed -1"):
        stream(-1, "a")


def test_augmentation_of_nothing_changes_nothing():
    none = Affine(shift_pixels=0, rotate_degrees=0, zoom=0)
    assert torch.allclose(affine(images(), none, stream(0, "x")), images(), atol=1e-5)


def test_whole_pixel_shift_moves_the_picture_and_brings_in_background():
    point = torch.zeros(500, 1, 9, 9)
    point[:, :, 4, 4] = 1
    moved = affine(point, Affine(shift_pixels=2, rotate_degrees=0, zoom=0), stream(0, "x"))
    mass = moved.sum(dim=(0, 1)) / moved.sum()
    centre = torch.arange(9.0) - 4
    assert torch.allclose(moved.sum(dim=(1, 2, 3)), torch.ones(500), atol=1e-4)
    for axis in (0, 1):  # uniform shift over ±2: mean 0, variance 4/3 plus the bilinear spread
        share = mass.sum(dim=1 - axis)
        assert abs(float((share * centre).sum())) < 0.25
        assert 1.2 < float((share * centre**2).sum()) < 1.9
    assert float(mass[:2].sum() + mass[7:].sum()) == 0.0


def test_rotation_keeps_distances_on_oblong_images():
    point = torch.zeros(200, 1, 15, 31)
    point[:, :, 7, 20] = 1
    turned = affine(point, Affine(shift_pixels=0, rotate_degrees=60, zoom=0), stream(0, "x"))
    y, x = torch.arange(15.0)[:, None] - 7, torch.arange(31.0)[None] - 15
    weight = turned[:, 0] / turned.sum(dim=(1, 2, 3))[:, None, None]
    mean_x, mean_y = (weight * x).sum(dim=(1, 2)), (weight * y).sum(dim=(1, 2))
    assert torch.allclose(torch.hypot(mean_x, mean_y), torch.tensor(5.0), atol=0.25)
    assert float(mean_y.max()) > 3.5
    assert float(mean_y.min()) < -3.5


def test_learning_rate_rises_from_zero_to_one_and_falls_to_zero():
    rates = [learning_rate_factor(done / 100, 0.2) for done in range(101)]
    assert rates[0] == 0
    assert rates[20] == pytest.approx(1)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert learning_rate_factor(0.0, 0.0) == 1


class AnswersBrightness(nn.Module):
    """Says class 1 where the first pixel is above 0.5: an answer known without training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.scale * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([-bright, bright], dim=1)


def test_accuracy_counts_over_uneven_batches_and_keeps_the_mode():
    pixels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    split = Split(samples=pixels.reshape(5, 1, 1, 1), labels=torch.tensor([0, 1, 0, 0, 0]))
    module = AnswersBrightness().train()
    assert accuracy(module, split, batch_size=2) == pytest.approx(3 / 5)
    assert module.training
    with pytest.raises(RequestError, match="none"):
        accuracy(module, Split(samples=split.images[:0], labels=split.labels[:0]))


def test_noisy_accuracy_without_noise_is_the_accuracy():
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Flatten(1), nn.Linear(64, 10))
    initialise_(module, stream(0, "weights"))
    split = load_dataset("digits").test
    assert noisy_accuracy(module, split, 0.0, draws=3) == (accuracy(module, split), 0.0)
    repeat = [noisy_accuracy(module, split, 0.3, draws=4, seed=9) for _ in range(2)]
    assert repeat[0] == repeat[1]
    assert repeat[0][1] > 0
    with pytest.raises(RequestError, match="draws 0"):
        noisy_accuracy(module, split, 0.1, draws=0)
