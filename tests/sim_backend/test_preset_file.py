"""Preset files: what is written is read back, a value changes the chip and that value alone."""

import json
from dataclasses import fields

import pytest
import torch

from hil import open_chip
from hil.chip_preset import load_chip_preset, save_chip_preset
from hil.errors import RecordError, RequestError
from sim_backend.laws import PiecewiseLinear
from sim_backend.params import PRESETS
from sim_backend.preset_file import document_of, preset_from_file

PHYSICAL = ("hermes", "aon", "pcm90")


@pytest.fixture
def file(tmp_path):
    """Write a preset file with changes at dotted keys; None takes a key away."""

    def write(name="hermes", **changes):
        values = json.loads(document_of(PRESETS[name]).model_dump_json(exclude_none=True))
        for key, value in changes.items():
            *parents, last = key.split("__")
            place = values
            for parent in parents:
                place = place[parent]
            place[last] = value
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values))
        return path

    return write


@pytest.mark.parametrize("name", PHYSICAL)
def test_a_written_preset_reads_back_as_it_was(name, tmp_path):
    save_chip_preset(document_of(PRESETS[name]), tmp_path / "preset.json")
    assert preset_from_file(tmp_path / "preset.json", PRESETS[name]) == PRESETS[name]


def test_every_coefficient_of_a_built_in_preset_has_a_place_in_the_file():
    preset = PRESETS["hermes"]
    document = document_of(preset).model_dump(exclude_none=True)
    for section, values in (
        (document["device"], preset.device),
        (document["device"]["law"], preset.device.law),
        (document["converters"], preset.converters),
    ):
        assert set(section) == {field.name for field in fields(values)} - {"source"}


def test_an_empty_file_leaves_the_built_in_preset_as_it_is(tmp_path):
    path = tmp_path / "preset.json"
    path.write_text('{"base": "hermes", "title": "nothing"}')
    assert preset_from_file(path, PRESETS["hermes"]) == PRESETS["hermes"]


def test_a_value_of_the_file_takes_the_place_of_the_presets_and_no_other(file):
    path = file(device__i50_ampere={"value": 3e-4, "unit": "A", "source": "by hand"})
    preset, base = preset_from_file(path, PRESETS["hermes"]), PRESETS["hermes"]
    assert preset.device.i50_ampere == 3e-4
    assert preset.converters == base.converters
    assert preset.device.law == base.device.law
    assert preset.device.slope_ampere == base.device.slope_ampere


def test_knots_of_a_curve_are_joined_by_straight_lines_and_hold_beyond():
    curve = PiecewiseLinear(r=(0.2, 0.4, 1.0), values=(1.0, 3.0, 0.0))
    r = torch.tensor([0.0, 0.2, 0.3, 0.4, 0.7, 1.0, 2.0])
    assert torch.allclose(curve(r), torch.tensor([1.0, 1.0, 2.0, 3.0, 1.5, 0.0, 0.0]))
    assert torch.equal(PiecewiseLinear(r=(0.5,), values=(2.0,))(r), torch.full_like(r, 2.0))


@pytest.mark.parametrize("name", ["mu", "sd", "q", "sigma"])
def test_a_chip_opens_with_measured_knots_in_place_of_every_closed_form(file, name):
    form = {"kind": "piecewise_linear", "r": [0.1, 1.0], "values": [0.05, 0.02]}
    path = file(**{f"device__law__{name}": {"form": form, "source": "by hand"}})
    with open_chip(f"sim:hermes?rows=4&cols=4&params={path}") as chip:
        assert chip.cores[0].status().pulses == 0


def test_other_parameters_are_another_chip_with_another_serial(file):
    plain = open_chip("sim:hermes?rows=4&cols=4&seed=3").serial
    path = file(device__set_median={"value": 2.0, "source": "by hand"})
    first = open_chip(f"sim:hermes?rows=4&cols=4&seed=3&params={path}").serial
    path = file(device__set_median={"value": 2.1, "source": "by hand"})
    second = open_chip(f"sim:hermes?rows=4&cols=4&seed=3&params={path}").serial
    assert len({plain, first, second}) == 3


def test_a_state_fits_no_chip_of_other_parameters(file, tmp_path):
    path = file(device__set_median={"value": 2.0, "source": "by hand"})
    address = f"sim:hermes?rows=4&cols=4&serial=A&params={path}"
    with open_chip(address) as chip:
        kept = chip.preserve(tmp_path)
    with open_chip(kept):
        pass
    file(device__set_median={"value": 2.1, "source": "by hand"})
    with pytest.raises(RequestError, match="parameters"):
        open_chip(kept)


def test_the_bits_of_the_file_hold_unless_the_address_says_otherwise(file):
    path = file(converters__adc_bits=10)
    assert open_chip(f"sim:hermes?rows=4&cols=4&params={path}").cores[0].info.read.bits == 10
    again = open_chip(f"sim:hermes?rows=4&cols=4&adc_bits=8&params={path}")
    assert again.cores[0].info.read.bits == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 3}, "unknown key 'colour'"),
        ({"schema_version": 2}, "schema_version = 2"),
        ({"device__colour": 3}, "unknown key 'device.colour'"),
        ({"device__set_median": {"value": 0.0, "source": "x"}}, "set_median 0.0 is outside 0.01"),
        ({"device__set_median": {"value": float("nan"), "source": "x"}}, "device.set_median"),
        ({"device__set_median": {"value": 2, "low": 3, "source": "x"}}, "outside its own interval"),
        ({"device__set_median": {"value": 2}}, "'device.set_median.source' is missing"),
        ({"device__i50_ampere": {"value": 250, "unit": "µA", "source": "x"}}, "give it in 'A'"),
        ({"converters__adc_bits": 13}, "adc_bits = 13"),
        ({"converters__output_ranges": [2.0, 1.0]}, "output_ranges must rise"),
        ({"array__rows": 0}, "array.rows = 0"),
        (
            {"device__law__sd": {"form": {"kind": "polynomial", "c": [0.01, -0.1]}, "source": "x"}},
            "device.law.sd is",
        ),
        ({"device__law__mu": {"form": {"kind": "spline"}, "source": "x"}}, "device.law.mu.form"),
        (
            {
                "device__relaxation": {
                    "form": {"kind": "piecewise_linear", "r": [0.5, 0.1], "values": [0, 0]},
                    "source": "x",
                }
            },
            "knots in r must rise",
        ),
    ],
)
def test_what_is_no_physics_is_refused_with_the_value_and_the_next_step(file, changes, words):
    path = file(**changes)
    with pytest.raises(RecordError, match="correct") as refused:
        open_chip(f"sim:hermes?params={path}")
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(RecordError, match=r"text\.json"):
        open_chip(f"sim:hermes?params={tmp_path / 'text.json'}")
    with pytest.raises(RecordError, match=r"gone\.json.*hil fit"):
        open_chip(f"sim:hermes?params={tmp_path / 'gone.json'}")
    with pytest.raises(RecordError, match="cannot be read"):
        load_chip_preset(tmp_path)


def test_a_file_opens_under_its_own_base_alone(file):
    path = file("hermes")
    with pytest.raises(RequestError, match=r"sim:hermes\?params=FILE"):
        open_chip(f"sim:pcm90?params={path}")
    with pytest.raises(RequestError, match="params"):
        open_chip(f"sim:ideal?params={path}")
