"""The comparison is fair: same chip, same vectors, same age; its figures obey their laws."""

import json

import numpy as np
import pytest

from hil import open_chip
from hil.compare import (
    ComparisonPlan,
    ComparisonRow,
    MatrixKind,
    Setting,
    make_matrix,
    plan_comparison,
    plot_adc_bits,
    plot_methods,
    run_comparison,
    summarise,
)
from hil.compare.matrices import LAYER_CHECKPOINT
from hil.compare.measuring import measure_errors, split_error
from hil.compare.plan import cases_of, trials_of
from hil.core import Window
from hil.errors import RequestError
from hil.inference.geometry import weight_matrix
from hil.metrics import fit_affine, mvm_error
from hil.programming import OpenLoop, ProgrammingJob, run_programming
from hil.record import RunStatus, load_record, new_record
from hil.run_folder import RunFolder
from hil.training import load_checkpoint

SMALL = "sim:hermes?devices=1&rows=32&cols=16"


def rng(seed=0):
    return np.random.default_rng(seed)


def compare(folder, **changes):
    values = {"address": SMALL, "seeds": (4,), "matrices": ("gaussian",), "adc_bits": ()}
    plan = plan_comparison(**{**values, **changes})
    record = new_record("compare-programming", command=("hil",), seed=0)
    with RunFolder.create(folder, record) as run:
        return run_comparison(plan, folder=run)


def without_wall_time(rows):
    return [row.model_copy(update={"wall_s": 0.0}) for row in rows]


@pytest.mark.parametrize("kind", MatrixKind)
@pytest.mark.parametrize("shape", [(256, 256), (40, 7), (600, 130)])
def test_every_matrix_fills_its_block_and_its_largest_weight_is_one(kind, shape):
    matrix = make_matrix(kind, *shape, rng())
    assert matrix.shape == shape
    assert np.abs(matrix).max() == 1.0
    assert (matrix.std(axis=0) > 0).all()


def test_distributions_are_what_they_are_called():
    size, flat = (256, 256), {}
    for kind in MatrixKind:
        flat[kind] = make_matrix(kind, *size, rng(1)).ravel()
    zeros = (flat[MatrixKind.SPARSE] == 0).mean()
    assert abs(zeros - 0.8) < 4 * np.sqrt(0.8 * 0.2 / flat[MatrixKind.SPARSE].size)
    rms = {kind: np.sqrt(np.mean(values**2)) for kind, values in flat.items()}
    assert abs(rms[MatrixKind.UNIFORM] - 3**-0.5) < 0.01
    assert rms[MatrixKind.HEAVY_TAILED] < rms[MatrixKind.GAUSSIAN] < rms[MatrixKind.UNIFORM]


def test_the_real_layer_is_the_checkpoints_folded_up_to_a_factor_per_col():
    block = make_matrix(MatrixKind.REAL_LAYER, 256, 56, rng())
    module, _ = load_checkpoint(LAYER_CHECKPOINT)
    plain = [weight_matrix(layer)[:256] for layer in (module.conv6, module.conv7)]
    cosines = [
        np.abs(np.sum(block * w, axis=0))
        / (np.linalg.norm(block, axis=0) * np.linalg.norm(w, axis=0))
        for w in plain
    ]
    assert max(cosine.min() for cosine in cosines) > 1 - 1e-6


def test_the_real_layer_repeats_no_col_in_a_whole_core():
    block = make_matrix(MatrixKind.REAL_LAYER, 256, 256, rng())
    assert np.unique(block, axis=1).shape[1] == 256


def test_linear_and_residual_part_are_found_and_their_squares_add_up():
    rows, cols, batch = 64, 40, 2048
    target = rng(2).standard_normal((rows, cols))
    gain = rng(3).uniform(0.8, 1.2, cols)
    wrong = target + 0.08 * rng(4).standard_normal((rows, cols))

    def measured(x, stream):
        noise = 0.15 * np.sqrt(rows * np.mean(x**2)) * rng(stream).standard_normal((batch, cols))
        return (x @ wrong + noise) * gain + 3.0

    x, test = (rng(s).uniform(-1, 1, (batch, rows)) for s in (5, 6))
    seen = measured(x, 7)
    fit = fit_affine(seen, x @ target)
    linear, residual = split_error(x, seen, target, fit)
    whole = mvm_error(fit.apply(measured(test, 8)), test @ target)
    assert linear == pytest.approx(0.08, rel=0.08)
    assert residual == pytest.approx(0.15, rel=0.05)
    assert np.hypot(linear, residual) == pytest.approx(whole, rel=0.04)


def test_noise_alone_is_not_taken_for_a_wrong_matrix():
    target = rng(2).standard_normal((100, 50))
    x = rng(3).uniform(-1, 1, (400, 100))
    seen = x @ target + 2.0 * rng(4).standard_normal((400, 50))
    linear, residual = split_error(x, seen, target, fit_affine(seen, x @ target))
    assert linear < 0.35 * residual


def test_a_batch_too_short_for_its_rows_and_a_zero_matrix_are_not_split():
    x, target = rng().uniform(-1, 1, (80, 64)), np.ones((64, 3))
    fit = fit_affine(x @ target, x @ target)
    assert split_error(x, x @ target, target, fit) is None
    assert split_error(np.tile(x, (4, 1)), np.zeros((320, 3)), 0 * target, fit) is None


def test_an_exact_chip_has_no_error_of_any_kind():
    with open_chip("sim:ideal?rows=48&cols=20") as chip:
        core = chip.cores[0]
        step = core.info.read.step
        top = round(core.info.device.device_g_max_siemens / step)
        target = step * rng(1).integers(-top, top + 1, (48, 20))
        window = Window(row=0, col=0, rows=48, cols=20)
        run_programming(
            OpenLoop(), [ProgrammingJob(core=core, window=window, target_siemens=target)], seed=0
        )
        errors = measure_errors(core, window, target, rng(2))
    for name in ("mvm_error", "mvm_error_affine", "mvm_error_relu_affine", "residual_error"):
        assert getattr(errors, name) < 1e-9
    assert errors.linear_error < 1e-6
    assert errors.affine_success_share == 1.0
    assert errors.saturated_share == 0.0


def test_a_comparison_runs_every_setting_at_the_age_asked_for(tmp_path):
    rows = compare(tmp_path / "run", margins=(1.0, 5.0), ages_s=(200.0, 3600.0))
    by = {(row.setting, row.age_s): row for row in rows}
    assert {row.setting for row in rows} == {*Setting, "margin_1"}  # 5 counts are the published
    assert len(rows) == len(by) == 2 * 7
    for row in rows:
        assert row.measured_age_s == pytest.approx(row.age_s, rel=1e-6)
        assert 0 < row.mvm_error_affine < 1
        assert (row.reads > 0) == (row.method == "verify")
        assert (row.mvms > 0) == (row.method == "gdp")
    best, published = by[Setting.BEST, 200.0], by[Setting.PUBLISHED, 200.0]
    assert best.mvm_error_affine == min(
        published.mvm_error_affine, by["margin_1", 200.0].mvm_error_affine
    )
    assert best.margin_counts in (1.0, 5.0)
    late = by[Setting.DELAYED, 200.0]
    assert late.margin_counts == best.margin_counts
    assert late.chip_s > best.chip_s
    budget = published.pulses_per_device
    held = by[Setting.EQUAL_PULSES, 200.0]
    assert held.settings == {"max_pulses_per_device": budget}
    assert held.pulses_per_device <= max(1.2 * budget, by[Setting.GDP, 200.0].pulses_per_device)


def test_a_trial_does_not_depend_on_what_else_is_compared_nor_on_when(tmp_path):
    alone = compare(tmp_path / "a", settings=("default",), ages_s=(200.0,))
    among = compare(tmp_path / "b", settings=("best_margin", "default"), margins=(1.0,))
    wanted = [row for row in without_wall_time(among) if row.age_s == 200.0]
    for row in without_wall_time(alone):
        assert row in wanted


def test_another_seed_is_another_chip_with_other_weights(tmp_path):
    one, other = (
        compare(tmp_path / str(seed), seeds=(seed,), settings=(), ages_s=(200.0,))[0]
        for seed in (1, 2)
    )
    assert one.chip_serial != other.chip_serial
    assert one.mvm_error_affine != other.mvm_error_affine


def test_processes_change_nothing_but_the_wall_time(tmp_path):
    plan = plan_comparison(
        address=SMALL, seeds=(1,), matrices=("gaussian", "sparse"), settings=(), adc_bits=()
    )
    found = []
    for jobs in (1, 2):
        record = new_record("compare-programming", command=("hil",), seed=0)
        with RunFolder.create(tmp_path / str(jobs), record) as run:
            found.append(without_wall_time(run_comparison(plan, folder=run, jobs=jobs)))
    assert found[0] == found[1]


def test_every_trial_leaves_a_run_folder_with_its_journal(tmp_path):
    rows = compare(tmp_path / "run", settings=("default",), ages_s=(200.0,))
    folders = sorted((tmp_path / "run" / "trials").iterdir())
    assert [f.name for f in folders] == [
        "gaussian-4-gdp-default",
        "gaussian-4-verify-published_margin",
    ]
    for folder in folders:
        record = load_record(folder)
        assert record.status is RunStatus.DONE
        assert record.journal.unfinished == 0
        assert ComparisonRow.model_validate(record.results["rows"][0]) in rows


def test_the_bit_sweep_has_a_case_per_resolution_and_none_twice():
    plan = plan_comparison(address=SMALL, seeds=(1, 2), adc_bits=(4, 8, 10, 4))
    cases = cases_of(plan)
    swept = [case for case in cases if case.sweeps_bits]
    assert [case.address[-11:] for case in swept[::2]] == ["&adc_bits=4", "adc_bits=10"]
    assert len(swept) == 4
    assert all(trials_of(case) == 2 for case in swept)
    assert len(cases) - len(swept) == 2 * len(MatrixKind)
    apart = plan_comparison(address=SMALL, seeds=(1,), adc_bits=(8,), matrices=("sparse",))
    assert [case.sweeps_bits for case in cases_of(apart)] == [False, True]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"address": "usb:1"}, "unknown scheme"),
        ({"matrices": ("cauchy",)}, "gaussian"),
        ({"matrices": ()}, "matrices"),
        ({"seeds": (3, 3)}, "twice"),
        ({"ages_s": (3600.0, 200.0)}, "rise"),
        ({"ages_s": (3.0,)}, "too young"),
        ({"settings": ("magic",)}, "settings"),
        ({"margins": (-1.0,)}, "margins"),
        ({"rows": 33}, "larger than core 0"),
        ({"cols": 400}, "larger than core 0"),
        ({"adc_bits": (13,)}, "2...12"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_with_what_is_allowed(values, words):
    with pytest.raises(RequestError, match=words):
        cases_of(plan_comparison(**{"address": SMALL, **values}))


def row(matrix, seed, method, setting, error, *, pulses=2.0, bits=8, age_s=200.0):
    return ComparisonRow(
        matrix=matrix,
        seed=seed,
        method=method,
        setting=setting,
        settings={},
        margin_counts=5.0 if method == "verify" else None,
        age_s=age_s,
        measured_age_s=age_s,
        mvm_error=2 * error,
        mvm_error_affine=error,
        mvm_error_relu=error,
        mvm_error_relu_affine=error,
        linear_error=0.5 * error,
        residual_error=0.5 * error,
        saturated_share=0.0,
        affine_success_share=1.0,
        pulses_per_device=pulses,
        pulses_max=9,
        reads=1,
        mvms=1,
        iterations=1,
        chip_s=1.0,
        wall_s=1.0,
        success_share=1.0,
        outcome="done",
        rows=2,
        cols=2,
        devices_per_polarity=1,
        adc_bits=bits,
        host_seed=0,
        address=SMALL,
        chip_serial=f"chip {seed}",
        backend="sim",
        model="hermes",
    )


def known_rows(seeds=(1, 2, 3)):
    found = []
    for seed in seeds:
        for matrix, factor in (("gaussian", 0.5), ("sparse", 0.7)):
            verify = 0.1 * seed
            found.append(row(matrix, seed, "verify", "published_margin", verify))
            found.append(
                row(matrix, seed, "gdp", "default", verify * (factor + 0.01 * seed), pulses=3.0)
            )
    return found


def test_ratios_are_taken_chip_by_chip_with_an_interval_over_chips():
    summary = summarise(known_rows())
    ratios = {r.matrix: r for r in summary.ratios}
    assert set(ratios) == {"gaussian", "sparse", "all"}
    gaussian = ratios["gaussian"].ratio
    assert gaussian.mean == pytest.approx(0.52)
    assert gaussian.half == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-5)
    assert (gaussian.lowest, gaussian.highest) == pytest.approx((0.51, 0.53))
    assert ratios["all"].ratio.mean == pytest.approx(0.62)
    assert ratios["all"].ratio.chips == 3  # matrices on one chip are not independent
    assert ratios["all"].pulses.mean == pytest.approx(1.5)


def test_one_chip_has_no_interval_and_the_summary_is_json():
    summary = summarise(known_rows(seeds=(1,)))
    assert all(r.ratio.half is None for r in summary.ratios)
    assert "NaN" not in summary.model_dump_json()
    assert "Infinity" not in summary.model_dump_json()


def test_resolutions_are_kept_apart():
    swept = [row("gaussian", seed, "gdp", "default", 0.9, bits=4) for seed in (1, 2, 3)]
    summary = summarise([*known_rows(), *swept])
    assert {e.adc_bits for e in summary.errors} == {8}
    by_bits = {(e.adc_bits, e.method): e.mvm_error_affine.mean for e in summary.by_adc_bits}
    assert by_bits[4, "gdp"] == pytest.approx(0.9)
    assert by_bits[8, "gdp"] == pytest.approx(
        np.mean([0.1 * s * (0.5 + 0.01 * s) for s in (1, 2, 3)])
    )
    assert summarise(known_rows()).by_adc_bits == ()


def test_pictures_are_drawn_for_one_chip_and_for_several():
    for seeds in ((1,), (1, 2, 3)):
        swept = [row("gaussian", s, "gdp", "default", 0.9, bits=4) for s in seeds]
        summary = summarise([*known_rows(seeds), *swept])
        for picture in (plot_methods(summary), plot_adc_bits(summary)):
            assert picture.startswith(b"\x89PNG")


def test_the_command_prints_a_row_a_line_and_keeps_them_with_summary_and_pictures(hil, tmp_path):
    code, out, err = hil(
        "compare-programming", "--core", SMALL, "--matrices", "gaussian", "--seeds", 1,
        "--settings", "default", "--ages", "200", "--adc-bits", "6", "--out", "c",
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(lines) == 4
    assert {line["adc_bits"] for line in lines} == {6, 8}
    assert (tmp_path / "c" / "rows.jsonl").read_text() == out
    names = {p.name for p in (tmp_path / "c").iterdir()}
    assert {"record.json", "summary.json", "methods.png", "adc-bits.png", "trials"} <= names
    record = load_record(tmp_path / "c")
    assert record.status is RunStatus.DONE
    assert ComparisonPlan.model_validate(record.recipe).adc_bits == (6,)
    assert "over that of verify, published_margin" in err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--adc-bits", "four", "numbers with commas"),
        ("--ages", "200,100", "rise"),
        ("--matrices", "round", "gaussian"),
        ("--rows", "5000", "larger than core 0"),
    ],
)
def test_a_wrong_comparison_is_exit_2_and_writes_nothing(hil, tmp_path, option, value, words):
    code, out, err = hil("compare-programming", "--core", SMALL, option, value)
    assert (code, out) == (2, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []
