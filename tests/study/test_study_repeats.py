"""Repeats over chips: failures are told and kept apart, what is done is not done again."""

import json

import numpy as np
import pytest

from hil import backends
from hil.core import Chip
from hil.errors import CoreTimeoutError, RecordError, RequestError
from hil.experiment_answers import ANSWERS_FILE, load_answers
from hil.experiment_jobs import raise_again
from hil.experiment_prepare import prepare_experiment
from hil.experiment_repeat import run_recipe
from hil.experiment_results import RepeatedResult
from hil.recipe import parse_recipe
from hil.record import RunError, RunStatus, load_record, new_record
from hil.run_folder import RunFolder

RECIPE = """
schema_version = 1
name = "small"
title = "A small network"
chip = { seeds = [1, 2, 3] }
network = { untrained = "mlp-digits" }
data = { dataset = "digits", samples = 40, batch = 16, calibration_samples = 16 }
programming = { methods = ["open_loop"] }
time = { ages_s = [0, 100], compensation = ["none", "affine"] }
goal = { method = "open_loop", max_accuracy_loss = 1 }
"""
ADDRESS = "sim:hermes?cores=1"
REFUSED_SEED = [2]


def small(*overrides):
    return parse_recipe(RECIPE, source="small", overrides=overrides)


def run_in(folder, recipe, address=ADDRESS, jobs=1):
    with folder as run:
        return run_recipe(recipe, address=address, seed=4, folder=run, jobs=jobs)


def record_of(recipe, address=ADDRESS):
    values = recipe.model_dump(mode="json")
    return new_record("small", command=("hil",), seed=4, address=address, recipe=values)


def open_fragile(address):
    """A simulated chip; that of one seed does not answer."""
    if int(address.options["seed"]) in REFUSED_SEED:
        raise CoreTimeoutError("no reply within 1 s")
    chip = backends.open_chip(address.text.replace("fragile:", "sim:"))
    return Chip(info=chip.info.model_copy(update={"address": address.text}), cores=chip.cores)


@pytest.fixture
def fragile(monkeypatch):
    monkeypatch.setitem(backends._BUILT_IN, "fragile", f"{__name__}:open_fragile")
    monkeypatch.setattr(f"{__name__}.REFUSED_SEED", [2])
    return "fragile:hermes?cores=1"


def test_a_chip_that_fails_loses_no_other_and_the_goal(tmp_path, fragile):
    folder = RunFolder.create(tmp_path / "run", record_of(small(), fragile))
    found = run_in(folder, small(), fragile)
    assert [run.chip.serial[-1] for run in found.runs] == ["1", "3"]
    (failed,) = found.failed
    assert (failed.chip_seed, failed.kind) == (2, "CoreTimeoutError")
    assert load_record(tmp_path / "run" / failed.folder).status is RunStatus.FAILED
    assert not found.goal_met
    assert "1 of 3 chips failed" in found.verdict
    assert found.spreads[0].chips == 2
    assert RepeatedResult.model_validate(json.loads(found.model_dump_json())) == found


def test_if_every_chip_fails_the_first_error_goes_on_upwards(tmp_path, fragile, monkeypatch):
    monkeypatch.setattr(f"{__name__}.REFUSED_SEED", [1, 2, 3])
    folder = RunFolder.create(tmp_path / "run", record_of(small(), fragile))
    with pytest.raises(CoreTimeoutError, match="no reply"):
        run_in(folder, small(), fragile)


def test_a_refusal_ends_the_repeat_at_once(tmp_path):
    folder = RunFolder.create(tmp_path / "run", record_of(small()))
    with pytest.raises(RequestError, match="does not fit"):
        run_in(folder, small(), "sim:hermes?cores=1&rows=16&cols=16")
    assert not (tmp_path / "run" / "chip-2").exists()


def test_resuming_runs_only_what_is_missing_and_gives_what_one_attempt_gives(
    tmp_path, fragile, monkeypatch
):
    path = tmp_path / "run"
    first = run_in(RunFolder.create(path, record_of(small(), fragile)), small(), fragile)
    before = load_record(path / "chip-1")
    monkeypatch.setattr(f"{__name__}.REFUSED_SEED", [])
    found = run_in(RunFolder.resume(path, record_of(small(), fragile)), small(), fragile)
    assert not found.failed
    assert load_record(path / "chip-1") == before
    assert (path / "chip-2-2").exists()
    assert (found.runs[0], found.runs[2]) == first.runs
    whole = RunFolder.create(tmp_path / "whole", record_of(small(), fragile))
    assert run_in(whole, small(), fragile).spreads == found.spreads


def test_another_chip_may_join_but_another_recipe_may_not(tmp_path):
    path = tmp_path / "run"
    run_in(RunFolder.create(path, record_of(small())), small("chip.seeds=[1, 2]"))
    more = small("chip.seeds=[1, 2, 5]")
    found = run_in(RunFolder.resume(path, record_of(more)), more)
    assert len(found.runs) == 3
    with pytest.raises(RequestError, match=r"another recipe: data was .*samples.*40.*is.*20"):
        RunFolder.resume(path, record_of(small("data.samples=20")))
    with pytest.raises(RequestError, match="with address"):
        RunFolder.resume(path, record_of(small(), "sim:aon"))
    with pytest.raises(RecordError, match="not a run folder"):
        RunFolder.resume(tmp_path, record_of(small()))


def test_answers_say_again_what_the_results_say(tmp_path):
    recipe = small("chip.seeds=[]")
    folder = RunFolder.create(tmp_path / "run", record_of(recipe))
    result = run_in(folder, recipe)
    answers = load_answers(tmp_path / "run")
    for point in result.points:
        key = (point.method, point.age_s, point.compensation)
        assert answers.right(key).mean() == pytest.approx(point.accuracy)
    assert answers.software_right.mean() == pytest.approx(result.software_accuracy)
    key = ("open_loop", 100.0, "affine")
    assert np.array_equal(answers.confusion(key, 10), np.array(result.confusion))
    assert [loss.paired.mean for loss in result.losses] == pytest.approx(
        [p.accuracy - result.software_accuracy for p in result.points]
    )
    assert result.trained is False
    assert result.sample_word == "images"
    assert result.plan.mvms == 2


def test_damaged_answers_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(RecordError, match="holds no answers"):
        load_answers(tmp_path)
    (tmp_path / ANSWERS_FILE).write_bytes(b"PK\x03\x04 not a whole archive")
    with pytest.raises(RecordError, match="holds no answers"):
        load_answers(tmp_path)


def test_untrained_weights_follow_the_seed_of_the_host():
    def weights(seed):
        module = prepare_experiment(small(), seed=seed).module
        return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])

    assert np.array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))


@pytest.mark.parametrize("batch", [7, 40])
def test_on_the_ideal_chip_the_batch_changes_no_answer(tmp_path, batch):
    recipe = small("chip.seeds=[]", f"data.batch={batch}")
    folder = RunFolder.create(tmp_path / "run", record_of(recipe, "sim:ideal?cores=1"))
    result = run_in(folder, recipe, "sim:ideal?cores=1")
    answers = load_answers(tmp_path / "run")
    assert np.array_equal(answers.chip, np.tile(answers.quantised, (4, 1)))
    assert all(p.mvm_error < 1e-9 for p in result.points)


def test_an_error_comes_back_as_what_it_was():
    with pytest.raises(RequestError, match="that cannot be") as caught:
        raise_again(RunError.of(RequestError("that cannot be", value=7)))
    assert caught.value.fields == {"value": "7"}
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by nought"):
        raise_again(RunError.of(ZeroDivisionError("by nought")))
