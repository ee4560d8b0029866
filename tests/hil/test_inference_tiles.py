"""Blocks of zeros take no cells, and every weight keeps its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hil import RecordError, open_chip
from hil.core import Pulse
from hil.inference import (
    DeploymentSettings,
    NetworkPlan,
    Plan,
    QuantisedReference,
    deploy,
    plan_network,
)
from hil.inference.tiles import layer_tiles
from hil.info import PulseFamily
from hil.mapping import CoreSize


def planned(layer: nn.Module, shape: tuple[int, ...]) -> tuple[NetworkPlan, Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    samples = torch.randn((8, *shape), generator=generator)
    return plan_network(nn.Sequential(layer), samples), samples


def depthwise(channels: int) -> nn.Module:
    with torch.random.fork_rng():
        return nn.Conv2d(channels, channels, 3, groups=channels, padding=1)


@pytest.mark.parametrize("size", [CoreSize(rows=64, cols=16), CoreSize(rows=256, cols=256)])
def test_every_weight_lies_in_exactly_one_block(size: CoreSize) -> None:
    plan, _ = planned(depthwise(40), (40, 4, 4))
    (layer,) = plan.layers.values()
    tiles = layer_tiles(layer, [size])
    covered = np.zeros((layer.rows, layer.cols), np.int64)
    for tile in tiles:
        assert tile.rows <= size.rows
        assert tile.cols <= size.cols
        covered[tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols] += 1
    assert covered.max() == 1
    assert (covered[layer.encoded.fraction != 0] == 1).all()
    assert sum(tile.cells for tile in tiles) == covered.sum() < covered.size


@pytest.mark.parametrize("kind", Plan)
def test_a_depthwise_layer_is_exact_on_a_part_of_the_cells(kind: Plan) -> None:
    plan, images = planned(depthwise(60), (60, 4, 4))
    with open_chip("sim:ideal?cores=1") as chip:
        settings = DeploymentSettings(plan=kind, method="open_loop")
        deployment = deploy(chip, plan, settings)
        got = deployment.run(images)
        report = deployment.report()
    assert torch.equal(got, QuantisedReference(plan).run(images))
    assert report.cells < 540 * 60 / 2
    assert report.layers[0].cells == report.cells == sum(p.cells_used for p in report.placements)


def test_a_layer_without_weights_gives_its_bias() -> None:
    with torch.random.fork_rng():
        layer = nn.Linear(30, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.arange(4.0))
    plan = plan_network(nn.Sequential(layer), torch.ones(3, 30))
    for address, noise in (("sim:ideal", 1e-6), ("sim:hermes?rows=32&cols=32", 0.05)):
        with open_chip(address) as chip:
            got = deploy(chip, plan, DeploymentSettings(method="open_loop")).run(torch.ones(5, 30))
        assert torch.allclose(got, torch.arange(4.0).expand(5, 4), atol=noise)


def test_a_deployment_whose_cells_were_pulsed_refuses_to_run() -> None:
    with torch.random.fork_rng():
        layer = nn.Linear(30, 4)
    plan, images = planned(layer, (30,))
    with open_chip("sim:hermes?rows=32&cols=32&seed=2") as chip:
        deployment = deploy(chip, plan, DeploymentSettings(method="open_loop"))
        deployment.run(images)
        kinds = {record.kind for record in deployment.records}
        assert kinds == {"adc_gain", "adc_offset", "column_affine", "drift_baseline"}
        limits = chip.cores[0].info.limits(PulseFamily.RESET)
        chip.cores[0].program(
            Pulse.of(
                PulseFamily.RESET,
                device=0,
                rows=1,
                cols=1,
                amplitude=limits.amplitude.max_code,
                width=limits.width.max_code,
            )
        )
        with pytest.raises(RecordError, match="cells were pulsed"):
            deployment.run(images)


@pytest.mark.parametrize(("settle_s", "age_s"), [(None, 200.0), (3.0, 3.0)])
def test_layers_are_calibrated_at_the_age_asked_for(settle_s: float | None, age_s: float) -> None:
    with torch.random.fork_rng():
        layer = nn.Linear(30, 4)
    plan, _ = planned(layer, (30,))
    with open_chip("sim:hermes?rows=32&cols=32&seed=2") as chip:
        settings = DeploymentSettings(method="open_loop", settle_s=settle_s)
        deployment = deploy(chip, plan, settings)
        ages = [matrix.age_s for matrix in deployment.matrices.values()]
    assert ages == pytest.approx([age_s], abs=0.1)
