"""`hil fit`: what it costs is said before, what it finds is a document, silicon needs consent."""

import json

import numpy as np
import pytest

from hil import backends, open_chip
from hil.audit import AUDIT_FILE, read_audit
from hil.chip_preset import load_chip_preset
from hil.chip_records import chip_folder
from hil.errors import RequestError
from hil.fitting import Effort, FitPlan, measure_and_fit
from hil.fitting.converters import LevelData, fit_converters
from hil.fitting.estimates import binomial_interval, hat_weights
from hil.fitting.reset_floor import latent_sigma, rectified
from hil.fitting.set_states import SetData, stuck_devices
from hil.fitting.trajectory_laws import Layout
from hil.fitting.trajectory_model import Point, TimeAxis, covariance
from hil.info import BackendKind, Capability
from hil.record import RunStatus, load_record
from sim_backend.laws import HERMES_ONE_DEVICE
from sim_backend.opening import open_sim

SMALL = "sim:hermes?devices=1&rows=16&cols=32&seed=5"
T0, T_READ = 200.0, 512e-9


def open_fake(address):
    """A simulated chip that says it is silicon."""
    chip = open_sim(backends.parse_address(f"sim:{address.text.partition(':')[2]}"))
    for core in chip.cores:
        core._info = core.info.model_copy(update={"backend": BackendKind.SILICON})
    cores = tuple(core.info for core in chip.cores)
    chip.info = chip.info.model_copy(
        update={"backend": BackendKind.SILICON, "address": address.text, "cores": cores}
    )
    return chip


@pytest.fixture
def silicon(monkeypatch):
    monkeypatch.setitem(backends._BUILT_IN, "fake", f"{__name__}:open_fake")
    return SMALL.replace("sim:", "fake:")


def axis(*ages_s):
    return TimeAxis.of(np.array(ages_s), t0_s=T0, t_read_s=T_READ)


def test_a_fit_of_silicon_on_the_wire_is_that_of_the_core_and_leaves_documents(
    hil, silicon, tmp_path
):
    options = ("--effort", "quick", "--longest", "2e4", "--rows", "8", "--seed", "3", "--yes")
    code, out, err = hil("fit", f"loopback:{silicon}", *options, "--out", "a")
    said = json.loads(out)
    assert code == (0 if said["good"] else 1)
    record = load_record(tmp_path / "a")
    assert record.status is (RunStatus.DONE if code == 0 else RunStatus.GOAL_NOT_MET)
    assert record.journal.unfinished == 0
    for name in ("preset.json", "fit.json", "fit.md", "laws.png", "residuals.png"):
        assert (tmp_path / "a" / name).stat().st_size > 0
    assert "devices of 8 x 32 cells are overwritten by" in err
    plan = FitPlan.model_validate(said["plan"])
    with np.load(tmp_path / "a" / "wear.npz") as wear:
        sent, most = int(wear["core_0"].sum()), int(wear["core_0"].max())
        assert wear["core_0"][:, 8:].sum() == 0
    assert 0.97 * plan.pulses <= sent <= plan.pulses
    assert most <= plan.most_per_device
    opened, *_, closed = read_audit(chip_folder(said["serial"]) / AUDIT_FILE)
    assert opened["command"][:2] == ["hil", "fit"]
    assert sum(row["pulses"] for row in closed["pulses"]) == closed["wear"] == sent

    with open_chip(SMALL) as chip:
        core = chip.cores[0]
        before = core.settings()
        found = measure_and_fit(core, plan, seed=3)
        after = core.settings()
    assert after.output_range == before.output_range
    assert np.array_equal(after.offset_trim, before.offset_trim)
    wired = {e["name"]: e["value"] for e in said["estimates"]}
    direct = (*found.converters.estimates, *found.set_states.estimates, *found.curves.estimates)
    assert all(wired[e.name] == e.value for e in direct)
    law = next(c for c in said["curves"] if c["name"] == "mu")
    assert np.array_equal(law["values"], found.laws.mu.values)

    preset = load_chip_preset(tmp_path / "a" / "preset.json")
    assert preset.origin.serial == said["serial"]
    with open_chip(f"sim:hermes?params={tmp_path / 'a' / 'preset.json'}") as chip:
        assert (chip.cores[0].info.rows, chip.cores[0].info.cols) == (16, 32)
        assert chip.cores[0].info.devices_per_polarity == 1


def test_silicon_without_yes_gets_no_pulse_and_shows_the_plan(hil, silicon, tmp_path):
    code, out, err = hil("fit", silicon, "--effort", "quick")
    said = json.loads(out)
    assert (code, said["dry_run"]) == (0, True)
    assert said["plan"]["devices"] == 1024
    assert "give --yes" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--effort", "huge"), "known: full, quick"),
        (("--rows", "300"), "larger than the core's 16 x 32"),
        (("--rows", "2", "--cols", "2"), "statistics need 256"),
        (("--longest", "100"), "longest age 100 s is outside"),
        (("--on-core", "3"), "outside 0...0"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence_and_no_pulse(hil, tmp_path, options, words):
    code, out, err = hil("fit", SMALL, *options, "--out", "a")
    assert (code, out) == (2, "")
    assert words in err
    if (tmp_path / "a").exists():
        assert load_record(tmp_path / "a").journal.verbs.get("program", 0) == 0


def test_a_chip_whose_reads_tell_nothing_of_its_set_state_ends_in_a_sentence(hil, tmp_path):
    code, out, err = hil("fit", "sim:ideal?rows=16&cols=16", "--effort", "quick", "--out", "a")
    assert (code, out) == (3, "")
    assert "512 of 512 devices read at the highest code after SET" in err
    assert load_record(tmp_path / "a").status is RunStatus.FAILED


def test_a_core_without_cell_reads_is_refused(linear_cells):
    core = linear_cells(capabilities=frozenset({Capability.REFERENCE_MVM}))
    with pytest.raises(RequestError, match="cannot read single cells"):
        measure_and_fit(core, _plan_of(core), seed=0)
    assert core.requests == []


def _plan_of(core):
    with open_chip(SMALL) as chip:
        plan = FitPlan.of(chip.cores[0].info)
    return plan.model_copy(update={"rows": core.info.rows, "cols": core.info.cols})


def test_gain_offset_and_noise_of_known_converters_are_found():
    with open_chip(SMALL) as chip:
        info = chip.cores[0].info
    rng = np.random.default_rng(1)
    gain = 1 + 0.2 * rng.uniform(-1, 1, info.cols)
    offset = 2 * rng.standard_normal(info.cols)
    levels = np.linspace(-60, 60, 2000)
    clean = levels[:, None] * gain + offset
    codes = np.rint(clean + 0.5 * rng.standard_normal(clean.shape)).astype(int)
    data = LevelData(levels=levels, codes=codes, saturated=np.zeros(codes.shape, bool))
    fit = fit_converters(info, data, data)
    assert np.abs(fit.gain - gain).max() < 5 * 0.58 / np.sqrt(np.sum(levels**2))
    assert np.abs(fit.offset - offset).max() < 5 * 0.58 / np.sqrt(levels.size)
    noise = next(e for e in fit.estimates if e.name == "output_noise")
    assert noise.low < 0.5 < noise.high
    assert noise.relative_width < 0.02


def test_stuck_devices_are_those_that_do_not_answer():
    at_set = np.array([2.0, 2.0, 0.0, 0.9])
    floor = np.array([0.0, 2.0, 0.0, 0.0])
    data = SetData(
        relative=np.tile(at_set, (4, 1)),
        censored=np.zeros((4, 4), bool),
        highest=np.full(4, 3.0),
        floor=floor,
        variance=np.full(4, 1e-4),
    )
    set_, reset = stuck_devices(data)
    assert set_.tolist() == [False, True, False, False]
    assert reset.tolist() == [False, False, True, False]


def test_a_share_has_its_exact_interval():
    none = binomial_interval("share", 0, 1000)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 1000))
    some = binomial_interval("share", 5, 100)
    assert some.low < 0.05 < some.high


def test_the_spread_of_a_landing_is_found_from_what_is_left_after_the_cut_at_zero():
    aimed = np.linspace(0.0, 0.3, 31)
    sigma = np.full_like(aimed, 0.05)
    _, variance = rectified(aimed, sigma)
    assert np.allclose(latent_sigma(aimed, variance)[1:], sigma[1:], rtol=2e-3)


def test_hats_make_straight_lines_between_knots():
    knots = np.array([0.1, 0.4, 1.0])
    values = np.array([1.0, -1.0, 2.0])
    r = np.linspace(0, 1.2, 50)
    assert np.allclose(hat_weights(r, knots) @ values, np.interp(r, knots, values))


def test_variance_of_read_noise_is_the_published_law_with_memory_or_without():
    ages = axis(0.01, T0, 1e4, 1e6)
    expected = np.log((np.maximum(ages.age_s, T0) + T_READ) / (2 * T_READ))
    assert np.allclose(np.diag(ages.memory), expected)
    assert np.allclose(ages.fresh, expected)
    assert np.linalg.eigvalsh(ages.memory).min() > -1e-2
    lags = ages.memory[0, 1:]
    assert np.all(lags < expected[0])


def test_mean_and_scatter_of_a_trajectory_are_those_of_made_up_devices():
    """400,000 devices: 5 standard errors of mean and of variance."""
    rng, n = np.random.default_rng(0), 400_000
    ages, r = axis(T0, 1e4, 1e5), 0.5
    law = Point(
        mu=np.array([0.06]),
        sd=np.array([0.012]),
        q=np.array([0.02]),
        relaxation=np.array([0.0]),
        memory=0.0,
    )
    mean, spread = covariance(ages, np.array([r]), law, np.array([1e-4]))
    nu = 0.06 + 0.012 * rng.standard_normal(n)
    g = r * np.exp(-nu * ages.log_drift[:, None])
    g = g * (1 + 0.02 * np.sqrt(ages.fresh)[:, None] * rng.standard_normal((3, n)))
    g += 1e-2 * rng.standard_normal((3, n))
    error = np.sqrt(np.diag(spread[0]) / n)
    assert np.all(np.abs(g.mean(axis=1) - r * mean[0]) < 5 * error)
    assert np.allclose(np.cov(g), spread[0], rtol=5 * np.sqrt(2 / n), atol=5e-5)


def test_few_devices_get_fewer_knots_over_the_same_range():
    few, many = Layout.for_devices(1000), Layout.for_devices(10_000)
    assert few.knots.size < many.knots.size
    assert few.knots[1] == many.knots[1] == 0.05
    assert few.knots[-1] == many.knots[-1] == 1.0


def test_the_plan_counts_what_it_says():
    with open_chip("sim:hermes?devices=2") as chip:
        info = chip.cores[0].info
    plan = FitPlan.of(info)
    assert plan.devices == plan.rows * plan.cols * 4
    assert plan.ages_s[-1] == pytest.approx(500 * HERMES_ONE_DEVICE.t0_s)
    assert plan.chip_s(info) > plan.ages_s[-1]
    assert FitPlan.of(info, effort=Effort.QUICK).pulses < plan.pulses / 3
    assert FitPlan.of(info, most_code=500).coarse_codes(0).max() == 500
