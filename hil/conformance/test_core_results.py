"""What every core answers: what it is, and results of stated dtype, shape and range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hil import (
    CellRead,
    Chip,
    CoreSettings,
    Direction,
    MvmMode,
    MvmRequest,
    Outcome,
    Window,
)
from hil.backends import check_address, known_schemes
from hil.conformance.board import Board
from hil.conformance.requests import PulseMaker, counters, inputs, one_pulse
from hil.info import Capability
from hil.units import CodeScale


def assert_codes(
    codes: np.ndarray[Any, Any],
    saturated: np.ndarray[Any, Any],
    scale: CodeScale,
    shape: tuple[int, ...],
) -> None:
    assert codes.dtype == scale.dtype
    assert saturated.dtype == np.bool_
    assert codes.shape == saturated.shape == shape
    if codes.size:
        assert scale.min_code <= codes.min() <= codes.max() <= scale.max_code
    at_limit = (codes == scale.min_code) | (codes == scale.max_code)
    assert not (saturated & ~at_limit).any()


@pytest.mark.pulses(at_most=16)
def test_info_never_changes(chip: Chip, make_pulses: PulseMaker) -> None:
    before = [core.info.model_dump_json() for core in chip.cores]
    chip.cores[0].program(make_pulses(chip.cores[0].info))
    for core in chip.cores:
        core.mvm(MvmRequest(input_codes=inputs(core.info, 2)))
        core.configure(CoreSettings(output_range=len(core.info.output_ranges_siemens) - 1))
        core.wait(0.0)
        core.safe_state()
    assert [core.info.model_dump_json() for core in chip.cores] == before


def test_cores_are_numbered_in_order_and_carry_the_chips_serial(chip: Chip) -> None:
    assert [core.info for core in chip.cores] == list(chip.info.cores)
    for index, core in enumerate(chip.cores):
        assert core.info.core == index
        assert core.info.chip_serial == chip.serial
        assert core.info.backend is chip.backend


def test_a_chip_shows_the_address_it_was_opened_by(chip: Chip, board: Board) -> None:
    assert check_address(chip.address).scheme in known_schemes()
    if not board.taped:
        assert chip.address == board.address


@pytest.mark.pulses(at_most=16)
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_mvm_results_have_the_stated_dtype_shape_and_range(
    chip: Chip, make_pulses: PulseMaker, batch: int
) -> None:
    chip.cores[0].program(make_pulses(chip.cores[0].info))
    for core in chip.cores:
        before = core.now_s()
        result = core.mvm(MvmRequest(input_codes=inputs(core.info, batch)))
        shape = (batch, core.info.cols)
        assert_codes(result.output_codes, result.saturated, core.info.output_codes, shape)
        assert result.at_s >= before
        assert 200.0 < result.temperature_kelvin < 500.0


def test_every_offered_mode_and_direction_answers(chip: Chip) -> None:
    info = chip.cores[0].info
    directions = [Direction.FORWARD]
    if Capability.TRANSPOSED_MVM in info.capabilities:
        directions.append(Direction.TRANSPOSED)
    for mode in info.mvm_s:
        if mode is MvmMode.REFERENCE and Capability.REFERENCE_MVM not in info.capabilities:
            continue
        for direction in directions:
            forward = direction is Direction.FORWARD
            lines, outputs = (info.rows, info.cols) if forward else (info.cols, info.rows)
            request = MvmRequest(input_codes=inputs(info, 3, lines), direction=direction, mode=mode)
            result = chip.cores[0].mvm(request)
            assert_codes(result.output_codes, result.saturated, info.output_codes, (3, outputs))


@pytest.mark.parametrize("corner", ["first", "last", "inner"])
def test_a_window_answers_for_its_own_lines(chip: Chip, corner: str) -> None:
    info = chip.cores[0].info
    window = {
        "first": Window(row=0, col=0, rows=1, cols=1),
        "last": Window(row=info.rows - 1, col=info.cols - 1, rows=1, cols=1),
        "inner": Window(row=2, col=3, rows=info.rows - 4, cols=info.cols - 5),
    }[corner]
    codes = inputs(info, 4, window.rows)
    result = chip.cores[0].mvm(MvmRequest(input_codes=codes, window=window))
    assert_codes(result.output_codes, result.saturated, info.output_codes, (4, window.cols))


def test_read_results_have_the_stated_dtype_shape_and_range(chip: Chip) -> None:
    core = chip.cores[-1]
    info = core.info
    if Capability.CELL_READ not in info.capabilities:
        pytest.skip("this core reads no single cells")
    for places in ([], [0], list(range(info.rows))):
        request = CellRead.of(
            device=[info.devices_per_cell - 1] * len(places),
            rows=places,
            cols=[info.cols - 1] * len(places),
            averages=3,
        )
        result = core.read(request)
        assert_codes(result.codes, result.saturated, info.read, (len(places),))


@pytest.mark.pulses(at_most=32)
def test_programming_reports_what_was_applied(chip: Chip, make_pulses: PulseMaker) -> None:
    core = chip.cores[0]
    for limits in core.info.pulses:
        pulse = make_pulses(core.info, limits.family)
        before = core.status()
        result = core.program(pulse)
        after = core.status()
        assert result.outcome is Outcome.DONE
        assert result.pulses == pulse.total == after.pulses - before.pulses
        assert result.at_s == after.last_pulse_at_s
        assert after.generation == before.generation + 1


def test_an_empty_pulse_list_does_nothing(chip: Chip) -> None:
    core = chip.cores[0]
    pulse = one_pulse(core.info)
    empty = pulse.part(slice(0))
    before = counters(core)
    assert core.program(empty).pulses == 0
    assert counters(core) == before


def test_status_counts_what_was_done(chip: Chip) -> None:
    core, other = chip.cores[0], chip.cores[-1]
    before, other_before = core.status(), other.status()
    core.mvm(MvmRequest(input_codes=inputs(core.info, 5)))
    after, other_after = core.status(), other.status()
    assert after.mvms == before.mvms + 5
    if other is not core:
        assert (other_after.mvms, other_after.pulses) == (other_before.mvms, other_before.pulses)


def test_settings_hold_what_was_set_and_keep_the_rest(chip: Chip) -> None:
    core = chip.cores[0]
    info = core.info
    highest = len(info.output_ranges_siemens) - 1
    core.configure(CoreSettings(output_range=highest))
    assert core.settings().output_range == highest
    for name, scale in (("gain_trim", info.gain_trim), ("offset_trim", info.offset_trim)):
        if scale is None:
            assert getattr(core.settings(), name) is None
            continue
        trim = np.linspace(scale.min_code, scale.max_code, info.cols).astype(np.int16)
        only: dict[str, Any] = {name: trim}
        core.configure(CoreSettings(**only))
        held = getattr(core.settings(), name)
        assert held.dtype == scale.dtype
        assert np.array_equal(held, trim)
        assert core.settings().output_range == highest
    if Capability.TEMPERATURE_CONTROL in info.capabilities:
        core.configure(CoreSettings(temperature_kelvin=312.25))
        assert core.settings().temperature_kelvin == 312.25
        assert core.settings().output_range == highest


@pytest.mark.pulses(at_most=1)
def test_a_request_is_never_written_to(chip: Chip) -> None:
    core = chip.cores[0]
    codes = inputs(core.info, 3)
    pulse = one_pulse(core.info)
    kept, kept_amplitude = codes.copy(), pulse.amplitude.copy()
    codes.flags.writeable = False
    result = core.mvm(MvmRequest(input_codes=codes))
    result.output_codes[:] = 0
    core.program(pulse)
    assert np.array_equal(codes, kept)
    assert np.array_equal(pulse.amplitude, kept_amplitude)
