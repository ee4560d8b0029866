"""Recipes on chips: exact on the ideal one, repeatable from the record, one folder per chip."""

import json

import numpy as np
import pytest
import torch

from hil.address import address_with
from hil.errors import RequestError
from hil.experiment import run_experiment
from hil.experiment_prepare import prepare_experiment
from hil.experiment_repeat import run_recipe
from hil.experiment_results import ExperimentResult, RepeatedResult
from hil.progress import Silent
from hil.recipe import Recipe, parse_recipe
from hil.record import RunStatus, load_record, new_record
from hil.run_folder import RunFolder
from hil.session import Session, load_wear
from hil.training import save_checkpoint
from hil.training.settings import TrainingSettings
from hil.training.train import train

RECIPE = """
schema_version = 1
name = "small"
title = "A small network"
network = {{ checkpoint = "{checkpoint}" }}
data = {{ dataset = "digits", samples = 90, calibration_samples = 32 }}
mapping = {{ plan = "{plan}" }}
programming = {{ methods = ["open_loop"] }}
time = {{ ages_s = [0, 100], compensation = ["none", "affine"] }}
goal = {{ method = "open_loop", max_accuracy_loss = {loss} }}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "mlp.safetensors"
    settings = TrainingSettings(network="mlp-digits", epochs=3, batch_size=128)
    result = train(settings)
    save_checkpoint(path, result.module, result.metadata)
    return path


def recipe_of(checkpoint, *overrides, plan="resident", loss=0.05) -> Recipe:
    text = RECIPE.format(checkpoint=checkpoint, plan=plan, loss=loss)
    return parse_recipe(text, source="small", overrides=overrides)


def run_once(recipe, address, path):
    record = new_record("small", command=("hil",), seed=4, address=address)
    prepared = prepare_experiment(recipe)
    with (
        RunFolder.create(path, record) as folder,
        Session.open(address, seed=4, folder=folder) as session,
    ):
        return run_experiment(prepared, session, progress=Silent())


@pytest.mark.parametrize("plan", ["resident", "reprogram"])
def test_on_the_ideal_chip_every_point_is_the_quantised_network(checkpoint, tmp_path, plan):
    result = run_once(recipe_of(checkpoint, plan=plan), "sim:ideal?cores=1", tmp_path / "run")
    assert {p.accuracy for p in result.points} == {result.quantised_accuracy}
    assert all(p.mvm_error < 1e-9 for p in result.points)
    assert len(result.points) == 4
    assert result.goal_met


@pytest.mark.parametrize(("settle", "settle_s"), [((), 1.0), (("time.settle_s=25",), 25.0)])
def test_ages_count_from_calibration_and_points_know_their_own(
    checkpoint, tmp_path, settle, settle_s
):
    recipe = recipe_of(checkpoint, *settle)
    result = run_once(recipe, "sim:ideal?cores=1", tmp_path / "run")
    for point in result.points:
        passed_s = point.measured_age_s - settle_s - point.age_s
        assert 0 <= passed_s < 0.1


def test_pulses_are_those_of_the_cells_in_use_and_agree_with_the_wear(checkpoint, tmp_path):
    result = run_once(recipe_of(checkpoint), "sim:hermes?cores=1&seed=2", tmp_path / "run")
    cost = result.methods[0]
    worn = load_wear(tmp_path / "run")[0]
    assert cost.pulses_total == worn.sum()
    cells = sum(place.rows * place.cols for place in result.placement)
    assert sum(cost.pulses_histogram) == 4 * cells
    weighted = np.dot(np.arange(len(cost.pulses_histogram)), cost.pulses_histogram)
    assert weighted == cost.pulses_total
    assert cost.pulses_max == worn.max()


def test_equal_seeds_give_equal_results_and_another_chip_gives_others(checkpoint, tmp_path):
    def points(name, seed):
        address = f"sim:hermes?cores=1&seed={seed}"
        return run_once(recipe_of(checkpoint), address, tmp_path / name).points

    one = points("a", 1)
    assert points("b", 1) == one
    assert points("c", 2) != one


def test_confusion_counts_every_test_image_once_by_its_true_class(checkpoint, tmp_path):
    recipe = recipe_of(checkpoint)
    result = run_once(recipe, "sim:ideal?cores=1", tmp_path / "run")
    table = np.array(result.confusion)
    labels = prepare_experiment(recipe).test.labels
    assert np.array_equal(table.sum(axis=1), torch.bincount(labels, minlength=10).numpy())
    assert np.trace(table) / table.sum() == pytest.approx(
        result.point("open_loop", 100.0, "none").accuracy
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("network.checkpoint=none-such", "none-such"),
        ("data.dataset=imagenet", "imagenet"),
        ("data.dataset=mnist", "--data DIR"),
        ("data.samples=100000", "has 360 images"),
        ("programming.settings.open_loop.speed=1", "speed"),
    ],
)
def test_what_cannot_run_is_refused_before_any_chip_is_opened(checkpoint, override, words):
    with pytest.raises(RequestError, match=words):
        prepare_experiment(recipe_of(checkpoint, override))


def test_a_network_larger_than_the_chip_is_refused_before_any_pulse(checkpoint, tmp_path):
    with pytest.raises(RequestError, match="does not fit"):
        run_once(recipe_of(checkpoint), "sim:ideal?cores=1&rows=16&cols=16", tmp_path / "run")
    record = load_record(tmp_path / "run")
    assert record.status is RunStatus.REFUSED
    assert record.journal.verbs.get("program", 0) == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_repeated_recipe_runs_once_per_chip_in_a_folder_of_its_own(checkpoint, tmp_path, jobs):
    recipe = recipe_of(checkpoint, "chip.seeds=[1, 2]", "data.samples=40", loss=1.0)
    record = new_record("small", command=("hil",), seed=0)
    with RunFolder.create(tmp_path / "run", record) as folder:
        result = run_recipe(recipe, address="sim:hermes?cores=1", seed=0, folder=folder, jobs=jobs)
    assert isinstance(result, RepeatedResult)
    assert [r.chip.serial for r in result.runs] == ["SIM-HERMES-0000001", "SIM-HERMES-0000002"]
    for chip_seed, run in zip((1, 2), result.runs, strict=True):
        own = load_record(tmp_path / "run" / f"chip-{chip_seed}")
        assert own.status is RunStatus.DONE
        assert ExperimentResult.model_validate(own.results) == run
    for row in result.spreads:
        values = [
            run.point(row.method, row.age_s, row.compensation).accuracy for run in result.runs
        ]
        assert row.accuracy == pytest.approx(np.mean(values))


def test_results_survive_their_json_document(checkpoint, tmp_path):
    result = run_once(recipe_of(checkpoint), "sim:ideal?cores=1", tmp_path / "run")
    assert ExperimentResult.model_validate(json.loads(result.model_dump_json())) == result


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("sim:hermes", "sim:hermes?seed=5"),
        ("sim:hermes?seed=1&cores=2", "sim:hermes?seed=5&cores=2"),
        ("loopback:sim:hermes?cores=2", "loopback:sim:hermes?cores=2&seed=5"),
    ],
)
def test_a_chip_seed_replaces_the_one_of_the_address(address, expected):
    assert address_with(address, seed=5, adc_bits=None) == expected
