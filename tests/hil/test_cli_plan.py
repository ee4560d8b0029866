"""`hil plan`: asks a chip what it is and nothing else, needs no data, refuses what does not fit."""

from __future__ import annotations

import json

import pytest

from hil import backends
from hil.address import parse_address
from hil.inference.plan_report import PlanReport
from hil.record import RunStatus, load_record
from sim_backend.opening import open_sim

VERBS: list[str] = []

UNTRAINED = ("--set", 'network={untrained="resnet9-cifar10"}', "--set", "data.dataset=cifar10")


@pytest.fixture
def hil(hil, monkeypatch):
    """Run a command in an empty directory without data: (exit code, stdout, stderr)."""
    monkeypatch.delenv("HIL_DATA", raising=False)
    return hil


def one_line(out):
    assert out.count("\n") == 1
    return json.loads(out)


def document(said):
    return PlanReport.model_validate_json(
        json.dumps({key: said[key] for key in PlanReport.model_fields})
    )


def open_watched(address):
    """Open a simulated chip that notes every verb it is sent."""
    chip = open_sim(parse_address(f"sim:{address.target}"))
    for core in chip.cores:
        core.observe(lambda event: VERBS.append(event.verb))
    return chip


def test_a_plan_asks_the_chip_what_it_is_and_sends_it_nothing(hil, tmp_path, monkeypatch):
    monkeypatch.setitem(backends._BUILT_IN, "watched", f"{__name__}:open_watched")
    VERBS.clear()
    code, out, err = hil("plan", "digits", "--set", "chip.address=watched:hermes")
    assert (code, out) == (2, "")  # one core is too few
    code, out, err = hil(
        *("plan", "digits", "--core", "watched:aon"), "--set", "mapping.plan=reprogram"
    )
    assert code == 0
    assert set(VERBS) <= {"safe_state"}
    assert one_line(out)["plan"] == "reprogram"
    assert "no pulse and no MVM was sent" in err
    assert list(tmp_path.iterdir()) == []


def test_the_line_is_a_plan_and_the_table_has_every_layer_and_block(hil):
    code, out, err = hil("plan", "digits")
    said = one_line(out)
    report = document(said)
    assert code == 0
    assert said["command"] == "plan"
    assert said["network"] == "resnet9-digits"
    assert said["trained"]
    assert report.ranges_calibrated
    assert "256 training samples" in err
    for layer in report.layers:
        assert f"{layer.name} ({layer.kind})" in err
        assert f"{layer.rows} x {layer.cols}" in err
    blocks = [line for line in err.splitlines() if line.startswith("conv7  ")]
    assert len(blocks) == 2
    for number in (f"{report.mvms:,} MVMs", f"{report.weights:,} weights", "130 ns each"):
        assert number in err


def test_the_same_chip_behind_bytes_gives_the_same_plan(hil):
    _, out, _ = hil("plan", "digits", "--core", "sim:hermes?cores=2&seed=4")
    _, encoded, _ = hil("plan", "digits", "--core", "loopback:sim:hermes?cores=2&seed=4")
    assert document(one_line(out)) == document(one_line(encoded))


def test_without_data_a_plan_is_made_and_says_what_it_lacks(hil):
    code, out, err = hil("plan", "digits", *UNTRAINED)
    said = one_line(out)
    assert code == 0
    assert not said["trained"]
    assert not said["ranges_calibrated"]
    assert {layer["input_range"] for layer in said["layers"]} == {None}
    assert "input ranges: not calibrated" in err
    assert sum(core["cols_used"] for core in said["cores"]) == 430


def test_what_does_not_fit_is_refused_with_the_cells_it_lacks_and_runs_in_turn(hil, tmp_path):
    one_core = ("plan", "digits", *UNTRAINED, "--core", "sim:hermes?cores=1", "--out", "a")
    code, out, err = hil(*one_core)
    assert (code, out) == (2, "")
    assert "34564 are missing" in err
    assert 'plan = "reprogram" runs it' in err
    assert not (tmp_path / "a").exists()
    code, out, _ = hil(*one_core, "--set", "mapping.plan=reprogram")
    said = one_line(out)
    assert code == 0
    assert said["rounds"] == len(said["placements"]) == 9
    assert [core["writings"] for core in said["cores"]] == [9]


def test_out_keeps_the_plan_its_picture_and_what_it_came_from(hil, tmp_path):
    code, out, _ = hil("plan", "digits", "--out", "a")
    assert code == 0
    record = load_record(tmp_path / "a")
    assert record.status is RunStatus.DONE
    assert record.recipe["name"] == "digits"
    kept = PlanReport.model_validate_json((tmp_path / "a" / "plan.json").read_text())
    assert kept == document(one_line(out))
    assert (tmp_path / "a" / "placement.png").read_bytes().startswith(b"\x89PNG")
    assert one_line(out)["out"] == "a"
    _, again, _ = hil("plan", "digits", "--out", "a")
    assert one_line(again)["out"] == "a-2"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such"], "bundled recipes: digits"),
        (["digits", "--core", "usb:1"], "unknown scheme"),
        (["digits", "--data", "gone"], "gone does not exist"),
        (["digits", "--set", "data.dataset=imagenet"], "imagenet"),
        (["digits", "--set", 'network={untrained="vgg"}'], "vgg"),
        (["digits", "--set", "network.checkpoint=gone.safetensors"], "gone.safetensors"),
        (["digits", "--set", "programming.settings.gdp.speed=3"], "speed"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(hil, tmp_path, args, words):
    code, out, err = hil("plan", *args, "--out", "a")
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()
