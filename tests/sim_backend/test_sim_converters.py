"""Converters through a core's verbs: rounding, clipping, spread, trims."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hil.backends import open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse, Window
from hil.info import Direction, MvmMode, PulseFamily
from sim_backend.converters import OutputConverter
from sim_backend.params import ConverterParams
from sim_backend.pcm import Effects
from sim_backend.sim_core import SimCore
from sim_backend.streams import Streams

Array = npt.NDArray[np.float64]
ROWS, COLS = 40, 36
EXACT = "noise=off&off=drift+relaxation+mismatch+stuck+wire"


def _fill(core: SimCore, seed: int = 1) -> None:
    """Random RESET amplitudes on every device."""
    info = core.info
    shape = (info.devices_per_cell, info.rows, info.cols)
    device, rows, cols = (a.ravel() for a in np.indices(shape))
    amplitude = np.random.default_rng(seed).integers(350, 800, device.size)
    core.program(
        Pulse.of(
            PulseFamily.RESET, device=device, rows=rows, cols=cols, amplitude=amplitude, width=1
        )
    )


def _open(extra: str) -> Iterator[SimCore]:
    with open_chip(f"sim:hermes?rows={ROWS}&cols={COLS}&seed=2&{extra}") as chip:
        core = chip.cores[0]
        assert isinstance(core, SimCore)
        yield core


@pytest.fixture(params=[5, 8, 12])
def exact_core(request: pytest.FixtureRequest) -> Iterator[SimCore]:
    """A programmed core whose only error is its converters' rounding."""
    for core in _open(f"{EXACT}&adc_bits={request.param}"):
        _fill(core)
        yield core


@pytest.fixture
def raw_core() -> Iterator[SimCore]:
    """A core with raw converters, without noise and wire; programmed."""
    for core in _open("noise=off&off=drift+relaxation+stuck+wire"):
        _fill(core)
        yield core


def _net(core: SimCore) -> Array:
    g = core.array.conductance_siemens(core.now_s()).numpy().astype(np.float64)
    half = core.info.devices_per_polarity
    return np.asarray(g[:half].sum(0) - g[half:].sum(0))


def _inputs(core: SimCore, lines: int, seed: int = 3) -> npt.NDArray[np.integer]:
    codes = np.random.default_rng(seed).integers(-127, 128, (50, lines))
    return codes.astype(core.info.input.dtype)


@pytest.mark.parametrize("direction", list(Direction))
def test_rounding_error_is_at_most_half_a_code(exact_core: SimCore, direction: Direction) -> None:
    core, info = exact_core, exact_core.info
    forward = direction is Direction.FORWARD
    codes = _inputs(core, ROWS if forward else COLS)
    core.configure(CoreSettings(output_range=5))
    result = core.mvm(MvmRequest(input_codes=codes, direction=direction))
    net = _net(core) if forward else _net(core).T
    exact = info.input.to_si(codes) @ net / info.output_step_siemens(5)
    inside = ~result.saturated
    assert inside.mean() > 0.9
    assert np.abs(result.output_codes - exact)[inside].max() <= 0.5 + 1e-3
    assert np.abs(result.output_codes - exact)[inside].max() > 0.4, "there is a rounding"


def test_outputs_beyond_the_range_are_clipped_and_flagged(exact_core: SimCore) -> None:
    core, info = exact_core, exact_core.info
    codes = _inputs(core, ROWS)
    core.configure(CoreSettings(output_range=0))
    result = core.mvm(MvmRequest(input_codes=codes))
    exact = info.input.to_si(codes) @ _net(core) / info.output_step_siemens(0)
    limit = info.output_codes.max_code
    clear = np.abs(np.abs(exact) - (limit + 0.5)) > 1e-2
    assert np.array_equal(result.saturated[clear], (np.abs(exact) > limit + 0.5)[clear])
    assert result.saturated.any()
    assert (result.output_codes[result.saturated & (exact > 0)] == limit).all()
    assert (result.output_codes[result.saturated & (exact < 0)] == -limit).all()


def test_output_codes_scale_with_the_range(exact_core: SimCore) -> None:
    core, info = exact_core, exact_core.info
    codes = _inputs(core, ROWS)
    siemens = []
    for index in (5, 6):
        core.configure(CoreSettings(output_range=index))
        seen = core.mvm(MvmRequest(input_codes=codes)).output_codes
        siemens.append(seen * info.output_step_siemens(index))
    assert info.output_step_siemens(6) == pytest.approx(2 * info.output_step_siemens(5))
    worst = (info.output_step_siemens(5) + info.output_step_siemens(6)) / 2
    inside = np.abs(siemens[0]) < 0.99 * info.output_ranges_siemens[5]
    assert np.abs(siemens[0] - siemens[1])[inside].max() <= worst * 1.01


def test_cell_reads_round_to_the_nearest_code_and_flag_the_top(exact_core: SimCore) -> None:
    core, info = exact_core, exact_core.info
    shape = (info.devices_per_cell, info.rows, info.cols)
    device, rows, cols = (a.ravel() for a in np.indices(shape))
    result = core.read(CellRead.of(device=device, rows=rows, cols=cols))
    exact = core.array.conductance_siemens(core.now_s()).numpy().ravel() / info.read.step
    top = info.read.max_code
    inside = exact < top
    assert np.abs(result.codes - exact)[inside].max() <= 0.5 + 1e-3
    assert result.codes.min() >= 0
    assert np.array_equal(result.saturated, result.saturated & (result.codes == top))
    assert result.saturated[exact > top + 1].all()
    assert not result.saturated[exact < top].any()


def test_raw_gains_spread_uniformly_within_21_percent() -> None:
    converter = OutputConverter(
        ConverterParams(),
        20_000,
        Streams(5, 0, torch.device("cpu")),
        torch.device("cpu"),
        Effects(),
    )
    deviation = converter.gain - 1
    assert float(deviation.abs().max()) <= 0.21
    assert float(deviation.abs().max()) > 0.205
    error = 0.21 / 3**0.5 / 20_000**0.5
    assert abs(float(deviation.mean())) < 4 * error
    assert abs(float(deviation.std()) - 0.21 / 3**0.5) < 4 * error
    assert abs(float(converter.offset_codes.std()) - 2.0) < 4 * 2.0 / 40_000**0.5


def test_trims_bring_every_raw_converter_near_nominal() -> None:
    """The weakest converter ends 3 % low; the published residue after calibration is 7 %."""
    p = ConverterParams()
    trims = 1 + p.gain_trim_step * np.arange(-p.gain_trim_max, p.gain_trim_max + 1)
    raw = np.linspace(1 - p.gain_spread, 1 + p.gain_spread, 201)
    best = np.abs(raw[:, None] * trims - 1).min(axis=1)
    assert best.max() < 0.035
    assert np.median(best) < p.gain_trim_step / 2
    assert p.offset_trim_step * p.offset_trim_max >= 3.5 * p.offset_sigma


@pytest.mark.parametrize("trim", [-31, -8, 0, 8, 31])
def test_offset_trim_moves_the_zero_output_linearly(raw_core: SimCore, trim: int) -> None:
    core, info = raw_core, raw_core.info
    assert info.offset_trim is not None
    zero = np.zeros((1, ROWS), info.input.dtype)
    untrimmed = core.mvm(MvmRequest(input_codes=zero)).output_codes[0]
    core.configure(CoreSettings(offset_trim=np.full(COLS, trim, np.int16)))
    trimmed = core.mvm(MvmRequest(input_codes=zero)).output_codes[0]
    moved = trimmed.astype(int) - untrimmed
    assert np.abs(moved - info.offset_trim.step * trim).max() <= 1.0
    assert abs(float(moved.mean()) - info.offset_trim.step * trim) < 0.3


def test_gain_trim_scales_the_output_linearly(raw_core: SimCore) -> None:
    core, info = raw_core, raw_core.info
    assert info.gain_trim is not None
    core.configure(CoreSettings(output_range=7))
    full = np.full((1, ROWS), 127, info.input.dtype)
    trims = np.arange(info.gain_trim.min_code, info.gain_trim.max_code + 1)
    zero = np.zeros((1, ROWS), info.input.dtype)
    offset = core.mvm(MvmRequest(input_codes=zero)).output_codes[0].astype(float)
    seen = []
    for trim in trims:
        core.configure(CoreSettings(gain_trim=np.full(COLS, trim, np.int16)))
        request = MvmRequest(input_codes=full, mode=MvmMode.REFERENCE)
        seen.append(core.mvm(request).output_codes[0] - offset)
    slope, at_zero = np.polyfit(trims, np.stack(seen), 1)
    nominal = 127 * ROWS * info.device.g_max_siemens / info.output_ranges_siemens[7]
    assert np.abs(at_zero / nominal - 1).max() <= 0.21 + 1.0 / nominal
    assert at_zero.std() / nominal > 0.05, "raw gains differ"
    np.testing.assert_allclose(slope / at_zero, info.gain_trim.step, rtol=0.06)


def test_a_trim_acts_on_its_own_col_alone(raw_core: SimCore) -> None:
    core = raw_core
    codes = _inputs(core, ROWS)
    core.configure(CoreSettings(output_range=5))
    before = core.mvm(MvmRequest(input_codes=codes)).output_codes
    trim = np.zeros(COLS, np.int16)
    trim[7] = 10
    core.configure(CoreSettings(gain_trim=trim, offset_trim=trim))
    after = core.mvm(MvmRequest(input_codes=codes)).output_codes
    changed = (before != after).any(axis=0)
    assert np.flatnonzero(changed).tolist() == [7]


def test_a_window_uses_its_own_cols_converters(raw_core: SimCore) -> None:
    core = raw_core
    core.configure(CoreSettings(output_range=5))
    window = Window(row=5, col=9, rows=20, cols=11)
    part = _inputs(core, 20)
    full = np.zeros((50, ROWS), core.info.input.dtype)
    full[:, 5:25] = part
    of_window = core.mvm(MvmRequest(input_codes=part, window=window)).output_codes
    of_all = core.mvm(MvmRequest(input_codes=full)).output_codes[:, 9:20]
    assert np.abs(of_window.astype(int) - of_all).max() <= 1  # sums of another order may round
    assert (of_window != of_all).mean() < 0.01
