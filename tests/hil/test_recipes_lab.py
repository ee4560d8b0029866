"""Every bundled recipe can be planned on its own chip; the workloads are what they claim to be."""

from __future__ import annotations

import pytest

from hil.address import address_with
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
