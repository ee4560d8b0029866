"""Matrices and the calibration room: trims, records that are checked, drift laws, ages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil import Chip, RecordError, RequestError, open_chip, program_matrix
from hil.calibration import load_record, save_record
from hil.core import CoreSettings, Pulse, VerbEvent
from hil.info import ChipInfo, PulseFamily
from hil.matrix import DriftMode, ProgrammedMatrix, calibrate_converters, untrimmed
from hil.metrics import mvm_error
from hil.stimulus import InputKind, random_inputs

HERMES = "sim:hermes?cores=2&seed=3&rows=64&cols=64"


def written(
    chip: Chip, rows: int = 50, cols: int = 40, **options: object
) -> tuple[ProgrammedMatrix, np.ndarray]:
    weights = np.random.default_rng(8).standard_normal((rows, cols))
    return program_matrix(chip, weights, "open_loop", **options), weights


def one_core(core: object) -> Chip:
    info = core.info
    return Chip(
        info=ChipInfo(
            serial=info.chip_serial,
            backend=info.backend,
            model=info.model,
            address="fake:",
            cores=(info,),
        ),
        cores=(core,),
    )


def pulse_one_cell(chip: Chip) -> None:
    limits = chip.cores[0].info.limits(PulseFamily.RESET)
    chip.cores[0].program(
        Pulse.of(
            PulseFamily.RESET,
            device=0,
            rows=60,
            cols=60,
            amplitude=limits.amplitude.max_code,
            width=limits.width.max_code,
        )
    )


def test_converters_are_trimmed_before_the_first_pulse_and_once() -> None:
    events: list[VerbEvent] = []
    with open_chip(HERMES) as chip:
        for core in chip.cores:
            core.observe(events.append)
        matrix, _ = written(chip)
        trims = [
            k
            for k, e in enumerate(events)
            if e.verb == "configure" and e.request.gain_trim is not None
        ]
        first_pulse = next(k for k, e in enumerate(events) if e.verb == "program")
        assert trims
        assert max(trims) < first_pulse
        assert [(r.core, r.kind) for r in matrix.converters] == [(0, "adc_gain"), (0, "adc_offset")]
        in_force = chip.cores[0].settings()
        assert [core.info.core for core in untrimmed(chip.cores)] == [1]
        again, _ = written(chip)
        assert again.converters == ()
        np.testing.assert_array_equal(chip.cores[0].settings().gain_trim, in_force.gain_trim)
        np.testing.assert_array_equal(chip.cores[0].settings().offset_trim, in_force.offset_trim)
        # Asked for, they are trimmed again, to much the same codes.
        records = calibrate_converters(chip.cores[:1], seed=9)
        moved = chip.cores[0].settings().gain_trim - in_force.gain_trim
        assert [r.kind for r in records] == ["adc_gain", "adc_offset"]
        assert np.abs(moved).max() <= 1


def test_converters_without_trims_are_left_alone(linear_cells) -> None:
    with open_chip("sim:ideal") as chip:
        assert untrimmed(chip.cores) == ()
        assert calibrate_converters(chip.cores) == ()
        assert written(chip)[0].converters == ()
    assert calibrate_converters([linear_cells()]) == ()


def test_an_uncalibrated_matrix_trims_and_corrects_nothing() -> None:
    with open_chip(HERMES) as chip:
        matrix, _ = written(chip, calibrate=False)
        assert len(untrimmed(chip.cores)) == 2
        assert [r.kind for r in matrix.records] == ["drift_baseline"]


@pytest.mark.parametrize("preset", ["hermes", "aon"])
def test_trims_alone_lower_the_raw_error_of_verify(preset: str) -> None:
    """Verify reads through the converters, so untrimmed ones are written into the cells."""
    weights = np.random.default_rng(8).standard_normal((50, 40))
    raw = {}
    for trimmed in (False, True):
        with open_chip(f"sim:{preset}?seed=3&rows=64&cols=64") as chip:
            if trimmed:
                calibrate_converters(chip.cores)
            matrix = program_matrix(chip, weights, "verify", calibrate=False)
            raw[trimmed] = matrix.report.mvm_error
    assert raw[True] < 0.93 * raw[False]


@pytest.mark.parametrize("change", ["pulse", "trim", "temperature"])
def test_a_correction_that_no_longer_holds_is_refused_until_calibrated_again(change: str) -> None:
    x = np.random.default_rng(1).standard_normal((20, 50))
    field = {"pulse": "generation", "trim": "gain_trim", "temperature": "temperature_kelvin"}
    with open_chip(HERMES) as chip:
        matrix, weights = written(chip)
        before = mvm_error(matrix.matmul(x), x @ weights)
        core = chip.cores[0]
        if change == "pulse":
            pulse_one_cell(chip)
        elif change == "trim":
            core.configure(CoreSettings(gain_trim=-core.settings().gain_trim))
        else:
            core.configure(CoreSettings(temperature_kelvin=core.status().temperature_kelvin + 8))
        for use in (lambda: matrix.matmul(x), matrix.evaluate, matrix.compensate_drift):
            with pytest.raises(RecordError, match="calibrate again") as caught:
                use()
            assert caught.value.fields["field"] == field[change]
        matrix.calibrate()
        assert mvm_error(matrix.matmul(x), x @ weights) < 1.5 * before


def test_a_matrix_written_over_another_makes_it_refuse() -> None:
    with open_chip(HERMES) as chip:
        first, _ = written(chip)
        second, _ = written(chip)
        with pytest.raises(RecordError, match="cells were pulsed"):
            first.matmul(np.ones((1, 50)))
        assert np.isfinite(second.matmul(np.ones((1, 50)))).all()


def test_a_refused_compensation_leaves_the_earlier_one() -> None:
    with open_chip(HERMES) as chip:
        matrix, _ = written(chip)
        chip.wait(1e5)
        matrix.compensate_drift("per_column")
        in_force = [block.correction for block in matrix.blocks]
        pulse_one_cell(chip)
        with pytest.raises(RecordError):
            matrix.compensate_drift("global")
        assert matrix.compensation == "per_column"
        assert all(b.correction is c for b, c in zip(matrix.blocks, in_force, strict=True))


def test_records_survive_a_file_and_hold_for_the_core(tmp_path: Path) -> None:
    with open_chip(HERMES) as chip:
        matrix, _ = written(chip, 100, 40)
        chip.wait(1e4)
        matrix.compensate_drift()
        kinds = [r.kind for r in matrix.records]
        assert set(kinds) == {
            "adc_gain",
            "adc_offset",
            "column_affine",
            "drift_baseline",
            "drift_scale",
        }
        assert kinds.count("drift_scale") == kinds.count("drift_baseline") == len(matrix.blocks)
        for k, record in enumerate(matrix.records):
            save_record(record, tmp_path / f"{k}.json")
            assert load_record(tmp_path / f"{k}.json") == record
            assert record.chip_serial == chip.serial


@pytest.mark.parametrize("mode", DriftMode)
def test_equal_decay_of_all_cells_is_undone_by_its_inverse(linear_cells, mode: DriftMode) -> None:
    core = linear_cells(rows=40, cols=12)
    matrix, _ = written(one_core(core), 40, 12)
    x = np.random.default_rng(2).standard_normal((30, 40))
    before = matrix.matmul(x)
    core.siemens = 0.8 * core.siemens
    np.testing.assert_allclose(matrix.matmul(x), 0.8 * before, atol=5e-3)
    matrix.compensate_drift(mode)
    np.testing.assert_allclose(matrix.matmul(x), before, atol=5e-3)
    matrix.forget_compensation()
    np.testing.assert_allclose(matrix.matmul(x), 0.8 * before, atol=5e-3)


def test_cols_that_decay_apart_need_a_factor_each(linear_cells) -> None:
    core = linear_cells(rows=40, cols=12)
    matrix, _ = written(one_core(core), 40, 12)
    x = np.random.default_rng(2).standard_normal((30, 40))
    before = matrix.matmul(x)
    core.siemens = core.siemens * np.linspace(0.6, 0.9, 12)
    matrix.compensate_drift("per_column")
    np.testing.assert_allclose(matrix.matmul(x), before, atol=5e-3)
    factors = np.concatenate([b.correction.drift_scale for b in matrix.blocks])
    np.testing.assert_allclose(factors, 1 / np.linspace(0.6, 0.9, 12), rtol=1e-3)
    matrix.compensate_drift("global")
    assert mvm_error(matrix.matmul(x), before) > 0.05


def test_a_col_that_died_takes_the_factor_of_the_others(linear_cells) -> None:
    core = linear_cells(rows=40, cols=12)
    matrix, _ = written(one_core(core), 40, 12)
    core.siemens = 0.5 * core.siemens
    core.siemens[:, :, 3] = 0.0
    matrix.compensate_drift("per_column")
    (block,) = matrix.blocks
    assert not block.correction.drift.success_mask[3]
    np.testing.assert_allclose(block.correction.drift_scale, 2.0, rtol=1e-3)
    assert np.isfinite(matrix.matmul(np.ones((1, 40)))).all()


def test_calibration_waits_for_the_reference_age_or_the_one_asked_for() -> None:
    events: list[VerbEvent] = []
    for settle_s in (None, 0.0, 5.0):
        with open_chip(HERMES) as chip:
            wanted = chip.cores[0].info.device.reference_age_s if settle_s is None else settle_s
            matrix, _ = written(chip, settle_s=settle_s)
            taken = [r for r in matrix.records if r.kind == "column_affine"]
            last_pulse_s = max(b.result.last_pulse_at_s for b in matrix.blocks)
            for record in taken:
                assert record.made_at_s - last_pulse_s == pytest.approx(wanted, abs=0.1)
            assert matrix.report.age_s == pytest.approx(wanted, abs=0.1)
    with open_chip(HERMES) as chip:
        chip.cores[0].observe(events.append)
        with pytest.raises(RequestError, match=r"settle_s -1\.0 is outside 0"):
            written(chip, settle_s=-1.0)
        with pytest.raises(RequestError, match="settle_s nan"):
            written(chip, settle_s=float("nan"))
    assert {e.verb for e in events} <= {"safe_state"}


def test_representative_inputs_find_the_range_of_least_error() -> None:
    """Positive inputs on weights of one sign need a wider range than Gaussian ones predict."""
    weights = np.random.default_rng(3).random((60, 30))
    with open_chip(HERMES) as chip:
        matrix = program_matrix(chip, weights, "open_loop")
        codes = [
            random_inputs(InputKind.RELU, 400, 60, matrix.info.input, np.random.default_rng(k))
            for k in (1, 2)
        ]
        matrix.calibrate(codes[0])
        (block,) = matrix.blocks
        exact = matrix.exact(codes[1])
        errors = {}
        for k in range(len(matrix.info.output_ranges_siemens)):
            correction = matrix.blocks[0].fit(k, codes[0])
            errors[k] = correction.array("error_rms").mean()
        chosen = mvm_error(matrix.measure(codes[1]).siemens, exact)
        assert errors[block.output_range] == min(errors.values())
        assert block.output_range > 0
    assert chosen < 0.15


def test_few_representative_inputs_are_enough() -> None:
    with open_chip("sim:ideal") as chip:
        weights = np.random.default_rng(0).integers(-127, 128, (20, 5))
        matrix = program_matrix(chip, weights, "open_loop")
        inputs = np.random.default_rng(1).integers(-127, 128, (2, 20)).astype(np.int16)
        matrix.calibrate(inputs)
        np.testing.assert_allclose(
            matrix.measure(inputs).siemens, matrix.exact(inputs), rtol=1e-9, atol=1e-15
        )


def test_success_mask_shows_the_cells_that_verify_gave_up(linear_cells, faults) -> None:
    dead = np.full((2, 40, 12), np.nan)
    dead[:, 7, 3] = 0.0
    core = linear_cells(rows=40, cols=12, faults=faults(dead_siemens=dead))
    weights = np.random.default_rng(4).uniform(0.5, 1.0, (40, 12))
    matrix = program_matrix(one_core(core), weights, "verify")
    wrong = np.argwhere(~matrix.success_mask)
    assert wrong.tolist() == [[7, 3]]
    assert matrix.report.success_share == pytest.approx(1 - 1 / 480)


def test_the_same_matrix_through_encoded_frames() -> None:
    x = np.random.default_rng(1).standard_normal((20, 50))
    outputs = []
    for address in (HERMES, f"loopback:{HERMES}"):
        with open_chip(address) as chip:
            matrix, _ = written(chip)
            chip.wait(1e4)
            matrix.compensate_drift("per_column")
            outputs.append((matrix.matmul(x), [r.parameters for r in matrix.records]))
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
    assert outputs[0][1] == outputs[1][1]
