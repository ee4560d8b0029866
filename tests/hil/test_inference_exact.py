"""On an ideal chip the network equals the exact integer reference, for both plans, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hil import open_chip
from hil.inference import (
    DeploymentSettings,
    Plan,
    PlanSettings,
    QuantisedReference,
    deploy,
    plan_network,
)
from hil.mapping import Scaling


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(10)
        self.inner = nn.Conv2d(10, 10, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(10)
        self.grow = nn.Conv2d(10, 33, 5, stride=2, padding=(2, 1), dilation=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(33, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = x + functional.relu(self.inner_norm(self.inner(x)))
        x = functional.max_pool2d(torch.relu(self.grow(x)), 2)
        x = functional.dropout(self.pool(x).flatten(1), 0.3)
        return self.head(self.drop(x))


class Groups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(6, 12, 3, groups=6, padding="same", padding_mode="circular")
        self.point = nn.Conv2d(12, 8, 1, groups=2)
        self.wide = nn.Conv2d(8, 5, (3, 2), dilation=(2, 1), stride=(1, 3), bias=False)
        self.act = nn.PReLU(5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(self.depthwise(x))
        return self.act(self.wide(self.point(x).sigmoid() - 0.5)).mean(dim=(2, 3))


class OneDimension(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 9, 7, stride=3, padding=2)
        self.norm = nn.BatchNorm1d(9)
        self.second = nn.Conv1d(9, 4, 2, dilation=3)
        self.token = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        x = self.second(x).transpose(1, 2)
        return self.token(x).amax(dim=1)


class Shared(nn.Module):
    """One layer at two places, and a batch-norm before its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(20)
        self.twice = nn.Linear(20, 20)
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_norm(x)
        x = torch.relu(self.twice(x))
        return self.head(torch.relu(self.twice(x)) + x)


class Tall(nn.Module):
    """Rows and cols beyond one core of 256 x 256, and not multiples of it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(601, 90)
        self.b = nn.Linear(90, 130)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


class Huge(nn.Module):
    """A layer larger than both cores together: only in rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(530, 301)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


CASES: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (5, 3, 11, 9)),
    "groups": (Groups, (3, 6, 8, 7)),
    "one_dimension": (OneDimension, (4, 2, 50)),
    "shared": (Shared, (9, 20)),
    "tall": (Tall, (6, 601)),
    "huge": (Huge, (6, 530)),
}
RESIDENT = [name for name in CASES if name != "huge"]


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Fill every parameter and statistic from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(
                torch.randn(value.shape, generator=generator) * 0.3 + 0.1 * ("norm" in name)
            )
        for name, value in module.named_buffers():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.2)
            elif name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return module.eval()


def build(name: str, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        kind, shape = CASES[name]
        module = randomise(kind(), seed)
    generator = torch.Generator().manual_seed(seed + 100)
    samples = torch.randn(shape, generator=generator)
    return module, samples, torch.randn((7, *shape[1:]), generator=generator)


@pytest.mark.parametrize("name", RESIDENT)
@pytest.mark.parametrize("calibrate", [False, True])
def test_resident_equals_the_integer_reference(name: str, calibrate: bool) -> None:
    module, samples, images = build(name)
    plan = plan_network(module, samples)
    with open_chip("sim:ideal?cores=2") as chip:
        settings = DeploymentSettings(method="open_loop", calibrate=calibrate)
        got = deploy(chip, plan, settings).run(images)
    assert torch.equal(got, QuantisedReference(plan).run(images))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cores", [1, 2])
def test_reprogram_equals_the_integer_reference(name: str, cores: int) -> None:
    module, samples, images = build(name, seed=3)
    plan = plan_network(module, samples, PlanSettings(scaling=Scaling.PER_MATRIX))
    with open_chip(f"sim:ideal?cores={cores}") as chip:
        settings = DeploymentSettings(plan=Plan.REPROGRAM, method="open_loop", calibrate=False)
        deployment = deploy(chip, plan, settings)
        got = deployment.run(images)
        again = deployment.run(images)
    assert torch.equal(got, QuantisedReference(plan).run(images))
    assert torch.equal(got, again)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("small", ["rows=101&cols=67", "rows=83&cols=47&cores=3"])
def test_neither_plan_nor_core_size_changes_a_bit(name: str, small: str) -> None:
    """All layers in one large array, or each in many rounds of small ones: the same sums."""
    module, samples, images = build(name, seed=8)
    plan = plan_network(module, samples)
    outputs = []
    for address, kind in (
        ("sim:ideal?rows=640&cols=640", Plan.RESIDENT),
        (f"sim:ideal?{small}", Plan.REPROGRAM),
    ):
        with open_chip(address) as chip:
            settings = DeploymentSettings(plan=kind, method="open_loop", calibrate=False)
            deployment = deploy(chip, plan, settings)
            outputs.append(deployment.run(images))
            rounds = max(layer.rounds for layer in deployment.report().layers)
    assert name != "huge" or rounds > 5
    assert torch.equal(outputs[0], QuantisedReference(plan).run(images))
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("name", CASES)
def test_finer_codes_approach_the_float_network(name: str) -> None:
    """Quantisation error falls in proportion to the step; folding and im2col add nothing."""
    module, samples, _ = build(name, seed=5)
    with torch.no_grad():
        # BatchNorm and dropout modules are in evaluation mode; functional dropout must be absent.
        wanted = _without_functional_dropout(module, samples)
    errors = []
    for levels in (31, 511, 8191):
        plan = plan_network(
            module,
            samples,
            PlanSettings(weight_levels=levels, input_levels=levels, range_quantile=1.0),
        )
        got = QuantisedReference(plan).run(samples)
        errors.append(float((got - wanted).norm() / wanted.norm()))
    slope = np.polyfit(np.log([31, 511, 8191]), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.25)
    assert errors[-1] < 3e-3


def _without_functional_dropout(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, Residual):
        y = functional.relu(module.norm(module.stem(x)))
        y = y + functional.relu(module.inner_norm(module.inner(y)))
        y = functional.max_pool2d(torch.relu(module.grow(y)), 2)
        return module.head(module.pool(y).flatten(1))
    return module(x)


def test_one_batch_equals_its_halves() -> None:
    module, samples, images = build("residual")
    plan = plan_network(module, samples)
    with open_chip("sim:ideal?cores=2") as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        whole = deployment.run(images)
        halves = torch.cat([deployment.run(images[:3]), deployment.run(images[3:])])
        nothing = deployment.run(images[:0])
    torch.testing.assert_close(whole, halves)
    assert nothing.shape == (0, 7)
