"""Records: whole in a file or refused, and refused where they do not hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil import open_chip
from hil.calibration import (
    AdcGain,
    AdcOffset,
    CalibrationRecord,
    ColumnAffine,
    DriftBaseline,
    Parameter,
    apply_record,
    load_record,
    require_valid,
    run_calibration,
    save_record,
)
from hil.calibration.record import sha256_of
from hil.core import Core, CoreSettings, Pulse, Window
from hil.errors import RecordError
from hil.info import BackendKind, PulseFamily

ADDRESS = "sim:hermes?rows=16&cols=12&cores=2&seed=4"
WINDOW = Window(row=2, col=3, rows=8, cols=6)


@pytest.fixture
def core() -> Core:
    return open_chip(ADDRESS).cores[0]


@pytest.fixture
def affine(core: Core) -> CalibrationRecord:
    target = np.random.default_rng(0).uniform(-1e-6, 1e-6, (8, 6))
    return run_calibration(
        core, ColumnAffine(window=WINDOW, target_siemens=target, vectors=32), seed=1
    )


def refused(record: CalibrationRecord, core: Core, field: str) -> RecordError:
    with pytest.raises(RecordError) as caught:
        require_valid(record, core)
    assert caught.value.fields["field"] == field
    assert caught.value.fields["value"] != caught.value.fields["wanted"]
    assert "alibrate" in str(caught.value)
    return caught.value


def pulse_once(core: Core) -> None:
    core.program(Pulse.of(PulseFamily.RESET, device=0, rows=0, cols=0, amplitude=500, width=1))


def test_a_record_says_what_it_was_made_on(core, affine):
    assert (affine.chip_serial, affine.core, affine.model) == (core.info.chip_serial, 0, "hermes")
    assert affine.window is not None
    assert affine.window.window() == WINDOW
    assert affine.generation == core.status().generation
    assert set(affine.settings) == {"output_range", "gain_trim", "offset_trim"}
    assert affine.parameters["scale"].unit == "1"
    assert affine.parameters["offset"].unit == affine.residual.unit == "S"
    assert affine.success_mask.shape == affine.residuals.shape == (6,)
    assert affine.made_at_s <= core.now_s()
    assert len(repr(affine)) == len(str(affine)) < 200


def test_what_was_saved_is_what_is_loaded(core, affine, tmp_path):
    baseline = run_calibration(core, DriftBaseline(window=WINDOW, vectors=8), seed=2)
    gain = run_calibration(core, AdcGain(), seed=2)
    for record in (affine, baseline, gain):
        path = tmp_path / "made" / f"{record.kind}.json"
        save_record(record, path)
        again = load_record(path)
        assert again == record
        for name in record.parameters:
            np.testing.assert_array_equal(again.array(name), record.array(name))
            assert again.array(name).dtype == record.array(name).dtype
    assert sorted(p.suffix for p in (tmp_path / "made").iterdir()) == [".json"] * 3


def test_a_failed_write_leaves_the_old_record(affine, tmp_path, monkeypatch):
    path = tmp_path / "affine.json"
    save_record(affine, path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_record(affine.model_copy(update={"kind": "other"}), path)
    assert load_record(path) == affine
    assert list(tmp_path.iterdir()) == [path]


@given(st.floats(0.0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "record.json"
    record = RECORD.model_copy()
    save_record(record, path)
    text = path.read_bytes().rstrip()
    path.write_bytes(text[: int(share * len(text))])
    with pytest.raises(RecordError, match="calibrate again"):
        load_record(path)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_is_refused(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("flip") / "record.json"
    save_record(RECORD, path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    try:
        assert load_record(path) == RECORD  # white space, or another spelling of the same value
    except RecordError as error:
        assert "calibrate again" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(affine, tmp_path, schema):
    path = tmp_path / "affine.json"
    save_record(affine, path)
    document = json.loads(path.read_text())
    document["schema_version"] = schema
    path.write_text(json.dumps(document))
    with pytest.raises(RecordError, match=r"schema_version .* reads 1"):
        load_record(path)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{}", '{"schema_version": 1}', "\x00"])
def test_any_other_file_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(RecordError, match="calibrate again"):
        load_record(path)
    with pytest.raises(RecordError, match="does not exist; calibrate first"):
        load_record(tmp_path / "missing.json")


def test_a_document_that_breaks_its_own_shape_is_refused(affine, tmp_path):
    path = tmp_path / "affine.json"
    body = affine.model_dump(mode="json")
    for change in (
        {"shape": [7]},
        {"dtype": "int64"},
        {"values": ["a"] * 6},
    ):
        parameters = {**body["parameters"], "scale": {**body["parameters"]["scale"], **change}}
        document = {**body, "parameters": parameters}
        path.write_text(json.dumps({**document, "sha256": sha256_of(document)}))
        with pytest.raises(RecordError, match="calibrate again"):
            load_record(path)


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
def test_a_number_that_is_none_is_refused(affine, tmp_path, number):
    path = tmp_path / "affine.json"
    save_record(affine, path)
    path.write_text(re.sub(r'("made_at_s": )[^,]+', rf"\g<1>{number}", path.read_text()))
    with pytest.raises(RecordError, match="calibrate again"):
        load_record(path)


def test_a_record_holds_for_the_core_it_was_made_on(core, affine, tmp_path):
    require_valid(affine, core)
    save_record(affine, tmp_path / "r.json")
    require_valid(load_record(tmp_path / "r.json"), core)


def test_another_chip_is_refused(affine):
    other = open_chip(ADDRESS.replace("seed=4", "seed=5")).cores[0]
    assert "SIM-HERMES-0000005" in str(refused(affine, other, "chip_serial"))


def test_another_core_of_the_chip_is_refused(affine):
    error = refused(affine, open_chip(ADDRESS).cores[1], "core")
    assert (error.fields["value"], error.fields["wanted"]) == (1, 0)


def test_a_record_of_silicon_is_refused_by_a_simulator(core, affine):
    refused(affine.model_copy(update={"backend": BackendKind.SILICON}), core, "backend")


@pytest.mark.parametrize("name", ["output_range", "gain_trim", "offset_trim"])
def test_other_settings_are_refused_until_they_are_back(core, affine, name):
    before = core.settings()
    other = {
        "output_range": (before.output_range + 1) % len(core.info.output_ranges_siemens),
        "gain_trim": before.gain_trim + np.int16(1),
        "offset_trim": before.offset_trim + np.int16(1),
    }
    core.configure(replace(CoreSettings(), **{name: other[name]}))
    refused(affine, core, name)
    core.configure(before)
    require_valid(affine, core)


def test_other_scales_of_the_core_are_refused(core, affine):
    other = open_chip(ADDRESS + "&adc_bits=10&serial=" + core.info.chip_serial).cores[0]
    pulses = affine.model_copy(update={"generation": other.status().generation})
    refused(pulses, other, "settings_digest")


def test_another_temperature_is_refused_beyond_the_band(core, affine):
    band = affine.temperature_band_kelvin
    for away in (band, -band):
        core.configure(CoreSettings(temperature_kelvin=300.0 + away))
        require_valid(affine, core)
        core.configure(CoreSettings(temperature_kelvin=300.0 + 1.01 * away))
        assert "±" in str(refused(affine, core, "temperature_kelvin"))


def test_a_pulse_ends_what_describes_cells_and_nothing_else(core, affine):
    offset = run_calibration(core, AdcOffset(vectors=8), seed=1)
    core.configure(CoreSettings(offset_trim=np.zeros(12, np.int16)))
    require_valid(affine, core)
    pulse_once(core)
    error = refused(affine, core, "generation")
    assert error.fields["value"] == error.fields["wanted"] + 1
    assert offset.generation is None
    require_valid(offset, core)


@pytest.mark.parametrize("have", ["1.0.0", "9.1", "0+unknown"])
def test_another_major_version_of_the_software_is_refused(core, affine, have):
    made = affine.model_copy(update={"software": {**affine.software, "aimc-hil": have}})
    if have.startswith("0"):
        require_valid(made, core)
    else:
        refused(made, core, "software")


def test_a_component_that_is_gone_is_refused(core, affine):
    made = affine.model_copy(update={"software": {**affine.software, "firmware": "2.0"}})
    assert "firmware is none" in str(refused(made, core, "software"))


def test_trims_apply_in_order_after_a_restart(core):
    gain = run_calibration(core, AdcGain(), seed=1)
    offset = run_calibration(core, AdcOffset(), seed=1)
    again = open_chip(ADDRESS).cores[0]
    with pytest.raises(RecordError, match="gain_trim"):
        apply_record(offset, again)  # its prerequisite is not in force
    for record in (gain, offset):
        apply_record(record, again)
        require_valid(record, again)
    np.testing.assert_array_equal(again.settings().gain_trim, core.settings().gain_trim)
    np.testing.assert_array_equal(again.settings().offset_trim, core.settings().offset_trim)


def test_a_missing_parameter_is_named(affine):
    with pytest.raises(RecordError, match="no parameter 'gain'; it has: scale, offset"):
        affine.array("gain")


@given(
    st.one_of(
        st.lists(st.booleans()),
        st.lists(st.integers(-(2**53), 2**53)),
        st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_a_parameter_round_trips_through_json(values):
    parameter = Parameter.of(np.array(values), "1")
    again = Parameter.model_validate_json(parameter.model_dump_json())
    np.testing.assert_array_equal(again.array(), np.array(values))
    assert again.array().dtype == parameter.array().dtype


def _small_record() -> CalibrationRecord:
    core = open_chip("sim:hermes?rows=4&cols=3").cores[0]
    return run_calibration(core, AdcOffset(vectors=4), seed=1)


RECORD = _small_record()
