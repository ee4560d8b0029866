"""What every programming algorithm owes, and the loop that runs them; pulses, rules, registry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import sim_backend.sim_core  # noqa: F401 - torch's first import must not fall inside a test
from hil import open_chip
from hil.core import Outcome, Window
from hil.errors import DeviceFaultError, RequestError
from hil.measure import exact_output, measure_mvm
from hil.programming import (
    OpenLoop,
    ProgrammingJob,
    ProgrammingOutcome,
    ProgrammingProblem,
    ProgramVerify,
    algorithm,
    method_names,
    run_programming,
)
from hil.programming.base import MvmProbe, Observation, ReadProbe
from hil.programming.pulses import ResetCurve, bounded_move, reset_pulses, split_equally
from hil.programming.set_devices import divide_over_set_devices

G_MAX = 10e-6
MARGIN = 5 / 80 * G_MAX
METHODS = ["verify", "open_loop", "gdp"]


def target_of(core, seed=3):
    rng = np.random.default_rng(seed)
    shape = (core.info.rows, core.info.cols)
    return rng.uniform(-1, 1, shape) * core.info.device.g_max_siemens


def job_of(core, target, row=0, col=0):
    window = Window(row=row, col=col, rows=target.shape[0], cols=target.shape[1])
    return ProgrammingJob(core=core, window=window, target_siemens=target)


def observe(core, probe):
    if isinstance(probe, MvmProbe):
        seen = measure_mvm(core, probe.input_codes, output_range=probe.output_range)
        return Observation(siemens=seen.siemens, saturated=seen.saturated, at_s=seen.at_s)
    assert isinstance(probe, ReadProbe)
    seen = core.siemens[probe.device, probe.rows, probe.cols]
    return Observation(siemens=seen, saturated=np.zeros(len(seen), bool), at_s=core.now_s())


def arrays_of(value):
    """Every array inside a state, by name."""
    found = {}
    for name in getattr(value, "__dataclass_fields__", {}):
        part = getattr(value, name)
        if isinstance(part, np.ndarray):
            found[name] = part
        else:
            found |= {f"{name}.{k}": v for k, v in arrays_of(part).items()}
    return found


# --- the contract -----------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_states_and_inputs_are_never_written(linear_cells, faults, name, devices):
    core = linear_cells(devices=devices, faults=faults(pulse_noise=0.05 * G_MAX, gain=1.3))
    target = target_of(core)
    target.flags.writeable = False
    kind = algorithm(name)
    step = kind.start(ProgrammingProblem(info=core.info, target_siemens=target, seed=5))
    for _ in range(6):
        assert step.done.shape == target.shape
        assert step.done.dtype == np.bool_
        for pulse in step.pulses:
            core.program(pulse)  # checks family, address, codes and count against info
        if step.probe is None:
            assert step.outcome is not None
            break
        assert step.outcome is None
        seen = observe(core, step.probe)
        seen.siemens.flags.writeable = seen.saturated.flags.writeable = False
        before = {k: v.copy() for k, v in arrays_of(step.state).items()}
        state, step = step.state, kind.advance(step.state, seen)
        for k, v in arrays_of(state).items():
            np.testing.assert_array_equal(v, before[k], err_msg=k)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_pulses(linear_cells, faults, name, devices):
    requests = []
    for _ in range(2):
        core = linear_cells(devices=devices, faults=faults(pulse_noise=0.05 * G_MAX), seed=2)
        run_programming(algorithm(name), [job_of(core, target_of(core))], seed=11)
        requests.append(core.requests)
    assert len(requests[0]) == len(requests[1])
    for one, two in zip(*requests, strict=True):
        for part in ("device", "rows", "cols", "amplitude", "width", "count"):
            np.testing.assert_array_equal(getattr(one, part), getattr(two, part))


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_any_method_programs_typical_cells(linear_cells, name, devices):
    core = linear_cells(12, 8, devices=devices)
    target = target_of(core)
    (result,) = run_programming(algorithm(name), [job_of(core, target)], seed=0)
    error = np.linalg.norm(core.net_siemens - target) / np.linalg.norm(target)
    assert error < 0.1
    assert result.method == name
    assert result.success_share > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_an_all_zero_target_is_written_as_zero(linear_cells, name):
    core = linear_cells(6, 5)
    core.siemens[:] = 12e-6
    run_programming(algorithm(name), [job_of(core, np.zeros((6, 5)))], seed=0)
    assert np.abs(core.net_siemens).max() <= MARGIN


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1)])
def test_the_smallest_blocks_work(linear_cells, name, shape):
    core = linear_cells(9, 7)
    target = np.full(shape, -0.5 * G_MAX)
    (result,) = run_programming(algorithm(name), [job_of(core, target, row=0)], seed=0)
    assert result.pulses.shape == (2, *shape)
    np.testing.assert_allclose(core.net_siemens[: shape[0], : shape[1]], target, atol=MARGIN)


# --- the loop ---------------------------------------------------------------------------------


def test_lockstep_lands_as_separate_runs_do(linear_cells, faults):
    rng = np.random.default_rng(0)
    shift = rng.uniform(-150, 150, (2, 10, 8))
    target = rng.uniform(-G_MAX, G_MAX, (10, 8))
    left, right = target[:, :3], target[:, 3:]
    together = linear_cells(10, 8, faults=faults(shift_codes=shift))
    both = run_programming(
        ProgramVerify(), [job_of(together, left), job_of(together, right, col=3)], seed=0
    )
    apart = linear_cells(10, 8, faults=faults(shift_codes=shift))
    one = run_programming(ProgramVerify(), [job_of(apart, left)], seed=0)
    two = run_programming(ProgramVerify(), [job_of(apart, right, col=3)], seed=0)
    np.testing.assert_array_equal(together.siemens, apart.siemens)
    for a, b in zip(both, one + two, strict=True):
        assert a.outcome is b.outcome
        np.testing.assert_array_equal(a.pulses, b.pulses)
        np.testing.assert_array_equal(a.done, b.done)


def test_blocks_of_one_run_share_their_settling_time(linear_cells, faults):
    core = linear_cells(10, 8, faults=faults(shift_codes=100.0))
    target = np.full((10, 4), 0.5 * G_MAX)
    jobs = [job_of(core, target), job_of(core, target, col=4)]
    results = run_programming(ProgramVerify(settle_s=10.0), jobs, seed=0)
    rounds = max(r.iterations for r in results)
    assert rounds >= 2
    assert 10 * rounds <= results[0].chip_s < 10 * rounds + 1


def test_settling_is_waited_for_after_the_last_pulse(linear_cells, faults):
    core = linear_cells(faults=faults(shift_codes=100.0))
    seen = []
    core.observe(lambda e: seen.append((e.verb, core.now_s())))
    run_programming(
        ProgramVerify(settle_s=3.0), [job_of(core, np.full((8, 6), 0.5 * G_MAX))], seed=0
    )
    pulsed = None
    for verb, at_s in seen:
        if verb == "program":
            pulsed = at_s
        if verb == "read":
            assert at_s >= pulsed + 3.0
    assert sum(verb == "read" for verb, _ in seen) >= 2


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN, Outcome.REJECTED])
def test_a_pulse_request_that_is_not_done_stops_the_run(linear_cells, faults, outcome):
    core = linear_cells(faults=faults(outcome=outcome))
    with pytest.raises(DeviceFaultError, match=outcome.value):
        run_programming(ProgramVerify(), [job_of(core, target_of(core))], seed=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(float("nan"), "NaN"), (float("inf"), "infinity"), (1.01 * G_MAX, "g_max_siemens")],
)
def test_bad_targets_are_refused_before_any_pulse(linear_cells, wrong, words):
    core = linear_cells()
    target = target_of(core)
    target[3, 2] = wrong
    with pytest.raises(RequestError, match=words):
        run_programming(ProgramVerify(), [job_of(core, target)], seed=0)
    assert not core.requests


def test_a_target_that_does_not_fit_its_window_is_refused(linear_cells):
    core = linear_cells()
    job = replace(job_of(core, target_of(core)), target_siemens=np.zeros((8, 5)))
    with pytest.raises(RequestError, match=r"\(8, 5\).*\(8, 6\)"):
        run_programming(ProgramVerify(), [job], seed=0)


def test_no_jobs_no_results():
    assert run_programming(ProgramVerify(), [], seed=0) == []


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("devices", [1, 2])
def test_the_pulse_map_is_the_cores_own_count(linear_cells, faults, name, devices):
    core = linear_cells(devices=devices, faults=faults(pulse_noise=0.1 * G_MAX), max_pulses=17)
    (result,) = run_programming(algorithm(name), [job_of(core, target_of(core))], seed=0)
    np.testing.assert_array_equal(result.pulses, core.pulses)
    assert result.reads == core.reads
    assert all(len(p) <= 17 for p in core.requests)  # split as the core demands


def test_a_block_leaves_the_rest_of_the_array_alone(linear_cells):
    core = linear_cells(10, 8)
    core.siemens[:] = 7e-6
    target = np.full((4, 3), 0.5 * G_MAX)
    run_programming(ProgramVerify(), [job_of(core, target, row=2, col=5)], seed=0)
    outside = np.ones((10, 8), bool)
    outside[2:6, 5:8] = False
    assert (core.siemens[:, outside] == 7e-6).all()
    np.testing.assert_allclose(core.net_siemens[2:6, 5:8], target, atol=MARGIN)


def test_progress_is_reported_each_round(linear_cells, faults):
    core = linear_cells(faults=faults(shift_codes=100.0))
    seen = []
    (result,) = run_programming(
        ProgramVerify(), [job_of(core, target_of(core))], seed=0, on_step=seen.append
    )
    assert [a.iteration for a in seen] == list(range(result.iterations + 1))
    assert seen[-1].running == 0
    assert seen[-1].pulses == result.pulses.sum()


# --- open loop --------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_open_loop_is_as_exact_as_its_amplitude_step(linear_cells, devices):
    core = linear_cells(devices=devices)
    target = target_of(core)
    (result,) = run_programming(OpenLoop(), [job_of(core, target)], seed=0)
    half_step = 0.5 * 20e-6 / core.zero_code
    assert np.abs(core.net_siemens - target).max() <= half_step * (1 + 1e-9)
    assert (core.pulses == 1).all()
    assert result.reads == result.mvms == result.iterations == 0
    assert result.outcome is ProgrammingOutcome.UNVERIFIED


@pytest.mark.parametrize("devices", [1, 2])
def test_open_loop_and_verify_are_exact_on_the_ideal_chip(devices):
    """Targets on the grid of the ideal devices come back as the exact integer product."""
    rng = np.random.default_rng(0)
    for kind in (OpenLoop(), ProgramVerify(margin_counts=0.0)):
        with open_chip(f"sim:ideal?rows=16&cols=12&devices={devices}") as chip:
            core = chip.cores[0]
            most = core.info.pulses[0].amplitude.max_code * devices
            weights = rng.integers(-most, most + 1, (16, 12))
            target = weights / most * core.info.device.g_max_siemens
            (result,) = run_programming(kind, [job_of(core, target)], seed=0)
            assert result.done.all()
            inputs = rng.integers(-127, 128, (9, 16)).astype(np.int16)
            seen = measure_mvm(core, inputs)
            exact = exact_output(core.info, target, inputs)
            step = core.info.output_step_siemens(0)
            assert np.abs(seen.siemens - exact).max() <= 0.5 * step * (1 + 1e-6)


def test_open_loop_splits_equally(linear_cells):
    core = linear_cells(1, 1, devices=2)
    run_programming(OpenLoop(), [job_of(core, np.array([[-8e-6]]))], seed=0)
    np.testing.assert_allclose(core.siemens[:, 0, 0], [0, 0, 4e-6, 4e-6], atol=0.02e-6)


# --- curve and pulses -------------------------------------------------------------------------


def with_curve(linear_cells, codes, siemens):
    info = linear_cells().info
    device = info.device.model_copy(
        update={
            "reset_amplitude_codes": tuple(int(c) for c in codes),
            "reset_siemens": tuple(float(g) for g in siemens),
        }
    )
    return ResetCurve.of(info.model_copy(update={"device": device}))


@given(
    steps=st.lists(st.integers(1, 40), min_size=2, max_size=25),
    falls=st.lists(st.floats(0, 3e-6), min_size=2, max_size=25),
    share=st.floats(0, 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_amplitude_inverts_any_falling_curve(linear_cells, steps, falls, share):
    n = min(len(steps), len(falls))
    codes = np.cumsum([0, *steps[:n]])
    siemens = np.cumsum([0.0, *falls[:n]])[::-1]
    assume(siemens[0] > 1e-9)
    curve = with_curve(linear_cells, codes, siemens)
    wanted = share * siemens[0]
    code = curve.amplitude(wanted)
    assert codes[0] <= code <= codes[-1]
    np.testing.assert_allclose(curve.conductance(code), wanted, atol=1e-12)


def test_plateaus_are_entered_at_their_steep_edge(linear_cells):
    curve = with_curve(linear_cells, (0, 100, 200, 300, 400), (9e-6, 9e-6, 4e-6, 0.0, 0.0))
    assert curve.amplitude(9e-6) == 100
    assert curve.amplitude(0.0) == 300
    assert curve.first_amplitude(np.array(0.0)) == curve.max_code


def test_conductances_outside_the_curve_take_its_nearer_end(linear_cells):
    curve = with_curve(linear_cells, (10, 500), (9e-6, 1e-6))
    np.testing.assert_array_equal(curve.amplitude(np.array([20e-6, -1.0])), [10, 500])


def test_slope_is_positive_also_where_the_curve_is_flat(linear_cells):
    curve = with_curve(linear_cells, (0, 100, 200, 300), (9e-6, 9e-6, 1e-6, 1e-6))
    slope = curve.slope(np.arange(0.0, 301.0))
    assert slope.min() > 0
    np.testing.assert_allclose(slope.max(), 8e-6 / 100)
    np.testing.assert_allclose(curve.slope(np.array(150.0)), 8e-6 / 100)


def test_a_flat_curve_is_refused(linear_cells):
    with pytest.raises(RequestError, match="flat"):
        with_curve(linear_cells, (0, 1023), (9e-6, 9e-6))


def test_moves_are_bounded_and_stay_on_the_scale(linear_cells):
    curve = ResetCurve.of(linear_cells().info)
    moved = bounded_move(curve, [5.0, 500.0, 1020.0], [-90.0, 300.0, 90.0], 40)
    np.testing.assert_array_equal(moved, [0.0, 540.0, 1023.0])


def test_pulse_lists_name_the_devices_meant(linear_cells):
    info = linear_cells(devices=2).info
    pulse = reset_pulses(info, (4, 8, 6), np.array([0, 47, 48, 191]), [1.4, 2.6, 9e9, -5.0])
    np.testing.assert_array_equal(pulse.device, [0, 0, 1, 3])
    np.testing.assert_array_equal(pulse.rows, [0, 7, 0, 7])
    np.testing.assert_array_equal(pulse.cols, [0, 5, 0, 5])
    np.testing.assert_array_equal(pulse.amplitude, [1, 3, 1023, 0])


def test_an_equal_split_adds_up_to_the_target(linear_cells):
    info = linear_cells(devices=3).info
    target = np.linspace(-3, 3, 48).reshape(8, 6) * G_MAX
    planes = split_equally(info, target)
    assert planes.shape == (6, 8, 6)
    assert (planes >= 0).all()
    np.testing.assert_allclose(planes[:3].sum(axis=0) - planes[3:].sum(axis=0), target)


# --- the rule for several devices -------------------------------------------------------------


@given(
    seen=st.lists(st.floats(0, 30), min_size=1, max_size=4),
    target=st.floats(0.01, 60),
)
def test_division_reaches_every_target_within_reach(seen, target):
    siemens = np.array(seen)[:, None]
    split = divide_over_set_devices(siemens, np.zeros(siemens.shape, bool), np.array([target]))
    assert split.fits[0] == (np.cumsum(np.sort(seen)[::-1])[-1] >= target)
    total = split.target_siemens.sum()
    np.testing.assert_allclose(total, target if split.fits[0] else sum(seen), rtol=1e-9)
    programmed = ~split.keep[:, 0] & (split.target_siemens[:, 0] > 0)
    assert programmed.sum() <= 1  # at most one analog device
    assert (split.target_siemens <= siemens + 1e-12).all()
    np.testing.assert_array_equal(split.target_siemens[split.keep], siemens[split.keep])


@given(
    seen=st.lists(st.floats(0, 12), min_size=2, max_size=4),
    target=st.floats(0.01, 48),
)
def test_no_device_of_unknown_conductance_stays_at_set(seen, target):
    siemens = np.minimum(np.array(seen), 10.0)[:, None]
    above = np.array(seen)[:, None] > 10.0
    split = divide_over_set_devices(siemens, above, np.array([target]))
    assert not (split.keep & above).any()
    if split.fits[0]:
        np.testing.assert_allclose(split.target_siemens.sum(), target, rtol=1e-9)


# --- the registry -----------------------------------------------------------------------------


def test_every_name_makes_the_method_of_that_name():
    assert set(method_names()) == set(METHODS)
    for name in method_names():
        assert algorithm(name).name == name


def test_settings_reach_the_method():
    made = algorithm("verify", margin_counts=2.0, averages=3)
    assert made == ProgramVerify(margin_counts=2.0, averages=3)


def test_unknown_names_and_settings_list_the_known_ones():
    with pytest.raises(RequestError, match="'magic' is unknown; known: verify, gdp, open_loop"):
        algorithm("magic")
    with pytest.raises(RequestError, match=r"no setting 'margin'; it has: margin_counts, .*gain"):
        algorithm("verify", margin=3)
    with pytest.raises(RequestError, match="open_loop has no setting 'gain'; it has: none"):
        algorithm("open_loop", gain=3)
