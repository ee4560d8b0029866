"""Calibration against simulated chips, whose true gains and offsets can be measured apart."""

from __future__ import annotations

import numpy as np
import pytest

from hil import open_chip
from hil.calibration import (
    AdcGain,
    AdcOffset,
    ColumnAffine,
    DriftBaseline,
    DriftMode,
    DriftScale,
    run_calibration,
)
from hil.core import Core, CoreSettings, MvmRequest, Window
from hil.info import MvmMode
from hil.measure import exact_output, measure_mvm
from hil.metrics import mvm_error
from hil.programming import ProgrammingJob, algorithm, run_programming
from hil.stimulus import InputKind, random_inputs

WINDOW = Window(row=5, col=7, rows=64, cols=40)


def programmed(address: str) -> tuple[Core, np.ndarray]:
    core = open_chip(address).cores[0]
    rng = np.random.default_rng(11)
    g_max = core.info.device.g_max_siemens
    target = np.clip(rng.normal(0.0, g_max / 2.5, (WINDOW.rows, WINDOW.cols)), -g_max, g_max)
    job = ProgrammingJob(core=core, window=WINDOW, target_siemens=target)
    run_programming(algorithm("verify"), [job], seed=1)
    core.wait(60.0)
    return core, target


def reference_gain(core: Core) -> np.ndarray:
    """Gain per col by a stimulus of its own: two levels, many readings, whole array."""
    info = core.info
    x = np.zeros((2048, info.rows), info.input.dtype)
    x[:1024, :7], x[1024:, :7] = info.input.max_code, -info.input.max_code
    codes = np.concatenate(
        [
            core.mvm(MvmRequest(input_codes=part, mode=MvmMode.REFERENCE)).output_codes
            for part in (x[:1024], x[1024:])
        ]
    ).astype(np.float64)
    return codes[:1024].mean(axis=0) - codes[1024:].mean(axis=0)


@pytest.mark.parametrize("preset", ["hermes", "aon", "pcm90"])
@pytest.mark.parametrize("seed", [1, 2])
def test_trims_bring_gain_and_offset_together(preset, seed):
    core = open_chip(f"sim:{preset}?rows=64&cols=64&seed={seed}").cores[0]
    raw = reference_gain(core)
    gain = run_calibration(core, AdcGain(), seed=1)
    offset = run_calibration(core, AdcOffset(), seed=1)
    assert gain.success_mask.all()
    assert offset.success_mask.all()
    trimmed = reference_gain(core)
    assert raw.std() / raw.mean() > 0.1
    assert trimmed.std() / trimmed.mean() < 0.02
    corrected = trimmed * gain.array("gain")
    assert corrected.std() / corrected.mean() < 0.006
    zero = np.zeros((1000, 64), core.info.input.dtype)
    left = core.mvm(MvmRequest(input_codes=zero)).output_codes.mean(axis=0)
    before = offset.array("offset_before")
    assert before.std() > 1.0
    assert np.abs(left).max() < 0.5
    assert np.abs(left - offset.array("offset")).max() < 0.25


def test_an_ideal_core_needs_nothing():
    core = open_chip("sim:ideal?rows=16&cols=8").cores[0]
    gain = run_calibration(core, AdcGain(), seed=1)
    offset = run_calibration(core, AdcOffset(), seed=1)
    np.testing.assert_allclose(gain.array("gain"), 1.0, rtol=1e-12)
    assert not offset.array("offset").any()
    assert gain.success_mask.all()
    assert offset.success_mask.all()


def test_affine_halves_the_error_of_raw_converters_on_other_inputs():
    core, target = programmed("sim:hermes?seed=3")
    info = core.info
    calibration = ColumnAffine.in_best_range(info, WINDOW, target, seed=2)
    record = run_calibration(core, calibration, seed=2)
    assert record.success_mask.all()
    assert core.settings().output_range == calibration.output_range
    fit = ColumnAffine.correction(record)
    for kind in (InputKind.UNIFORM, InputKind.RELU):
        x = random_inputs(kind, 500, WINDOW.rows, info.input, np.random.default_rng(5))
        exact = exact_output(info, target, x)
        raw = measure_mvm(core, x, window=WINDOW).siemens
        assert mvm_error(fit.apply(raw), exact) < 0.85 * mvm_error(raw, exact)
    # the residual is measured on vectors the fit has not seen: it agrees with a third set
    x = random_inputs(InputKind.GAUSSIAN, 2048, WINDOW.rows, info.input, np.random.default_rng(6))
    left = fit.apply(measure_mvm(core, x, window=WINDOW).siemens) - exact_output(info, target, x)
    # a rms over 2,048 vectors is known to 1/sqrt(2 x 2048), both are measured: 6 standard errors
    np.testing.assert_allclose(record.residuals, np.sqrt((left**2).mean(axis=0)), rtol=0.14)


def test_compensation_lowers_the_error_of_a_drifted_block():
    core, target = programmed("sim:hermes?seed=4")
    info = core.info
    run_calibration(core, AdcGain(), seed=1)
    run_calibration(core, AdcOffset(), seed=1)
    affine = run_calibration(core, ColumnAffine.in_best_range(info, WINDOW, target, seed=2), seed=2)
    baseline = run_calibration(core, DriftBaseline(window=WINDOW), seed=3)
    core.wait(30 * 86_400.0)
    x = random_inputs(InputKind.GAUSSIAN, 500, WINDOW.rows, info.input, np.random.default_rng(5))
    exact = exact_output(info, target, x)
    seen = ColumnAffine.correction(affine).apply(measure_mvm(core, x, window=WINDOW).siemens)
    errors = {"none": mvm_error(seen, exact)}
    for mode in DriftMode:
        record = run_calibration(core, DriftScale(baseline=baseline, drift=mode), seed=4)
        assert (record.array("scale") > 1.0).all()
        errors[mode] = mvm_error(seen * record.array("scale"), exact)
    assert errors[DriftMode.GLOBAL] < 0.9 * errors["none"]
    assert errors[DriftMode.LEAST_SQUARES] < errors[DriftMode.GLOBAL]


def test_calibration_touches_no_cell():
    core, target = programmed("sim:hermes?seed=5&rows=96&cols=64")
    before = core.status()
    for calibration in (
        AdcGain(),
        AdcOffset(),
        ColumnAffine(window=WINDOW, target_siemens=target, vectors=64),
        DriftBaseline(window=WINDOW, vectors=64),
    ):
        run_calibration(core, calibration, seed=1)
    after = core.status()
    assert (after.pulses, after.generation) == (before.pulses, before.generation)


def test_same_chip_same_seed_same_record():
    def run() -> list[str]:
        core = open_chip("sim:hermes?seed=9&rows=32&cols=32").cores[0]
        return [
            run_calibration(core, calibration, seed=1).model_dump_json()
            for calibration in (AdcGain(), AdcOffset())
        ]

    assert run() == run()


def test_registers_are_restored_when_a_range_does_not_exist():
    core = open_chip("sim:hermes?rows=8&cols=8").cores[0]
    core.configure(CoreSettings(gain_trim=np.full(8, 3, np.int16)))
    with pytest.raises(ValueError, match="output_range 99"):
        run_calibration(core, AdcGain(output_range=99), seed=1)
    assert (core.settings().gain_trim == 3).all()
