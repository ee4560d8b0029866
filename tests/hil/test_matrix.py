"""Programmed matrices: the product, the correction, drift and the report."""

from __future__ import annotations

import numpy as np
import pytest

from hil import Chip, RequestError, open_chip, program_matrix
from hil.core import VerbEvent
from hil.mapping import Placement, encode_weights, place_blocks, tile_matrix
from hil.matrix import DriftMode, MatrixTask, ProgrammedMatrix, ProgrammingReport, program_matrices
from hil.matrix.program import core_sizes
from hil.metrics import mvm_error

IDEAL = "sim:ideal?cores=2"
HERMES = "sim:hermes?cores=2&seed=3"


def integers(rows: int, cols: int, seed: int) -> np.ndarray:
    """Integer weights that use the whole signed 8-bit range."""
    weights = np.random.default_rng(seed).integers(-127, 128, (rows, cols))
    weights[0] = 127
    return weights


@pytest.mark.parametrize(
    ("rows", "cols"), [(1, 1), (3, 500), (256, 256), (257, 255), (300, 300), (512, 256), (129, 257)]
)
@pytest.mark.parametrize("scaling", ["per_matrix", "per_column"])
def test_ideal_product_is_exact_for_any_size(rows: int, cols: int, scaling: str) -> None:
    weights, x = integers(rows, cols, 1), integers(9, rows, 2)
    x[0] = 0
    with open_chip(IDEAL) as chip:
        matrix = program_matrix(chip, weights, "open_loop", scaling=scaling, calibrate=False)
        got = matrix.matmul(x, input_range=127.0)
    np.testing.assert_array_equal(np.rint(got), x @ weights)
    np.testing.assert_allclose(got, x @ weights, atol=1e-6)


def test_float_product_errs_by_its_quantisation_only() -> None:
    rng = np.random.default_rng(4)
    weights, x = rng.standard_normal((200, 90)), rng.standard_normal((50, 200))
    with open_chip(IDEAL) as chip:
        got = program_matrix(chip, weights, "open_loop").matmul(x)
    # Uniform errors of ± half a step in weights and inputs, independent: std step / sqrt(12).
    steps = np.abs(weights).max() / 127, np.abs(x).max() / 127
    expected = np.sqrt(200 * (steps[0] ** 2 + steps[1] ** 2) / 12)
    assert (got - x @ weights).std() == pytest.approx(expected, rel=0.1)


def test_inputs_beyond_a_fixed_range_are_clipped() -> None:
    weights = np.array([[127.0], [1.0]])
    with open_chip(IDEAL) as chip:
        matrix = program_matrix(chip, weights, "open_loop", calibrate=False)
        got = matrix.matmul([[5.0, 0.0], [-9.0, 0.0], [0.5, 1.0]], input_range=1.0)
    np.testing.assert_allclose(got[:, 0], [127.0, -127.0, 127 * 64 / 127 + 1.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(8), ("(8,)", "(batch, 8)")),
        (np.zeros((2, 9)), ("(2, 9)", "(batch, 8)")),
        (np.full((1, 8), np.nan), ("NaN", "finite")),
        (np.zeros((1, 8), complex), ("complex",)),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: np.ndarray, words: tuple[str, ...]) -> None:
    with open_chip(IDEAL) as chip:
        matrix = program_matrix(chip, np.eye(8), "open_loop", calibrate=False)
        with pytest.raises(RequestError) as caught:
            matrix.matmul(x)
        with pytest.raises(RequestError, match=r"input_range 0\.0"):
            matrix.matmul(np.zeros((1, 8)), input_range=0.0)
        assert matrix.matmul(np.zeros((0, 8))).shape == (0, 8)
        assert not matrix.matmul(np.zeros((2, 8))).any()
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("weights", "method", "words"),
    [
        (np.array([[np.inf]]), "open_loop", ("not finite", "row 0, col 0")),
        (np.ones((600, 600)), "open_loop", ("600 x 600", "131072", "does not fit")),
        (np.ones((2, 2)), "magic", ("magic", "open_loop")),
    ],
)
def test_a_refused_request_sends_nothing(
    weights: np.ndarray, method: str, words: tuple[str, ...]
) -> None:
    events: list[VerbEvent] = []
    with open_chip(IDEAL) as chip:
        for core in chip.cores:
            core.observe(events.append)
        with pytest.raises(RequestError) as caught:
            program_matrix(chip, weights, method)
    assert all(word in str(caught.value) for word in words)
    assert [e.verb for e in events if e.verb in {"program", "mvm", "read", "configure"}] == []


def programmed(chip: Chip, *, calibrate: bool = True) -> tuple[ProgrammedMatrix, np.ndarray]:
    weights = np.random.default_rng(8).standard_normal((300, 60))
    return program_matrix(chip, weights, "open_loop", calibrate=calibrate), weights


def test_same_seed_same_product() -> None:
    x = np.random.default_rng(1).standard_normal((20, 300))
    with open_chip(HERMES) as one, open_chip(HERMES) as two:
        a, b = programmed(one)[0], programmed(two)[0]
        np.testing.assert_array_equal(a.matmul(x), b.matmul(x))
        assert a.report.model_dump(exclude={"wall_s"}) == b.report.model_dump(exclude={"wall_s"})


def test_calibration_lowers_the_error_on_inputs_of_its_own() -> None:
    rng = np.random.default_rng(2)
    with open_chip(HERMES) as chip:
        matrix, weights = programmed(chip)
        signed, positive = rng.standard_normal((300, 300)), rng.random((300, 300))
        report = matrix.report
        assert report.mvm_error_affine < report.mvm_error
        for x in (signed, positive):
            measured = mvm_error(matrix.matmul(x), x @ weights)
            assert measured < report.mvm_error
        uncalibrated = programmed(chip, calibrate=False)[0]
        assert not uncalibrated.blocks[0].fits
        # A fit made for the report alone is as good, and stays out of the product.
        assert uncalibrated.report.mvm_error_affine == pytest.approx(
            report.mvm_error_affine, rel=0.15
        )
        raw = mvm_error(uncalibrated.matmul(signed), signed @ weights)
        assert raw == pytest.approx(uncalibrated.report.mvm_error, rel=0.1)


def test_structured_inputs_find_a_range_that_holds_them() -> None:
    """All-positive inputs on all-positive weights sum up; Gaussian ones cancel."""
    weights = np.random.default_rng(3).random((120, 20))
    with open_chip(HERMES) as chip:
        matrix = program_matrix(chip, weights, "open_loop")
        x = np.ones((5, 120))
        got = matrix.matmul(x)
        narrow = matrix.measure(np.full((5, 120), 127, np.int16))
        wide = matrix.measure_adapting(np.full((5, 120), 127, np.int16))
        clipped = mvm_error(narrow.siemens, wide.siemens)
    assert narrow.saturated == narrow.converted
    assert wide.saturated == 0
    assert clipped > 0.3
    assert mvm_error(got, x @ weights) < 0.3


def test_every_compensation_undoes_drift_and_none_returns_to_the_calibration() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 300))
    with open_chip(HERMES) as chip:
        matrix, weights = programmed(chip)
        exact = x @ weights

        def gain() -> float:
            """Slope of outputs against the exact product."""
            got = matrix.matmul(x)
            return float((got * exact).sum() / (exact**2).sum())

        fresh = gain()
        chip.wait(86_400)
        drifted, error = gain(), matrix.evaluate().mvm_error_affine
        assert drifted < 0.9 * fresh
        for mode in DriftMode:
            matrix.compensate_drift(mode)
            assert matrix.compensation == mode.value
            assert gain() > (fresh + drifted) / 2
            report = matrix.report
            assert report.compensation == mode.value
            assert report.mvm_error_affine < error
            assert report.age_s == pytest.approx(86_400, rel=0.01)
        matrix.forget_compensation()
        assert gain() == pytest.approx(drifted, rel=0.05)
        with pytest.raises(RequestError, match=r"weekly.*global, per_column, affine"):
            matrix.compensate_drift("weekly")


def test_a_global_factor_is_the_ratio_of_readouts() -> None:
    """On a chip without drift or noise nothing is compensated."""
    with open_chip(IDEAL) as chip:
        matrix = program_matrix(chip, integers(40, 7, 0), "open_loop")
        before = matrix.matmul(np.eye(40))
        chip.wait(1e6)
        for mode in DriftMode:
            matrix.compensate_drift(mode)
            np.testing.assert_allclose(matrix.matmul(np.eye(40)), before, rtol=1e-9, atol=1e-9)


def test_report_counts_what_the_cores_counted() -> None:
    with open_chip("sim:hermes?cores=2&seed=5") as chip:
        weights = np.random.default_rng(6).standard_normal((260, 200))
        matrix = program_matrix(chip, weights, "verify", calibrate=False)
        pulses = sum(core.status().pulses for core in chip.cores)
        reads = sum(core.status().reads for core in chip.cores)
        report = matrix.report
    assert report.pulses_total == pulses
    assert report.reads == reads
    assert report.pulses_per_device == pytest.approx(pulses / (260 * 200 * 4))
    assert report.pulses_per_device_max >= report.pulses_per_device
    assert 0.9 < report.success_share <= 1.0
    assert report.cells == 260 * 200 == sum(b.rows * b.cols for b in report.blocks)
    assert report.chip_serial == chip.serial
    assert report.backend == chip.backend
    assert ProgrammingReport.model_validate_json(report.model_dump_json()) == report


def test_a_matrix_of_zeros_has_no_relative_error() -> None:
    with open_chip(HERMES) as chip:
        matrix = program_matrix(chip, np.zeros((30, 4)), "open_loop")
        assert matrix.report.mvm_error is None
        assert np.isfinite(matrix.matmul(np.ones((2, 30)))).all()
        chip.wait(1e5)
        for mode in DriftMode:
            matrix.compensate_drift(mode)
            assert np.isfinite(matrix.matmul(np.ones((2, 30)))).all()


def test_many_matrices_are_written_in_one_lockstep_run() -> None:
    rng = np.random.default_rng(7)
    weights = {"a": rng.integers(-127, 128, (70, 30)), "b": rng.integers(-127, 128, (300, 9))}
    for w in weights.values():
        w[0] = 127
    with open_chip(IDEAL) as chip:
        tiles = [
            t
            for n, w in weights.items()
            for t in tile_matrix(n, *w.shape, max_rows=256, max_cols=256)
        ]
        placement: Placement = place_blocks(tiles, core_sizes(chip))
        tasks = [
            MatrixTask(name=n, encoded=encode_weights(w), blocks=placement.of(n))
            for n, w in weights.items()
        ]
        rounds: list[int] = []
        made = program_matrices(
            chip, tasks, "open_loop", on_step=lambda action: rounds.append(action.iteration)
        )
        for matrix in made:
            got = matrix.matmul(np.eye(matrix.encoded.rows) * 127, input_range=127.0)
            np.testing.assert_allclose(got / 127, weights[matrix.name], atol=1e-9)
        assert rounds == [0]


def test_representative_inputs_of_the_wrong_shape_are_refused() -> None:
    with open_chip(IDEAL) as chip:
        matrix = program_matrix(chip, np.eye(8), "open_loop")
        for shape in ((1, 8), (5, 7), (8,)):
            with pytest.raises(RequestError, match="at least 2, 8"):
                matrix.calibrate(np.zeros(shape, np.int16))
