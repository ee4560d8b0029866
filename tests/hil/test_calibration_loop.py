"""`run_calibration` on fake cores with known answers, and each quantity's law."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from typing_extensions import override

from hil import open_chip
from hil.calibration import (
    AdcGain,
    AdcOffset,
    BinarySearch,
    ColumnAffine,
    DriftBaseline,
    DriftMode,
    DriftScale,
    LeastSquares,
    LinearSolve,
    apply_record,
    drift_scale,
    run_calibration,
)
from hil.core import (
    CellRead,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    ProgramResult,
    Pulse,
    ReadResult,
    Window,
)
from hil.errors import CoreTimeoutError, RecordError, RequestError
from hil.info import Capability, CoreInfo, MvmMode
from hil.measure import measure_mvm
from hil.metrics import fit_affine, mvm_error
from hil.stimulus import InputKind, random_inputs
from hil.units import CodeScale

ROWS, COLS = 24, 40
G_MAX = 20e-6
SEARCHES = [None, BinarySearch(), LinearSolve(), LeastSquares()]


def make_info(**changes: object) -> CoreInfo:
    """Describe the fake core; what calibration does not look at is as on an ideal one."""
    known = open_chip("sim:ideal?rows=2&cols=2").cores[0].info.model_dump()
    known["device"]["g_max_siemens"] = G_MAX
    known |= {
        "chip_serial": "FAKE-1",
        "model": "linear columns",
        "rows": ROWS,
        "cols": COLS,
        "output_codes": CodeScale(min_code=-511, max_code=511, step=1.0, unit="1"),
        "output_ranges_siemens": (5 * G_MAX, 20 * G_MAX),
        "gain_trim": CodeScale(min_code=-31, max_code=31, step=0.01, unit="1"),
        "offset_trim": CodeScale(min_code=0, max_code=63, step=0.5, unit="1"),
        "mvm_s": {MvmMode.ONE_PHASE: 1e-7, MvmMode.REFERENCE: 1e-7},
        "max_batch": 300,
        "capabilities": frozenset(
            {Capability.REFERENCE_MVM, Capability.GAIN_TRIM, Capability.OFFSET_TRIM}
        ),
        "versions": {"fake": "1.0"},
    }
    return CoreInfo.model_validate({**known, **changes})


@dataclass
class Columns:
    """What stands behind the fake core, per col; `twin` = -1 makes the trims act the other way."""

    gain: np.ndarray
    offset: np.ndarray
    noise_codes: float = 0.0
    twin: float = 1.0
    drift: np.ndarray | float = 1.0


class LinearColumns(Core):
    """output = gain (1 + twin step trim) (G x) + offset + ostep (otrim - 32) + noise, rounded."""

    def __init__(self, columns: Columns, info: CoreInfo | None = None, seed: int = 0) -> None:
        super().__init__(info or make_info())
        self.columns = columns
        rng = np.random.default_rng([seed, 99])
        self.conductance = rng.uniform(-G_MAX, G_MAX, (self.info.rows, self.info.cols))
        self._rng = rng
        neutral = np.zeros(self.info.cols, np.int16)
        self._settings = CoreSettings(
            output_range=1,
            gain_trim=neutral if self.info.gain_trim else None,
            offset_trim=neutral if self.info.offset_trim else None,
        )
        self.generation, self.kelvin, self.time_s, self.fail_after = 1, 300.0, 0.0, None

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise CoreTimeoutError("no reply")
        info, columns, settings = self.info, self.columns, self._settings
        x = info.input.to_si(request.input_codes)
        self.time_s += len(x) * 1e-7
        place = request.window or Window(row=0, col=0, rows=info.rows, cols=info.cols)
        cols = slice(place.col, place.col + place.cols)
        if request.mode is MvmMode.REFERENCE:
            y = np.repeat(G_MAX * x.sum(axis=1)[:, None], place.cols, axis=1)
        else:
            cells = self.conductance * columns.drift
            y = x @ cells[place.row : place.row + place.rows, cols]
        gain, offset = columns.gain, columns.offset
        if settings.gain_trim is not None and info.gain_trim is not None:
            gain = gain * (1 + columns.twin * info.gain_trim.step * settings.gain_trim)
        if settings.offset_trim is not None and info.offset_trim is not None:
            # neutral of this unsigned register is 0: it holds an offset of -16 codes there
            offset = offset + columns.twin * info.offset_trim.step * (settings.offset_trim - 32.0)
        raw = y / info.output_step_siemens(settings.output_range or 0) * gain[cols] + offset[cols]
        raw = raw + columns.noise_codes * self._rng.standard_normal(raw.shape)
        low, high = info.output_codes.min_code, info.output_codes.max_code
        rounded = np.rint(raw)
        return MvmResult(
            output_codes=np.clip(rounded, low, high).astype(np.int16),
            saturated=(rounded < low) | (rounded > high),
            temperature_kelvin=self.kelvin,
            at_s=self.time_s,
        )

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        given = {k: v for k, v in vars(settings).items() if v is not None}
        self._settings = replace(self._settings, **given)

    @override
    def _do_settings(self) -> CoreSettings:
        return self._settings

    @override
    def _do_status(self) -> CoreStatus:
        return CoreStatus(
            now_s=self.time_s,
            temperature_kelvin=self.kelvin,
            pulses=0,
            reads=0,
            mvms=0,
            last_pulse_at_s=None,
            generation=self.generation,
            safe=False,
        )

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        raise NotImplementedError

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        raise NotImplementedError

    @override
    def _do_wait(self, seconds: float) -> float:
        self.time_s += seconds
        return self.time_s

    @override
    def _do_now_s(self) -> float:
        return self.time_s

    @override
    def _do_safe_state(self) -> None:
        pass


def spread_columns(seed: int = 1, **changes: object) -> Columns:
    rng = np.random.default_rng(seed)
    gain, offset = rng.uniform(0.79, 1.21, COLS), rng.normal(0.0, 4.0, COLS)
    return Columns(**{"gain": gain, "offset": offset, **changes})


BLOCK = Window(row=3, col=5, rows=16, cols=30)


def target_of(core: LinearColumns, window: Window = BLOCK) -> np.ndarray:
    return core.conductance[window.row :, window.col :][: window.rows, : window.cols]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name if s else "default")
@pytest.mark.parametrize("twin", [1.0, -1.0], ids=["straight", "inverted"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_gain_and_offset_are_brought_together(search, twin, noise):
    core = LinearColumns(spread_columns(noise_codes=noise, twin=twin))
    gain = run_calibration(core, AdcGain(), seed=2, search=search)
    offset = run_calibration(core, AdcOffset(), seed=3, search=search)
    assert gain.success_mask.all()
    assert offset.success_mask.all()
    columns = core.columns
    in_force = columns.gain * (1 + twin * 0.01 * gain.array("gain_trim"))
    # one trim step is 1 %; the digital factor takes what is left, to the measurement's noise
    raw_spread = np.std(columns.gain / np.median(columns.gain))
    assert np.std(in_force) / np.median(in_force) < max(0.004, 0.1 * raw_spread) + 0.002 * noise
    corrected = in_force * gain.array("gain")
    assert np.max(np.abs(corrected / np.median(columns.gain) - 1)) < 0.003 + 0.004 * noise
    left = columns.offset + twin * 0.5 * (offset.array("offset_trim") - 32.0)
    # half a trim step, half a code of the converter's rounding
    assert np.max(np.abs(left)) < 0.25 + 0.5 + 0.2 * noise
    assert np.max(np.abs(left - offset.array("offset"))) < 0.5 + 0.35 * noise


@pytest.mark.statistical
@pytest.mark.parametrize("search", [None, LeastSquares()], ids=["default", "least_squares"])
def test_noise_of_two_codes_is_averaged_out(search):
    core = LinearColumns(spread_columns(noise_codes=2.0))
    gain = run_calibration(core, AdcGain(), seed=2, search=search)
    in_force = core.columns.gain * (1 + 0.01 * gain.array("gain_trim")) * gain.array("gain")
    # levels are uniform within ± half the range: slope known to 2 / (255 / sqrt(3) sqrt(256))
    sigma = 2.0 / (0.5 * 511 / np.sqrt(3) * 16)
    assert np.max(np.abs(in_force / np.median(core.columns.gain) - 1)) < 5 * sigma
    offset = run_calibration(core, AdcOffset(), seed=3, search=search)
    left = core.columns.offset + 0.5 * (offset.array("offset_trim") - 32.0)
    assert np.max(np.abs(left - offset.array("offset"))) < 5 * 2.0 / 16


def test_found_trims_are_in_force_and_apply_restores_them():
    core = LinearColumns(spread_columns())
    record = run_calibration(core, AdcGain(), seed=2)
    np.testing.assert_array_equal(core.settings().gain_trim, record.array("gain_trim"))
    core.configure(CoreSettings(gain_trim=np.zeros(COLS, np.int16)))
    apply_record(record, core)
    np.testing.assert_array_equal(core.settings().gain_trim, record.array("gain_trim"))


def test_a_dead_column_is_a_false_in_the_mask_and_stays_neutral():
    columns = spread_columns()
    columns.gain[[4, 11]] = 0.0
    core = LinearColumns(columns)
    gain = run_calibration(core, AdcGain(), seed=2)
    assert np.flatnonzero(~gain.success_mask).tolist() == [4, 11]
    assert (gain.array("gain_trim")[[4, 11]] == 0).all()
    assert (gain.array("gain")[[4, 11]] == 1.0).all()
    affine = run_calibration(
        core, ColumnAffine(window=BLOCK, target_siemens=target_of(core)), seed=1
    )
    assert np.flatnonzero(~affine.success_mask).tolist() == [11 - BLOCK.col]


def test_a_noisy_dead_column_is_not_trusted():
    columns = spread_columns(noise_codes=3.0)
    columns.gain[[6, 7, 8, 9]] = 0.0
    core = LinearColumns(columns)
    gain = run_calibration(core, AdcGain(), seed=2)
    affine = run_calibration(
        core, ColumnAffine(window=BLOCK, target_siemens=target_of(core)), seed=1
    )
    assert np.flatnonzero(~gain.success_mask).tolist() == [6, 7, 8, 9]
    assert np.flatnonzero(~affine.success_mask).tolist() == [1, 2, 3, 4]


def test_every_column_dead_is_an_answer_too():
    columns = spread_columns()
    columns.gain[:] = 0.0
    gain = run_calibration(LinearColumns(columns), AdcGain(), seed=2)
    assert not gain.success_mask.any()
    assert np.isfinite(gain.residuals).all()


def test_offset_beyond_the_register_is_left_to_the_digital_part():
    columns = spread_columns()
    columns.offset[0] = 60.0
    core = LinearColumns(columns)
    record = run_calibration(core, AdcOffset(), seed=2)
    assert record.success_mask.all()
    assert record.array("offset_trim")[0] == 0
    assert record.array("offset")[0] == pytest.approx(60.0 - 16.0)


def test_offset_beyond_the_converter_fails_that_column_only():
    columns = spread_columns()
    columns.offset[7] = 900.0
    record = run_calibration(LinearColumns(columns), AdcOffset(), seed=2)
    assert np.flatnonzero(~record.success_mask).tolist() == [7]


def test_a_column_that_saturates_on_the_reference_is_not_trusted():
    columns = spread_columns()
    columns.offset[9] = 320.0
    record = run_calibration(LinearColumns(columns), AdcGain(), seed=2)
    assert np.flatnonzero(~record.success_mask).tolist() == [9]


def test_without_registers_everything_is_digital():
    info = make_info(
        gain_trim=None, offset_trim=None, capabilities=frozenset({Capability.REFERENCE_MVM})
    )
    core = LinearColumns(spread_columns(), info)
    gain = run_calibration(core, AdcGain(), seed=2)
    offset = run_calibration(core, AdcOffset(), seed=2)
    assert set(gain.parameters) == {"gain", "gain_before"}
    np.testing.assert_allclose(
        gain.array("gain") * core.columns.gain, np.median(core.columns.gain), rtol=0.004
    )
    np.testing.assert_allclose(offset.array("offset"), np.rint(core.columns.offset), atol=1e-6)
    with pytest.raises(RecordError, match="sets no register"):
        apply_record(gain, core)


def test_gain_without_a_reference_is_refused_before_anything_is_set():
    core = LinearColumns(spread_columns(), make_info(capabilities=frozenset()))
    verbs: list[str] = []
    core.observe(lambda event: verbs.append(event.verb))
    with pytest.raises(RequestError, match="reference MVM"):
        run_calibration(core, AdcGain(), seed=1)
    assert verbs == []


def test_same_seed_same_record():
    records = [
        run_calibration(LinearColumns(spread_columns(noise_codes=1.0)), AdcGain(), seed=9)
        for _ in range(2)
    ]
    assert records[0] == records[1]


def test_a_failure_on_the_way_leaves_the_settings_as_they_were():
    core = LinearColumns(spread_columns(), make_info(max_batch=64))
    before = core.settings()

    class Broken(AdcGain):
        @override
        def judge(self, values, found, seen, first):
            raise RequestError("broken")

    with pytest.raises(RequestError, match="broken"):
        run_calibration(core, Broken(output_range=0), seed=1)
    after = core.settings()
    assert after.output_range == before.output_range
    np.testing.assert_array_equal(after.gain_trim, before.gain_trim)


def test_a_lost_core_raises_its_own_error():
    core = LinearColumns(spread_columns())
    core.fail_after = 3
    with pytest.raises(CoreTimeoutError, match="no reply"):
        run_calibration(core, AdcGain(), seed=1)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name if s else "default")
def test_affine_equals_the_least_squares_fit_of_the_same_vectors(search):
    core = LinearColumns(spread_columns())
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(event):
        if event.verb == "mvm":
            seen.append((event.request.input_codes, event.result.output_codes))

    core.observe(keep)
    calibration = ColumnAffine(window=BLOCK, target_siemens=target_of(core), vectors=600)
    record = run_calibration(core, calibration, seed=4, search=search)
    inputs, codes = (np.concatenate(parts)[:600] for parts in zip(*seen, strict=True))
    exact = core.info.input.to_si(inputs) @ target_of(core)
    fit = fit_affine(codes * core.info.output_step_siemens(1), exact)
    np.testing.assert_allclose(record.array("scale"), fit.scale, rtol=1e-6)
    np.testing.assert_allclose(record.array("offset"), fit.offset, rtol=0, atol=1e-6 * G_MAX)
    assert sum(len(i) for i, _ in seen) == 1200  # digital knobs cost no further vectors


@pytest.mark.parametrize("kind", list(InputKind))
def test_affine_removes_gain_and_offset(kind):
    core = LinearColumns(spread_columns())
    target = target_of(core)
    record = run_calibration(
        core, ColumnAffine(window=BLOCK, target_siemens=target, inputs=kind), seed=4
    )
    assert record.success_mask.all()
    fit = ColumnAffine.correction(record)
    x = random_inputs(InputKind.RELU, 200, BLOCK.rows, core.info.input, np.random.default_rng(8))
    exact = core.info.input.to_si(x) @ target
    raw = measure_mvm(core, x, window=BLOCK).siemens
    rounding = core.info.output_step_siemens(1) * fit.scale / np.sqrt(12)
    floor = np.mean(np.sqrt(np.sum(rounding**2)) / np.linalg.norm(exact, axis=1))
    assert mvm_error(raw, exact) > 5 * floor
    assert mvm_error(fit.apply(raw), exact) < 1.1 * floor


def test_affine_fits_given_inputs_and_is_judged_on_those_kept_back():
    core = LinearColumns(spread_columns())
    x = random_inputs(InputKind.RELU, 400, BLOCK.rows, core.info.input, np.random.default_rng(2))
    calibration = ColumnAffine(window=BLOCK, target_siemens=target_of(core), input_codes=x)
    applied: list[np.ndarray] = []

    def keep(event):
        if event.verb == "mvm":
            applied.append(event.request.input_codes)

    core.observe(keep)
    record = run_calibration(core, calibration, seed=1)
    assert record.success_mask.all()
    fitted, judged = applied
    np.testing.assert_array_equal(judged, x[3::4])
    assert sorted(map(bytes, [*fitted, *judged])) == sorted(map(bytes, x))
    with pytest.raises(RequestError, match=r"input_codes have shape \(5, 16\)"):
        replace(calibration, input_codes=x[:5])


def test_affine_leaves_saturated_outputs_out_of_the_fit():
    columns = spread_columns(gain=np.full(COLS, 1.5), offset=np.zeros(COLS))
    core = LinearColumns(columns)
    record = run_calibration(
        core,
        ColumnAffine(
            window=BLOCK, target_siemens=target_of(core), output_range=0, inputs=InputKind.HADAMARD
        ),
        seed=4,
    )
    core.configure(CoreSettings(output_range=0))
    x = random_inputs(
        InputKind.HADAMARD, 512, BLOCK.rows, core.info.input, np.random.default_rng(3)
    )
    assert 0.005 < measure_mvm(core, x, window=BLOCK).saturated.mean() < 0.3
    np.testing.assert_allclose(record.array("scale") * 1.5, 1.0, rtol=0.01)


@pytest.mark.statistical
def test_affine_shrinks_by_the_law_of_least_squares():
    """E[scale] = 1 / (1 + err^2) for independent relative noise."""
    core = LinearColumns(spread_columns(gain=np.ones(COLS), offset=np.zeros(COLS)))
    target = target_of(core)
    sigma = np.sqrt((target**2).sum(axis=0)) * 0.4 / core.info.output_step_siemens(1)
    core.columns.noise_codes = float(0.5 * np.mean(sigma))
    record = run_calibration(
        core, ColumnAffine(window=BLOCK, target_siemens=target, vectors=6000), seed=4
    )
    x_std = random_inputs(
        InputKind.GAUSSIAN, 4000, 1, core.info.input, np.random.default_rng(1)
    ).std() * (1 / 127)
    signal = x_std * np.sqrt((target**2).sum(axis=0)) / core.info.output_step_siemens(1)
    err2 = (core.columns.noise_codes / signal) ** 2
    law = 1 / (1 + err2)
    # relative standard error of a slope: err / sqrt(6000), five of them
    tolerance = 5 * np.sqrt(err2 / 6000) + 0.01
    assert (np.abs(record.array("scale") / law - 1) < tolerance).all()


@pytest.mark.parametrize("mode", list(DriftMode))
@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name if s else "default")
def test_drift_factor_undoes_a_uniform_loss_whatever_the_offset(mode, search):
    core = LinearColumns(spread_columns())
    baseline = run_calibration(core, DriftBaseline(window=BLOCK), seed=5)
    core.columns.drift = 0.7
    record = run_calibration(core, DriftScale(baseline=baseline, drift=mode), seed=6, search=search)
    assert record.success_mask.all()
    assert record.array("scale").shape == ((1,) if mode is DriftMode.GLOBAL else (BLOCK.cols,))
    np.testing.assert_allclose(record.array("scale"), 1 / 0.7, rtol=0.01)


def test_no_drift_gives_a_factor_of_one():
    core = LinearColumns(spread_columns())
    baseline = run_calibration(core, DriftBaseline(window=BLOCK), seed=5)
    for mode in DriftMode:
        record = run_calibration(core, DriftScale(baseline=baseline, drift=mode), seed=6)
        np.testing.assert_allclose(record.array("scale"), 1.0, rtol=1e-12)
        np.testing.assert_allclose(record.residuals, 0.0, atol=1e-12)


def test_columns_that_drift_apart_need_their_own_factor():
    core = LinearColumns(spread_columns())
    baseline = run_calibration(core, DriftBaseline(window=BLOCK), seed=5)
    core.columns.drift = np.linspace(0.5, 0.9, COLS)
    by_mode = {
        mode: run_calibration(core, DriftScale(baseline=baseline, drift=mode), seed=6)
        for mode in DriftMode
    }
    wanted = 1 / np.linspace(0.5, 0.9, COLS)[BLOCK.col :][: BLOCK.cols]
    for mode in (DriftMode.PER_COLUMN, DriftMode.LEAST_SQUARES):
        np.testing.assert_allclose(by_mode[mode].array("scale"), wanted, rtol=0.02)
        assert by_mode[mode].residuals.max() < 0.05  # rounding of the converter alone
    assert by_mode[DriftMode.GLOBAL].residuals[0] > 0.1


def test_a_column_without_a_baseline_is_not_trusted_to_follow():
    columns = spread_columns(noise_codes=1.0)
    columns.gain[BLOCK.col + 4] = 0.0
    core = LinearColumns(columns)
    baseline = run_calibration(core, DriftBaseline(window=BLOCK), seed=5)
    assert np.flatnonzero(~baseline.success_mask).tolist() == [4]
    columns.gain[BLOCK.col + 4] = 1.0
    record = run_calibration(
        core, DriftScale(baseline=baseline, drift=DriftMode.PER_COLUMN, tolerance=1e9), seed=6
    )
    assert np.flatnonzero(~record.success_mask).tolist() == [4]


def test_a_silent_column_takes_the_global_factor():
    rng = np.random.default_rng(0)
    then = rng.standard_normal((50, 4))
    now = then / 2
    now[:, 1] = 0.0
    then[:, 2] = 3.0
    for mode in (DriftMode.PER_COLUMN, DriftMode.LEAST_SQUARES):
        scale = drift_scale(now, then, mode)
        whole = drift_scale(now, then, DriftMode.GLOBAL)[0]
        np.testing.assert_allclose(scale, [2.0, whole, whole, 2.0])
    assert drift_scale(np.zeros((5, 3)), np.zeros((5, 3)), DriftMode.GLOBAL).tolist() == [1.0]
    with pytest.raises(RequestError, match="must be equal"):
        drift_scale(now, then[:, :2], DriftMode.GLOBAL)


def test_drift_against_a_baseline_of_other_cells_is_refused():
    core = LinearColumns(spread_columns())
    baseline = run_calibration(core, DriftBaseline(window=BLOCK), seed=5)
    core.generation += 1
    with pytest.raises(RecordError, match="generation is 2, the record was made for 1"):
        run_calibration(core, DriftScale(baseline=baseline), seed=6)
    with pytest.raises(RequestError, match="drift_baseline"):
        DriftScale(baseline=run_calibration(core, AdcOffset(), seed=1))
