"""Ablations: what is taken away shows in the right direction, and every variant is a run."""

import json
import sys

import pytest

from hil.ablation import AblationResult, plan_variants, run_ablation
from hil.cli import main
from hil.recipe import parse_recipe
from hil.record import RunStatus, load_record, new_record
from hil.report import found_in, write_report
from hil.run_folder import RunFolder
from hil.training import save_checkpoint
from hil.training.settings import TrainingSettings
from hil.training.train import train

RECIPE = """
schema_version = 1
name = "small"
title = "A <small> network"
chip = {{ address = "sim:hermes?cores=1", seeds = {seeds} }}
network = {{ checkpoint = "{checkpoint}" }}
data = {{ dataset = "digits", samples = 90, calibration_samples = 32 }}
programming = {{ methods = ["open_loop"] }}
time = {{ ages_s = [0, 1e6], compensation = ["none", "global"] }}
goal = {{ method = "open_loop", max_accuracy_loss = 1 }}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "mlp.safetensors"
    result = train(TrainingSettings(network="mlp-digits", epochs=3, batch_size=128))
    save_checkpoint(path, result.module, result.metadata)
    return path


def recipe_text(checkpoint, seeds):
    return RECIPE.format(checkpoint=checkpoint, seeds=list(seeds))


@pytest.fixture(scope="module")
def ablation(checkpoint, tmp_path_factory):
    """An ablation on two chips: its results and its folder."""
    path = tmp_path_factory.mktemp("ablation") / "run"
    recipe = parse_recipe(recipe_text(checkpoint, (1, 2)), source="small")
    variants = plan_variants(
        recipe,
        recipe.chip.address,
        parts=("compensation", "programming", "adc", "everything"),
        adc_bits=(2,),
    )
    record = new_record("ablate-small", command=("hil",), seed=0, address=recipe.chip.address)
    with RunFolder.create(path, record) as folder:
        found = run_ablation(variants, seed=0, folder=folder)
        folder.finish(RunStatus.DONE, found.model_dump(mode="json"))
    return found, path


def test_every_variant_is_a_run_like_any_other(ablation):
    found, path = ablation
    for variant in found.variants:
        if variant.folder is None:
            assert variant.part == "compensation"
            continue
        results = found_in(load_record(path / variant.folder))
        for row in (r for r in found.rows if r.variant == variant.name):
            spread = next(
                s
                for s in results.spreads
                if (s.age_s, s.compensation) == (row.age_s, row.compensation)
            )
            assert row.accuracy == spread.accuracy


def test_a_change_is_the_difference_to_the_reference(ablation):
    found, _ = ablation
    for row in found.rows:
        if row.variant == "reference":
            assert row.change is None
            continue
        judged = row.variant.startswith("compensation")
        to = next(
            r
            for r in found.rows
            if (r.variant, r.age_s) == ("reference", row.age_s)
            and r.compensation == (found.goal_compensation if judged else row.compensation)
        )
        assert row.change.mean == pytest.approx(row.accuracy - to.accuracy)
        assert row.change.chips == 2


def test_taking_noise_away_helps_and_taking_bits_away_hurts(ablation):
    found, _ = ablation
    errors = {v.name: v.programmed_error["open_loop"] for v in found.variants}
    assert errors["everything"] < errors["programming"] < 0.5 * errors["reference"]
    assert errors["everything"] < 0.1
    assert errors["adc-2"] > errors["reference"]
    assert found.row("everything", "open_loop", 1e6).change.mean >= 0
    assert found.row("adc-2", "open_loop", 0.0).change.mean < 0


def test_without_compensation_the_reference_is_further_off(ablation):
    found, _ = ablation
    without = found.row("compensation-none", "open_loop", 1e6)
    judged = found.row("reference", "open_loop", 1e6)
    assert (without.compensation, judged.compensation) == ("none", "global")
    assert without.mvm_error > 1.1 * judged.mvm_error


def test_the_page_and_the_tables_name_every_variant(ablation):
    found, path = ablation
    page = write_report(path).read_text()
    tables = (path / "tables.md").read_text()
    assert "A &lt;small&gt; network" in page
    for variant in found.variants:
        assert variant.words in page
        assert variant.words in tables
    assert (path / "pictures" / "ablation.png").stat().st_size > 0
    assert AblationResult.model_validate(json.loads(found.model_dump_json())) == found


def test_the_command_gives_one_line_a_report_and_goes_on_where_it_was(
    checkpoint, tmp_path, monkeypatch, capsys
):
    (tmp_path / "small.toml").write_text(recipe_text(checkpoint, ()))
    monkeypatch.chdir(tmp_path)

    def hil(*args):
        monkeypatch.setattr(sys, "argv", ["hil", *args])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    command = ("ablate", "small.toml", "--parts", "calibration", "--samples", "20")
    code, out, err = hil(*command, "--out", "a")
    assert code == 0, err
    first = json.loads(out)
    assert [v["name"] for v in first["variants"]] == ["reference", "calibration"]
    before = load_record(tmp_path / "a" / "calibration")
    code, out, _ = hil(*command, "--resume-into", "a")
    again = json.loads(out)
    assert again["rows"] == first["rows"]
    assert load_record(tmp_path / "a" / "calibration") == before
    code, out, err = hil("report", "a")
    assert code == 0
    assert "without calibration" in err
    code, _, err = hil(*command[:-1], "30", "--resume-into", "a")
    assert code == 2
    assert "another recipe" in err
