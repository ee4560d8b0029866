"""Every bundled recipe can be planned on its own chip; the workloads are what they claim to be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hil.address import address_with
from hil.cli import main
from hil.errors import RequestError
from hil.experiment_plan import RecipePlan, plan_recipe
from hil.recipe import Recipe, bundled_recipes, load_recipe
from hil.training.checkpoint import bundled_checkpoints
from hil.training.data import dataset_names
from hil.training.networks import network_names

WORKLOADS = ("resnet9_cifar10", "kws")
MONTH_S = 30 * 86_400


def untrained(recipe: Recipe) -> Recipe:
    """Return the recipe with random weights where its checkpoint is not bundled."""
    name = recipe.network.checkpoint
    if name is None or name in bundled_checkpoints():
        return recipe
    assert name in network_names()
    section = {"untrained": name}
    return Recipe.model_validate({**recipe.model_dump(), "network": section})


def planned(name: str, *changes: str, address: str | None = None) -> RecipePlan:
    recipe = untrained(load_recipe(name, changes))
    return plan_recipe(recipe, address or recipe.chip.address)


@pytest.mark.parametrize("name", bundled_recipes())
def test_every_recipe_fits_its_chip_without_any_data(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.data.dataset in dataset_names()
    report = planned(name).report
    assert report.plan == recipe.mapping.plan
    assert report.mvms == sum(core.mvms for core in report.cores) > 0
    if recipe.mapping.plan == "resident":
        assert report.utilisation < 1
        assert all(core.cells_left >= 0 for core in report.cores)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_measures_both_methods_over_a_month_with_every_compensation(name: str) -> None:
    recipe = load_recipe(name)
    assert set(recipe.programming.methods) == {"verify", "gdp"}
    assert recipe.time.ages_s == (0, 3600, 86_400, MONTH_S)
    assert set(recipe.time.compensation) >= {"none", "global", "per_column", "batch_norm"}
    assert recipe.mapping.plan == "resident"
    assert recipe.data.samples in (None, 2000)


def test_the_keyword_spotter_is_one_array_of_991_mvms() -> None:
    report = planned("kws").report
    assert report.model == "aon"
    assert report.mvms == 991
    assert round(100 * report.utilisation, 2) == 57.36


def test_the_same_resnet_runs_on_one_core_by_writing_layers_in_turn() -> None:
    two = planned("resnet9_cifar10").report
    assert sum(core.cols_used for core in two.cores) == 430
    alone = address_with(load_recipe("resnet9_cifar10").chip.address, cores=1)
    with pytest.raises(RequestError, match="are missing"):
        planned("resnet9_cifar10", address=alone)
    one = planned("resnet9_cifar10", "mapping.plan=reprogram", address=alone).report
    assert one.mvms == two.mvms
    assert one.rounds == 9


def test_the_wide_resnet_is_fourteen_times_its_chip() -> None:
    found = planned("resnet9_wide")
    assert not found.trained
    assert found.report.weights == 1_866_536
    assert found.report.utilisation > 14
    assert found.report.rounds == 35


def test_the_wide_recipe_runs_with_layers_larger_than_the_whole_chip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A smaller network on a smaller chip, exact: nothing is lost between rounds."""
    changes = (
        'network={untrained="mlp-digits"}',
        "data.dataset=digits",
        "programming.methods=['open_loop']",
        "goal.method=open_loop",
    )
    arguments = [word for change in changes for word in ("--set", change)]
    monkeypatch.chdir(tmp_path)
    command = ["hil", "run", "resnet9_wide", "--core", "sim:ideal?rows=37&cols=29", *arguments]
    monkeypatch.setattr(sys, "argv", [*command, "--out", "a"])
    main_exits_with(0)
    said = json.loads(capsys.readouterr().out)
    (point,) = said["points"]
    plan = said["plan"]
    assert max(layer["cells"] for layer in plan["layers"]) > plan["cells_chip"]
    assert plan["rounds"] > len(plan["layers"])
    assert point["mvm_error"] < 1e-6
    assert point["accuracy"] == said["quantised_accuracy"]


def main_exits_with(code: int) -> None:
    try:
        main()
    except SystemExit as left:
        assert (left.code or 0) == code  # noqa: PT017 - both ways out are fine
