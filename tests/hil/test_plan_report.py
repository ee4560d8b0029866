"""What a plan says before the chip is touched is what a run does: splits, places, MVMs, time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hil import RequestError, open_chip
from hil.inference import DeploymentSettings, NetworkPlan, deploy, plan_network
from hil.inference.plan_report import PlanReport, plan_report
from hil.mapping import CoreSize, PlacedBlock, Placement
from hil.programming import algorithm
from hil.training.networks import build_network, initialise_, network_spec
from hil.training.streams import stream


class Mixed(nn.Module):
    """Groups, a stride, a shared layer, a skip, and more rows and cols than a small core has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.twice = nn.Linear(12, 12)
        self.head = nn.Linear(12 * 5 * 4, 31)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.grouped(x)
        x = self.twice(torch.relu(self.twice(x.movedim(1, -1))))
        return self.head(functional.dropout(x.flatten(1), 0.3))


def planned(name: str) -> NetworkPlan:
    spec = network_spec(name)
    module = build_network(spec).eval()
    initialise_(module, stream(0, "weights"))
    return plan_network(module, torch.zeros((2, *spec.image_shape)))


def mixed() -> NetworkPlan:
    with torch.random.fork_rng():
        module = Mixed()
    initialise_(module, stream(3, "weights"))
    images = torch.randn((4, 3, 9, 8), generator=stream(3, "images"))
    return plan_network(module.eval(), images)


def report_on(address: str, plan: NetworkPlan, kind: str = "resident") -> PlanReport:
    with open_chip(address) as chip:
        info = chip.info
    return plan_report(plan, info, kind)


@pytest.mark.parametrize("kind", ["resident", "reprogram"])
@pytest.mark.parametrize("address", ["sim:ideal?cores=2&rows=61&cols=75", "sim:ideal?rows=300"])
def test_a_run_does_what_the_plan_said(kind: str, address: str) -> None:
    plan = mixed()
    images = torch.randn((5, 3, 9, 8), generator=stream(4, "images"))
    method = algorithm("open_loop")
    with open_chip(address) as chip:
        said = plan_report(plan, chip.info, kind, methods=[method])
        assert all(core.status().pulses == core.status().mvms == 0 for core in chip.cores)
        settings = DeploymentSettings(plan=kind, method=method, calibrate=False)
        deployment = deploy(chip, plan, settings)
        before = [core.status().mvms for core in chip.cores]
        deployment.run(images)
        did = deployment.report()
        pulses = sum(core.status().pulses for core in chip.cores)
        mvms = [core.status().mvms - b for core, b in zip(chip.cores, before, strict=True)]
    assert did.placements == said.placements
    assert did.mvms == len(images) * said.mvms
    assert did.chip_s == pytest.approx(len(images) * said.chip_s)
    assert said.methods[0].pulses == pulses
    assert said.utilisation == did.utilisation
    if kind == "resident":
        assert mvms == [len(images) * core.mvms for core in said.cores]
    for layer, ran in zip(said.layers, did.layers, strict=True):
        assert (layer.name, layer.rows, layer.cols) == (ran.name, ran.rows, ran.cols)
        assert (layer.cells, layer.blocks, layer.rounds) == (ran.cells, ran.tiles, ran.rounds)
        assert len(layer.cores) == ran.cores
        assert ran.vectors == len(images) * layer.vectors
        assert ran.mvms == len(images) * layer.mvms


@pytest.mark.parametrize("kind", ["resident", "reprogram"])
def test_cells_writings_and_shares_add_up(kind: str) -> None:
    said = report_on("sim:ideal?cores=2&rows=61&cols=75", mixed(), kind)
    by_name = {layer.name: layer for layer in said.layers}
    assert said.cells == sum(layer.cells for layer in said.layers) < said.weights  # groups: zeros
    assert said.rounds == sum(core.writings for core in said.cores)
    assert all(core.cells_used + core.cells_left == 61 * 75 for core in said.cores)
    assert by_name["twice"].calls == 2
    assert by_name["twice"].vectors == 2 * 5 * 4
    assert by_name["head"].row_splits == 4  # 240 rows on 61
    assert by_name["head"].partial_sums == 3 * 31
    assert all(layer.copies == 1 for layer in said.layers)
    for layer in said.layers:
        for other in layer.shares_with:
            assert set(by_name[other].cores) & set(layer.cores)
            assert layer.name in by_name[other].shares_with
    assert any(layer.shares_with for layer in said.layers) == (kind == "resident")
    if kind == "reprogram":
        assert said.rounds > len(said.cores)
        assert said.devices == 2 * (said.cells + by_name["twice"].cells)  # written at each call


def test_work_on_the_host_is_named_once_and_what_only_moves_is_not() -> None:
    said = report_on("sim:ideal?rows=300", mixed())
    work = {step.operation: (step.calls, step.values) for step in said.host}
    assert work == {"relu": (2, 2 * 12 * 20), "add": (1, 12 * 20)}
    modules = report_on("sim:ideal?cores=2", planned("resnet9-digits")).host
    assert [step.operation for step in modules] == ["relu", "max_pool2d", "add"]


def test_the_two_core_resnet_takes_430_of_512_columns_in_blocks_of_252_rows() -> None:
    said = report_on("sim:hermes?cores=2", planned("resnet9-cifar10"))
    assert said.weights == said.cells == 100_100
    assert sum(core.cols_used for core in said.cores) == 430
    blocks = said.placements[0].blocks
    assert {b.rows for b in blocks} == {27, 252, 56}
    assert sum(b.cols for b in blocks) == 430
    assert [layer.row_splits for layer in said.layers] == [1, 1, 1, 1, 1, 1, 2, 2, 1]
    assert [layer.vectors for layer in said.layers] == [1024, 1024, 256, 256, 256, 64, 16, 16, 1]
    assert said.mvms == 1024 * 2 + 256 * 3 + 64 + 16 * 2 * 2 + 1
    assert said.chip_s == pytest.approx(said.mvms * 130e-9)
    assert said.rounds == 2


def test_the_keyword_spotter_comes_out_as_published() -> None:
    """arXiv 2111.06503: 57.3 % of the array and 7,762 inferences a second at 130 ns."""
    said = report_on("sim:aon", planned("analognet-kws"))
    sizes = [(layer.rows, layer.cols, layer.vectors) for layer in said.layers]
    assert sizes == [
        (40, 84, 490),
        (756, 112, 125),
        (1008, 84, 125),
        (756, 84, 125),
        (756, 84, 125),
        (84, 12, 1),
    ]
    assert all(layer.blocks == 1 for layer in said.layers)
    assert said.mvms == said.cycles == 991
    assert said.cells == 300_720
    assert round(100 * said.utilisation, 2) == 57.36
    assert said.chip_s == pytest.approx(128.8e-6, rel=1e-3)
    assert int(said.samples_per_s) == 7762


def test_a_network_larger_than_the_chip_goes_in_rounds_and_is_refused_as_resident() -> None:
    plan = planned("resnet9-cifar10-wide")
    said = report_on("sim:hermes?cores=2", plan, "reprogram")
    assert said.weights == 1_866_536
    rows = [(layer.rows, layer.cols, layer.row_splits, layer.rounds) for layer in said.layers]
    assert rows[4:6] == [(1008, 224, 4, 2), (2016, 224, 8, 4)]
    assert len(said.placements) == sum(layer.rounds for layer in said.layers) == 19
    with pytest.raises(RequestError, match=r"1735464 are missing.*\"reprogram\" runs it"):
        report_on("sim:hermes?cores=2", plan)


def test_uncalibrated_ranges_are_not_passed_off_as_ranges() -> None:
    plan = mixed()
    with open_chip("sim:ideal?rows=300") as chip:
        blank = plan_report(plan, chip.info, ranges_calibrated=False)
        known = plan_report(plan, chip.info)
    assert {layer.input_range for layer in blank.layers} == {None}
    assert [x.input_range for x in known.layers] == [x.input_range for x in plan.layers.values()]
    assert PlanReport.model_validate_json(known.model_dump_json()) == known


def test_pulses_are_predicted_only_where_they_are_known() -> None:
    with open_chip("sim:hermes?cores=2") as chip:
        methods = [algorithm(name) for name in ("open_loop", "verify", "gdp")]
        said = plan_report(mixed(), chip.info, methods=methods)
    assert [m.pulses_per_device for m in said.methods] == [1.0, None, None]
    assert (
        said.methods[0].pulses == said.devices == said.cells * chip.info.cores[0].devices_per_cell
    )


def test_blocks_on_the_same_rows_with_the_same_inputs_share_a_cycle() -> None:
    def block(row: int, col: int, core: int, core_row: int, core_col: int) -> PlacedBlock:
        return PlacedBlock(
            layer="a",
            **{"row": row, "col": col, "rows": 4, "cols": 3},
            **{"core": core, "core_row": core_row, "core_col": core_col},
        )

    side_by_side = [block(0, 0, 0, 0, 0), block(0, 3, 0, 0, 5)]
    other_inputs, other_core = block(4, 0, 0, 4, 0), block(4, 3, 1, 4, 0)
    sizes = (CoreSize(rows=8, cols=8),) * 2
    for blocks, cycles in (
        (side_by_side, 1),
        ([*side_by_side, other_inputs], 2),
        ([*side_by_side, other_inputs, other_core], 3),
    ):
        assert Placement(cores=sizes, blocks=tuple(blocks)).cycles("a") == cycles
