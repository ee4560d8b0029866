from itertools import pairwise

import numpy as np
import pytest

from hil.backends import open_chip
from hil.core import Window
from hil.errors import RequestError
from hil.measure import choose_output_range, exact_output, measure_mvm, whole
from hil.metrics import fit_affine, mvm_error
from hil.programming.base import ProgrammingJob, ProgrammingOutcome, run_programming
from hil.programming.gradient import CellErrors, MvmBatch
from hil.programming.gradient_descent import GradientDescent
from hil.programming.retention import aim_for_retention
from hil.programming.verify import ProgramVerify
from hil.stimulus import InputKind, random_inputs
from hil.units import CodeScale

INPUT = CodeScale(min_code=-127, max_code=127, step=1 / 127, unit="1")
UNIT = 1e-5


def batch_of(kind, vectors, error, *, gain=1.0, offset=0.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.normal(0, UNIT, error.shape)
    x = INPUT.to_si(random_inputs(kind, vectors, error.shape[0], INPUT, rng))
    exact = x @ target
    measured = gain * (x @ (target + error)) + offset
    measured = measured + noise * rng.standard_normal(measured.shape)
    whole_blocks = kind is InputKind.HADAMARD
    return target, MvmBatch(x=x, measured=measured, exact=exact, orthogonal=whole_blocks)


def test_hadamard_inputs_find_every_error_exactly():
    error = np.random.default_rng(1).normal(0, 0.1 * UNIT, (64, 5))
    _, batch = batch_of(InputKind.HADAMARD, 128, error)
    gradient, noise = batch.gradient()
    # the mean of each output is taken as converter offset, and one Hadamard vector has a mean
    assert np.abs(gradient - error).max() < 0.2 * np.abs(error).max()
    assert np.corrcoef(gradient.ravel(), error.ravel())[0, 1] > 0.99
    assert (noise >= 0).all()


@pytest.mark.statistical
@pytest.mark.parametrize("kind", [InputKind.GAUSSIAN, InputKind.UNIFORM])
@pytest.mark.parametrize("vectors", [64, 256, 1024])
def test_other_inputs_correlate_as_one_over_root_of_one_plus_rows_per_vector(kind, vectors):
    rows = 128
    error = np.random.default_rng(2).normal(0, UNIT, (rows, 40))
    _, batch = batch_of(kind, vectors, error)
    found = np.corrcoef(batch.gradient()[0].ravel(), error.ravel())[0, 1]
    assert found == pytest.approx(1 / np.sqrt(1 + rows / vectors), abs=0.03)


def test_readout_noise_of_the_gradient_falls_with_the_root_of_the_batch():
    error = np.zeros((64, 200))
    sigma = []
    for vectors in (256, 4096):
        _, batch = batch_of(InputKind.HADAMARD, vectors, error, noise=UNIT)
        gradient, variance = batch.gradient()
        sigma.append(gradient.std())
        assert np.mean(variance) == pytest.approx(gradient.var(), rel=0.1)
    assert sigma[0] / sigma[1] == pytest.approx(4.0, rel=0.05)


def test_col_gain_is_found_although_some_cells_are_far_off():
    error = np.zeros((64, 8))
    error[:6] = -2 * UNIT
    target, batch = batch_of(InputKind.HADAMARD, 256, error, gain=1.2, offset=3 * UNIT)
    good = np.ones(error.shape, np.bool_)
    good[:6] = False
    belief = CellErrors.unknown(error.shape, UNIT).update(
        batch, target, pulsed=np.ones(error.shape, np.bool_), good=good, unit_siemens=UNIT
    )
    assert belief.gain == pytest.approx(1.2, rel=0.02)
    assert belief.siemens[:6].mean() == pytest.approx(-2 * UNIT, rel=0.05)


def test_estimates_of_cells_left_alone_are_averaged():
    error = np.random.default_rng(3).normal(0, 0.1 * UNIT, (64, 30))
    belief = CellErrors.unknown(error.shape, UNIT)
    off = []
    for k in range(12):
        target, batch = batch_of(InputKind.HADAMARD, 256, error)
        rng = np.random.default_rng(100 + k)
        noisy = batch.measured + UNIT * rng.standard_normal(batch.measured.shape)
        batch = MvmBatch(x=batch.x, measured=noisy, exact=batch.exact, orthogonal=True)
        belief = belief.update(
            batch, target, pulsed=np.full(error.shape, k == 0), good=None, unit_siemens=UNIT
        )
        off.append(np.std(belief.siemens - error))
    assert off[-1] < 0.6 * off[0]


def test_pulses_of_an_iteration_are_not_expected_to_raise_the_error():
    rng = np.random.default_rng(4)
    target = np.full((50, 40), UNIT)
    spread = 0.1 * UNIT
    belief = CellErrors(
        siemens=rng.normal(0, 0.06 * UNIT, target.shape),
        variance=np.full(target.shape, (0.01 * UNIT) ** 2),
        gain=np.ones(40),
        offset=np.zeros(40),
        noise_siemens=0.0,
        pulse_variance=np.full(12, spread**2),
    )
    candidates = np.abs(belief.siemens) > 0.02 * UNIT
    worth = belief.worth_pulsing(candidates, target, allowance=0.01)
    growth = np.sum(spread**2 - belief.siemens[worth] ** 2)
    assert growth <= 0.01 * np.sum(belief.siemens**2)
    assert worth[np.abs(belief.siemens) > spread].all()
    assert not (worth & ~candidates).any()


def test_aim_undoes_at_the_later_age_what_drift_bends():
    with open_chip("sim:hermes?rows=4&cols=4") as chip:
        device = chip.cores[0].info.device
    target = np.linspace(-1, 1, 41)[:, None] * device.g_max_siemens
    later = 86_400.0
    aimed = aim_for_retention(device, target, 1.0, later)
    nu = np.interp(
        np.abs(target) / device.g_max_siemens, device.drift_relative, device.drift_exponents
    )
    drifted = aimed * (later / device.reference_age_s) ** -nu
    inside = np.abs(aimed) < 0.999 * device.g_max_siemens
    ratio = (drifted / np.where(target == 0, 1, target))[inside & (target != 0)]
    plain = np.ravel(
        (target * (later / device.reference_age_s) ** -nu / np.where(target == 0, 1, target))[
            target != 0
        ]
    )
    assert np.std(ratio) / np.mean(ratio) < 0.3 * np.std(plain) / np.mean(plain)
    assert np.array_equal(aim_for_retention(device, target, 0.0, later), target)
    assert np.array_equal(aim_for_retention(device, target, 1.0, 1.0), target)


def weights(kind, rows, cols):
    rng = np.random.default_rng(5)
    match kind:
        case "gaussian":
            w = np.clip(rng.standard_normal((rows, cols)), -2.5, 2.5)
        case "uniform":
            w = rng.uniform(-1, 1, (rows, cols))
        case "sparse":
            w = rng.standard_normal((rows, cols)) * (rng.random((rows, cols)) < 0.2)
        case _:
            w = np.clip(rng.standard_t(3, (rows, cols)), -8, 8)
    return w / np.abs(w).max()


def programmed(address, algorithm, kind, *, age_s=200.0):
    with open_chip(address) as chip:
        core = chip.cores[0]
        info, place = core.info, whole(core.info)
        target = weights(kind, info.rows, info.cols) * info.device.g_max_siemens
        result = run_programming(
            algorithm, [ProgrammingJob(core=core, window=place, target_siemens=target)], seed=3
        )[0]
        chip.wait(age_s)
        rng = np.random.default_rng(9)
        fit_x, test_x = (
            random_inputs(InputKind.GAUSSIAN, 1024, info.rows, info.input, rng) for _ in range(2)
        )
        output_range = choose_output_range(info, target, fit_x)
        fit = fit_affine(
            measure_mvm(core, fit_x, output_range=output_range).siemens,
            exact_output(info, target, fit_x),
        )
        seen = fit.apply(measure_mvm(core, test_x, output_range=output_range).siemens)
        return result, mvm_error(seen, exact_output(info, target, test_x))


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "sparse", "heavy_tailed"])
@pytest.mark.parametrize("devices", [1, 2])
def test_defaults_beat_verify_on_any_matrix(kind, devices):
    address = f"sim:hermes?devices={devices}&rows=96&cols=64&seed=4"
    verify, error_verify = programmed(address, ProgramVerify(), kind)
    gdp, error_gdp = programmed(address, GradientDescent(), kind)
    assert error_gdp < 0.85 * error_verify
    # Slow read noise stays through a batch: what looks wrong by it is pulsed again.
    assert gdp.pulses_per_device < 4 * verify.pulses_per_device


@pytest.mark.statistical
def test_defaults_work_unchanged_on_aon():
    address = "sim:aon?rows=128&cols=64&seed=4&off=mismatch"
    _, error_verify = programmed(address, ProgramVerify(), "gaussian")
    _, error_gdp = programmed(address, GradientDescent(), "gaussian")
    assert error_gdp < error_verify


@pytest.mark.statistical
def test_error_never_grows_with_more_iterations():
    address = "sim:hermes?devices=1&rows=96&cols=64&seed=4"
    errors = []
    for most in (8, 16, 32, 64, 128):
        algorithm = GradientDescent(max_iterations=most)
        errors.append(programmed(address, algorithm, "gaussian")[1])
    assert errors[-1] < 0.8 * errors[0]
    for before, after in pairwise(errors):
        assert after < 1.03 * before  # three standard errors of a measured MVM error


@pytest.mark.parametrize("budget", [1.5, 2.0])
def test_pulse_budget_is_kept(budget):
    address = "sim:hermes?devices=1&rows=64&cols=48&seed=4"
    free, _ = programmed(address, GradientDescent(), "gaussian")
    kept, _ = programmed(address, GradientDescent(max_pulses_per_device=budget), "gaussian")
    assert kept.pulses_per_device < 1.3 * budget < free.pulses_per_device
    ends = (ProgrammingOutcome.PULSE_BUDGET, ProgrammingOutcome.STOPPED_GOOD)
    assert kept.outcome in ends


@pytest.mark.parametrize("kind", list(InputKind)[:3])
def test_every_input_distribution_programs(kind):
    address = "sim:hermes?devices=1&rows=64&cols=48&seed=4"
    result, error = programmed(address, GradientDescent(inputs=kind), "gaussian")
    assert error < 0.25
    assert result.mvms > 0
    assert result.reads == 0


def test_a_device_stuck_at_set_is_made_up_for_by_the_other_polarity(linear_cells, faults):
    dead = np.full((2, 16, 6), np.nan)
    dead[0, 3, 2] = 1.2e-5
    core = linear_cells(16, 6, faults=faults(dead_siemens=dead, pulse_noise=1e-7))
    target = np.full((16, 6), 4e-6)
    result = run_programming(
        GradientDescent(settle_s=0.0),
        [
            ProgrammingJob(
                core=core, window=Window(row=0, col=0, rows=16, cols=6), target_siemens=target
            )
        ],
        seed=1,
    )[0]
    assert core.net_siemens[3, 2] == pytest.approx(4e-6, abs=1e-6)
    assert result.done.mean() > 0.9


def test_a_device_stuck_at_reset_is_given_up_and_said_so(linear_cells, faults):
    dead = np.full((2, 16, 6), np.nan)
    dead[0, 3, 2] = 0.0
    core = linear_cells(16, 6, faults=faults(dead_siemens=dead, pulse_noise=1e-7))
    target = np.full((16, 6), 8e-6)
    result = run_programming(
        GradientDescent(settle_s=0.0),
        [
            ProgrammingJob(
                core=core, window=Window(row=0, col=0, rows=16, cols=6), target_siemens=target
            )
        ],
        seed=1,
    )[0]
    assert not result.done[3, 2]
    assert result.outcome is not ProgrammingOutcome.CONVERGED
    assert core.pulses[0, 3, 2] < 30


def test_too_few_iterations_to_bring_in_every_device_are_refused():
    with pytest.raises(RequestError, match="max_iterations 3 is outside 7"):
        programmed(
            "sim:hermes?devices=2&rows=8&cols=8", GradientDescent(max_iterations=3), "gaussian"
        )
