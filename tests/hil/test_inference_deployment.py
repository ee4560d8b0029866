"""Deployments: batch-norm re-estimation, compensation, ages, reports, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from hil import RequestError, open_chip
from hil.core import VerbEvent
from hil.inference import (
    AnalogLayer,
    Compensation,
    DeploymentReport,
    DeploymentSettings,
    LayerProgress,
    NetworkPlan,
    Plan,
    PlanSettings,
    QuantisedReference,
    deploy,
    deploy_network,
    plan_network,
    run_layer_serial,
)
from hil.inference.digital import NormCorrection, NormTarget
from hil.inference.layer_serial import Multiplier, Products, Stage

HERMES = "sim:hermes?cores=2&seed=11"


class Small(nn.Module):
    """Two convolutions with batch-norm and a dense layer; 261 rows need two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 29, 3, padding=1, bias=False)
        self.norm_a = nn.BatchNorm2d(29)
        self.b = nn.Conv2d(29, 12, 3, bias=False)
        self.norm_b = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_a(self.a(x)))
        x = functional.relu(self.norm_b(self.b(x)))
        return self.head(x.mean(dim=(2, 3)))


def images(count: int, seed: int) -> Tensor:
    return torch.randn((count, 2, 6, 6), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Random weights; batch-norm statistics as its own data give them, as after training."""
    with torch.random.fork_rng():
        module = Small()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise * 0.2 + ("norm" in name and name.endswith("weight")))
        for norm in (module.norm_a, module.norm_b):
            norm.momentum = None
        module.train()
        module(images(600, 1))
    return module.eval()


@pytest.fixture(scope="module")
def plan(network: nn.Module) -> NetworkPlan:
    return plan_network(network, images(200, 2))


class Distorted(Multiplier):
    """Exact products, seen through a gain and an offset per col."""

    max_batch = 64

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    @override
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        gain = self._rng.uniform(0.3, 1.2, layer.cols)
        offset = self._rng.normal(0.0, 2000.0, layer.cols)
        if layer.norm is None:
            gain, offset = np.ones(layer.cols), np.zeros(layer.cols)
        yield lambda codes: Products(units=codes @ layer.weight_codes * gain + offset)

    @override
    def now_s(self) -> float:
        return 0.0


def test_norm_correction_restores_mean_and_spread() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(3.0, 0.2, (4000, 3))
    outputs[:, 2] = 5.0
    target = NormTarget(mean=np.array([1.0, -2.0, 0.5]), std=np.array([2.0, 0.0, 1.0]))
    correction = NormCorrection.between(outputs, target)
    got = outputs * correction.scale + correction.offset
    np.testing.assert_allclose(got.mean(axis=0), target.mean, atol=1e-9)
    np.testing.assert_allclose(got.std(axis=0), [2.0, outputs[:, 1].std(), 0.0], atol=1e-9)


def test_batch_norm_reestimation_undoes_any_gain_and_offset_per_channel(plan: NetworkPlan) -> None:
    """AdaBS on exact and on distorted products comes out at the same network."""
    x = images(300, 3)
    exact = QuantisedReference(plan).run_full(x, norm_images=300)
    distorted = run_layer_serial(plan, x, Distorted(4), norm_images=300)
    spoiled = run_layer_serial(plan, x, Distorted(4))
    error = (distorted.outputs - exact.outputs).norm() / exact.outputs.norm()
    assert error < 0.01
    assert (spoiled.outputs - exact.outputs).norm() / exact.outputs.norm() > 0.3
    # On the data that batch-norm was trained on there is next to nothing to correct.
    for correction in exact.norms.values():
        np.testing.assert_allclose(correction.scale, 1.0, atol=0.12)


def relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


def test_every_compensation_brings_a_day_old_network_closer(plan: NetworkPlan) -> None:
    x, wanted = images(200, 5), QuantisedReference(plan).run(images(200, 5))
    with open_chip(HERMES) as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="verify"))
        deployment.let_age(200.0)
        fresh = relative(deployment.run(x), wanted)
        deployment.let_age(86_400.0)
        old = relative(deployment.run(x), wanted)
        assert old > 1.2 * fresh
        for mode in Compensation:
            deployment.compensate(mode, images(200, 6))
            got = relative(deployment.run(x), wanted)
            assert deployment.compensation is mode
            assert deployment.report().compensation == mode.value
            if mode is Compensation.NONE:
                assert got == pytest.approx(old, rel=0.1)
            else:
                assert got < old
        assert set(deployment.matrices) == set(plan.layers)


def test_reprogrammed_layers_reach_their_age_and_are_compensated(plan: NetworkPlan) -> None:
    x, wanted = images(100, 5), QuantisedReference(plan).run(images(100, 5))
    errors = {}
    with open_chip(HERMES) as chip:
        settings = DeploymentSettings(plan=Plan.REPROGRAM, method="verify")
        deployment = deploy(chip, plan, settings)
        deployment.let_age(86_400.0)
        assert chip.now_s() < 1.0
        for mode in ("none", "affine", "batch_norm"):
            deployment.compensate(mode, images(100, 6))
            began_s = chip.now_s()
            got = deployment.run(x)
            assert got.shape == (100, 5)
            assert chip.now_s() - began_s >= 3 * 86_400
            errors[mode] = relative(got, wanted)
        assert list(deployment.matrices) == ["head"]
        report = deployment.report()
        assert deployment.matrices["head"].age_s >= 86_400
    assert errors["affine"] < errors["none"]
    assert errors["batch_norm"] < errors["none"]
    assert [layer.rounds for layer in report.layers] == [1, 1, 1]
    assert len(report.placements) == 3


@pytest.mark.parametrize("kind", Plan)
def test_same_seed_same_outputs(plan: NetworkPlan, kind: Plan) -> None:
    outputs = []
    for _ in range(2):
        with open_chip(HERMES) as chip:
            deployment = deploy(chip, plan, DeploymentSettings(plan=kind, method="open_loop"))
            outputs.append(deployment.run(images(20, 7)))
    assert torch.equal(*outputs)


def test_report_counts_what_the_cores_counted(plan: NetworkPlan) -> None:
    with open_chip(HERMES) as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="verify"))
        assert deployment.report().mvm_error is None
        before = [core.status() for core in chip.cores]
        deployment.run(images(30, 8))
        after = [core.status() for core in chip.cores]
        report = deployment.report()
    assert report.mvms == sum(b.mvms - a.mvms for a, b in zip(before, after, strict=True))
    assert report.pulses_total == sum(status.pulses for status in after)
    assert report.reads == sum(status.reads for status in after)
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["a"].vectors == 30 * 36
    assert by_name["b"].vectors == 30 * 16
    assert by_name["b"].tiles == 2
    assert by_name["b"].mvms == 2 * 30 * 16
    assert by_name["head"].vectors == 30
    assert report.cells == 18 * 29 + 261 * 12 + 12 * 5
    assert report.utilisation == pytest.approx(report.cells / 131_072)
    assert report.backend == "sim"
    for layer in report.layers:
        assert 0.0 < layer.mvm_error < 0.5
        assert layer.success_share > 0.9
        assert layer.chip_s > 0
        assert layer.saturated_share < 0.05
    assert DeploymentReport.model_validate_json(report.model_dump_json()) == report


def test_progress_tells_layer_and_vectors_to_the_end(plan: NetworkPlan) -> None:
    seen: list[LayerProgress] = []
    with open_chip("sim:ideal?cores=2") as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        deployment.run(images(250, 9), on_layer=seen.append)
    assert [s.layer for s in seen if s.vectors_done == s.vectors] == ["a", "b", "head"]
    assert {s.calls for s in seen} == {3}
    assert [s.index for s in seen] == sorted(s.index for s in seen)
    first = [s.vectors_done for s in seen if s.layer == "a"]
    # 4096 vectors a request hold 113 images of 36 positions.
    assert first == [113 * 36, 226 * 36, 250 * 36]


def test_a_network_that_does_not_fit_names_layer_cells_and_next_step() -> None:
    with torch.random.fork_rng():
        module = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 200))
    plan = plan_network(module, torch.rand(4, 300, generator=torch.Generator()))
    events: list[VerbEvent] = []
    with open_chip("sim:ideal?cores=2") as chip:
        for core in chip.cores:
            core.observe(events.append)
        with pytest.raises(RequestError) as caught:
            deploy(chip, plan, DeploymentSettings(method="open_loop"))
        assert not events
        for word in ("'2'", "300 x 200", "60000", "41072 of 131072", 'plan = "reprogram"'):
            assert word in str(caught.value)
        # The next step that the sentence names does work.
        settings = DeploymentSettings(plan=Plan.REPROGRAM, method="open_loop")
        assert deploy(chip, plan, settings).run(torch.ones(2, 300)).shape == (2, 200)


def test_requests_out_of_range_are_refused_with_the_known(
    network: nn.Module, plan: NetworkPlan
) -> None:
    with pytest.raises(RequestError, match=r"plan 'lazy'.*resident, reprogram"):
        DeploymentSettings(plan="lazy")
    with pytest.raises(RequestError, match="seed -1"):
        DeploymentSettings(seed=-1)
    with open_chip("sim:ideal?cores=2") as chip:
        with pytest.raises(RequestError, match=r"'magic'.*open_loop"):
            deploy(chip, plan, DeploymentSettings(method="magic"))
        wide = PlanSettings(input_levels=200)
        with pytest.raises(RequestError, match=r"±200.*input_levels=127"):
            deploy_network(chip, network, images(5, 0), plan_settings=wide)
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        with pytest.raises(RequestError, match=r"'hope'.*none, global"):
            deployment.compensate("hope")
        with pytest.raises(RequestError, match="needs images"):
            deployment.compensate("batch_norm")
        with pytest.raises(RequestError, match="1 images"):
            deployment.reestimate_batch_norm(images(1, 0))
        with pytest.raises(RequestError, match="age_s -1"):
            deployment.let_age(-1.0)
        with pytest.raises(RequestError, match=r"\(batch, 2, 6, 6\)"):
            deployment.run(torch.zeros(1, 2, 6, 7))
        with torch.random.fork_rng():
            plain = nn.Sequential(nn.Linear(4, 2))
        bare = deploy_network(chip, plain, torch.ones(3, 4), DeploymentSettings(method="open_loop"))
        with pytest.raises(RequestError, match="compensation affine"):
            bare.compensate("batch_norm", torch.ones(3, 4))
