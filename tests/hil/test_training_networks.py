"""Networks: the published sizes, names, traceability, and what is refused."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from hil.errors import RequestError
from hil.training.networks import (
    build_network,
    initialise_,
    network_names,
    network_spec,
)
from hil.training.networks.analognet import AnalogNet, AnalogNetArguments
from hil.training.networks.mlp import MlpArguments
from hil.training.networks.resnet9 import ResNet9, ResNet9Arguments
from hil.training.streams import stream
from hil.training.weight_noise import analog_layers


def resnet9(arguments: ResNet9Arguments) -> ResNet9:
    with torch.random.fork_rng(devices=[]):
        return ResNet9(arguments)


def matrix_shapes(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Rows and cols of each analog layer on an array."""
    return {
        name: (layer.weight[0].numel(), layer.weight.shape[0])
        for name, layer in analog_layers(module).items()
    }


def test_two_core_network_of_the_literature_has_100726_parameters():
    arguments = ResNet9Arguments(
        image_shape=(3, 32, 32), channels=(28, 28, 28, 56), pools=(2, 2, 2, 4)
    )
    assert sum(p.numel() for p in resnet9(arguments).parameters()) == 100_726


def test_64_core_network_of_the_literature_has_1866536_weights():
    arguments = ResNet9Arguments(
        image_shape=(3, 32, 32), channels=(56, 112, 224, 224), pools=(2, 2, 2, 4)
    )
    shapes = matrix_shapes(resnet9(arguments))
    assert sum(rows * cols for rows, cols in shapes.values()) == 1_866_536
    assert shapes["conv4"] == (1008, 224)
    assert shapes["dense"] == (224, 10)


def test_resnet9_digits_needs_several_tiles_and_fits_two_256x256_cores():
    shapes = matrix_shapes(build_network(network_spec("resnet9-digits")))
    blocks = [cols for rows, cols in shapes.values() for _ in range(-(-rows // 256))]
    assert len(blocks) > 2
    assert all(rows % -(-rows // 256) == 0 for rows, _ in shapes.values())  # balanced blocks
    assert sum(blocks) <= 512
    used = sum(rows * cols for rows, cols in shapes.values())
    assert 0.6 <= used / (2 * 256 * 256) <= 0.9


def test_keyword_spotter_of_the_literature_has_300720_weights():
    shapes = matrix_shapes(build_network(network_spec("analognet-kws")))
    assert shapes == {
        "conv0": (40, 84),
        "conv1": (756, 112),
        "conv2": (1008, 84),
        "conv3": (756, 84),
        "conv4": (756, 84),
        "dense": (84, 12),
    }
    assert sum(rows * cols for rows, cols in shapes.values()) == 300_720


def test_first_convolution_keeps_the_size_as_padding_same_does():
    with torch.random.fork_rng(devices=[]):
        network = AnalogNet(AnalogNetArguments(channels=(3, 2, 2, 2, 2)))
    images = torch.randn(2, 1, 49, 10, generator=stream(0, "images"))
    weight = network.conv0.weight
    wanted = torch.zeros(2, 3, 49, 10)
    for frame in range(10):
        for coefficient in range(4):
            # Tap (4, 1) of the 10 x 4 kernel is in the middle: 4 and 1 zeros come before.
            moved = torch.zeros(2, 1, 49, 10)
            rows, cols = frame - 4, coefficient - 1
            to = (slice(max(0, -rows), 49 - max(0, rows)), slice(max(0, -cols), 10 - max(0, cols)))
            of = (slice(max(0, rows), 49 + min(0, rows)), slice(max(0, cols), 10 + min(0, cols)))
            moved[:, :, to[0], to[1]] = images[:, :, of[0], of[1]]
            wanted += moved * weight[None, :, 0, frame, coefficient, None, None]
    assert torch.allclose(network.conv0(network.border(images)), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 49, 10), (2, 12, 7), (1, 10, 4)], ids=str)
def test_analognet_takes_any_shape_its_first_kernel_fits(shape):
    with torch.random.fork_rng(devices=[]):
        network = AnalogNet(AnalogNetArguments(image_shape=shape, classes=3)).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 3)


def test_analognet_refuses_an_input_below_its_first_kernel():
    with pytest.raises(ValidationError, match=r"\(10, 4\) is larger than its input 9x10"):
        AnalogNetArguments(image_shape=(1, 9, 10))


@pytest.mark.parametrize("name", network_names())
def test_every_network_is_traceable_and_gives_the_logits_it_promises(name):
    spec = network_spec(name)
    module = build_network(spec)
    initialise_(module, stream(0, "initial weights"))
    module.eval()
    images = torch.rand(3, *spec.image_shape, generator=stream(0, "images"))
    logits = module(images)
    assert logits.shape == (3, spec.classes)
    assert torch.equal(torch.fx.symbolic_trace(module)(images), logits)


@pytest.mark.parametrize(
    ("image_shape", "pools"), [((3, 32, 32), (2, 2, 2, 4)), ((1, 9, 13), (2, 1, 2, 1))]
)
def test_resnet9_takes_any_image_shape_its_pools_leave(image_shape, pools):
    arguments = ResNet9Arguments(
        image_shape=image_shape, channels=(4, 5, 6, 7), pools=pools, classes=3
    )
    assert resnet9(arguments)(torch.zeros(2, *image_shape)).shape == (2, 3)


def test_pools_that_leave_nothing_are_refused():
    with pytest.raises(ValidationError, match="shrink a 8x8 image to nothing"):
        ResNet9Arguments(image_shape=(1, 8, 8), channels=(4, 4, 4, 4), pools=(2, 2, 2, 2))


def test_he_initialisation_has_its_variance_and_its_seed():
    spec = network_spec("mlp-mnist")
    first, same, other = (build_network(spec) for _ in range(3))
    for module, seed in ((first, 1), (same, 1), (other, 2)):
        initialise_(module, stream(seed, "initial weights"))
    weight = analog_layers(first)["layers.linear0"].weight.detach()
    assert torch.equal(weight, analog_layers(same)["layers.linear0"].weight)
    assert not torch.equal(weight, analog_layers(other)["layers.linear0"].weight)
    n = weight.numel()
    assert abs(float(weight.square().mean()) * 784 / 2 - 1) < 5 * (2 / n) ** 0.5


def test_unknown_network_lists_the_known_ones():
    with pytest.raises(RequestError, match=r"resnet99.*resnet9-digits"):
        network_spec("resnet99")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architecture": "vgg"}, "architecture 'vgg'.*known: resnet9, analognet, mlp"),
        ({"arguments": {"image_shape": [1, 8, 8], "hidden": [0]}}, "hidden.0 = 0 is refused"),
        ({"arguments": {"image_shape": [1, 8, 8], "hidden": []}}, "hidden = .* is refused"),
        ({"classes": 7}, "7 classes.*say .*10"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(change, sentence):
    spec = network_spec("mlp-digits").model_copy(update=change)
    with pytest.raises(RequestError, match=sentence):
        build_network(spec)


def test_meta_network_takes_no_memory_and_has_the_same_shapes():
    spec = network_spec("mlp-digits")
    real, meta = build_network(spec).state_dict(), build_network(spec, device="meta").state_dict()
    assert {k: v.shape for k, v in real.items()} == {k: v.shape for k, v in meta.items()}
    assert all(v.is_meta for v in meta.values())


def test_mlp_arguments_refuse_unknown_keys():
    with pytest.raises(ValidationError, match="depth"):
        MlpArguments.model_validate({"image_shape": (1, 8, 8), "hidden": (4,), "depth": 3})
