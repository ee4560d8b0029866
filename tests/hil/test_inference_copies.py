"""Copies of rows: the same products from more cells, with less error, at no more MVMs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hil import open_chip
from hil.inference import DeploymentSettings, PlanSettings, QuantisedReference, deploy, plan_network
from hil.inference.archive import read_archive, save_deployment
from hil.inference.plan_report import plan_report
from hil.training.networks import initialise_
from hil.training.streams import stream


def a_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, stride=2),
            nn.Flatten(),
            nn.Linear(36, 5),
        )
    initialise_(network, stream(3, "weights"))
    return network.eval()


def inputs(count: int) -> torch.Tensor:
    return torch.randn(count, 2, 8, 8, generator=stream(4, "inputs"))


def plan_with(fill_rows: int):
    return plan_network(a_network(), inputs(64), PlanSettings(fill_rows=fill_rows))


@pytest.mark.parametrize(
    ("fill_rows", "copies"), [(0, (1, 1, 1)), (60, (3, 1, 1)), (128, (7, 2, 3))]
)
def test_every_layer_has_as_many_copies_as_fit(fill_rows, copies):
    plan = plan_with(fill_rows)
    rows = [18, 54, 36]
    assert tuple(layer.geometry.copies for layer in plan.layers.values()) == copies
    assert [layer.rows for layer in plan.layers.values()] == [
        n * k for n, k in zip(rows, copies, strict=True)
    ]
    assert plan.weights == 18 * 6 + 54 * 4 + 36 * 5


def test_the_reference_does_not_depend_on_copies():
    once, often = (QuantisedReference(plan_with(n)).run(inputs(9)) for n in (0, 128))
    assert torch.allclose(once, often, rtol=1e-6, atol=1e-6)


def test_an_ideal_chip_gives_the_reference_of_the_copied_plan_exactly():
    plan = plan_with(100)
    with open_chip("sim:ideal?rows=128&cols=16") as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        assert torch.equal(deployment.run(inputs(7)), QuantisedReference(plan).run(inputs(7)))


def test_copies_lower_the_error_and_cost_no_mvm():
    errors, mvms = [], []
    for fill_rows in (0, 252):
        plan = plan_with(fill_rows)
        with open_chip("sim:hermes?seed=5&off=mismatch+wire") as chip:
            report = plan_report(plan, chip.info)
            deployment = deploy(chip, plan, DeploymentSettings(method="verify"))
            deployment.run(inputs(40))
            first = deployment.report().layers[0]
            assert first.mvms == report.layers[0].mvms * 40
        errors.append(first.mvm_error)
        mvms.append(report.mvms)
    assert mvms[0] == mvms[1]
    # 14 copies of the first layer: noise falls to 1 / sqrt(14) = 0.27; converters round as before.
    assert errors[1] < 0.5 * errors[0]


def test_an_archive_keeps_the_copies(tmp_path):
    plan = plan_with(128)
    with open_chip("sim:hermes?seed=5&rows=128&cols=32") as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        save_deployment(deployment, tmp_path)
        wanted = deployment.run(inputs(3))
    archive = read_archive(tmp_path)
    with open_chip(archive.address) as chip:
        assert torch.equal(archive.deployment(chip, a_network()).run(inputs(3)), wanted)
