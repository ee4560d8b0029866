"""What every core answers: what it is, and results of stated dtype, shape and range."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from hil import (
    CellRead,
    Chip,
    Core,
    CoreInfo,
    CoreSettings,
    Direction,
    MvmMode,
    MvmRequest,
    Outcome,
    Pulse,
    PulseFamily,
    Window,
    open_chip,
)
from hil.info import Capability
from hil.units import CodeScale

RNG_SEED = 11


def inputs(info: CoreInfo, batch: int, lines: int | None = None) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(RNG_SEED)
    size = (batch, info.rows if lines is None else lines)
    return rng.integers(info.input.min_code, info.input.max_code + 1, size).astype(np.int16)


def some_pulses(info: CoreInfo, family: PulseFamily = PulseFamily.RESET) -> Pulse:
    rng = np.random.default_rng(RNG_SEED)
    limits = info.limits(family)
    assert limits is not None
    shape = (info.devices_per_cell, info.rows, info.cols)
    chosen = rng.choice(np.prod(shape), min(200, info.max_pulses), replace=False)
    device, rows, cols = np.unravel_index(chosen, shape)
    scale = limits.amplitude
    amplitude = rng.integers(scale.min_code, scale.max_code + 1, chosen.size)
    return Pulse.of(
        family,
        device=device,
        rows=rows,
        cols=cols,
        amplitude=amplitude,
        width=limits.width.min_code,
    )


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


def exercise(core: Core) -> None:
    info = core.info
    core.program(some_pulses(info))
    core.mvm(MvmRequest(input_codes=inputs(info, 2)))
    core.configure(CoreSettings(output_range=len(info.output_ranges_siemens) - 1))
    core.wait(1.0)
    core.safe_state()


def test_info_never_changes(chip: Chip) -> None:
    before = [core.info.model_dump_json() for core in chip.cores]
    for core in chip.cores:
        exercise(core)
    assert [core.info.model_dump_json() for core in chip.cores] == before


def test_cores_are_numbered_in_order_and_carry_the_chips_serial(chip: Chip) -> None:
    assert [core.info for core in chip.cores] == list(chip.info.cores)
    for index, core in enumerate(chip.cores):
        assert core.info.core == index
        assert core.info.chip_serial == chip.serial
        assert core.info.backend is chip.backend


def test_a_chip_shows_the_address_it_was_opened_by(address: str) -> None:
    with open_chip(address) as chip:
        assert chip.address == address


@pytest.mark.parametrize("batch", [0, 1, 7])
def test_mvm_results_have_the_stated_dtype_shape_and_range(chip: Chip, batch: int) -> None:
    for core in chip.cores:
        core.program(some_pulses(core.info))
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
    core.program(some_pulses(info))
    for places in ([], [0], list(range(info.rows))):
        request = CellRead.of(
            device=[info.devices_per_cell - 1] * len(places),
            rows=places,
            cols=[info.cols - 1] * len(places),
            averages=3,
        )
        result = core.read(request)
        assert_codes(result.codes, result.saturated, info.read, (len(places),))


def test_programming_reports_what_was_applied(chip: Chip) -> None:
    core = chip.cores[0]
    for limits in core.info.pulses:
        pulse = some_pulses(core.info, limits.family)
        before = core.status()
        result = core.program(pulse)
        after = core.status()
        assert result.outcome is Outcome.DONE
        assert result.pulses == pulse.total == after.pulses - before.pulses
        assert result.at_s == after.last_pulse_at_s
        assert after.generation == before.generation + 1


def test_an_empty_pulse_list_does_nothing(chip: Chip) -> None:
    core = chip.cores[0]
    pulse = some_pulses(core.info)
    names = [f.name for f in fields(pulse) if f.name != "family"]
    empty = replace(pulse, **{name: getattr(pulse, name)[:0] for name in names})
    before = core.status()
    assert core.program(empty).pulses == 0
    assert replace(core.status(), now_s=before.now_s) == before


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
        core.configure(CoreSettings(**{name: trim}))
        held = getattr(core.settings(), name)
        assert held.dtype == scale.dtype
        assert np.array_equal(held, trim)
        assert core.settings().output_range == highest
    if Capability.TEMPERATURE_CONTROL in info.capabilities:
        core.configure(CoreSettings(temperature_kelvin=312.25))
        assert core.settings().temperature_kelvin == 312.25
        assert core.settings().output_range == highest


def test_a_request_is_never_written_to(chip: Chip) -> None:
    core = chip.cores[0]
    codes = inputs(core.info, 3)
    pulse = some_pulses(core.info)
    kept, kept_amplitude = codes.copy(), pulse.amplitude.copy()
    codes.flags.writeable = False
    result = core.mvm(MvmRequest(input_codes=codes))
    result.output_codes[:] = 0
    core.program(pulse)
    assert np.array_equal(codes, kept)
    assert np.array_equal(pulse.amplitude, kept_amplitude)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, ">i2"])
def test_any_integer_array_of_the_same_values_gives_the_same_codes(
    quiet_chip: Chip, dtype: Any
) -> None:
    core = quiet_chip.cores[0]
    core.program(some_pulses(core.info))
    codes = inputs(core.info, 4)
    plain = core.mvm(MvmRequest(input_codes=codes)).output_codes
    strided = np.asfortranarray(np.repeat(codes.astype(dtype), 2, axis=1))[:, ::2]
    assert np.array_equal(core.mvm(MvmRequest(input_codes=strided)).output_codes, plain)


def test_one_batch_equals_its_halves(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    core.program(some_pulses(core.info))
    codes = inputs(core.info, 9)
    whole = core.mvm(MvmRequest(input_codes=codes))
    parts = [core.mvm(MvmRequest(input_codes=part)) for part in (codes[:4], codes[4:4], codes[4:])]
    assert np.array_equal(np.concatenate([p.output_codes for p in parts]), whole.output_codes)
    assert np.array_equal(np.concatenate([p.saturated for p in parts]), whole.saturated)


def test_a_window_equals_the_whole_with_its_other_inputs_at_zero(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    info = core.info
    core.program(some_pulses(info))
    window = Window(row=5, col=4, rows=10, cols=9)
    codes = inputs(info, 6, window.rows)
    padded = np.zeros((6, info.rows), np.int16)
    padded[:, 5:15] = codes
    part = core.mvm(MvmRequest(input_codes=codes, window=window)).output_codes
    whole = core.mvm(MvmRequest(input_codes=padded)).output_codes
    assert np.array_equal(part, whole[:, 4:13])


@pytest.mark.parametrize("seed", [0, 1])
def test_loopback_gives_the_codes_of_the_chip_behind_it(inner_address: str, seed: int) -> None:
    """Programming, reads, MVMs, settings and times: equal to the bit, noise included."""
    seen = []
    for address in (inner_address, f"loopback:{inner_address}"):
        with open_chip(address) as chip:
            seen.append(_transcript(chip, np.random.default_rng(seed)))
    direct, through_frames = seen
    assert len(direct) == len(through_frames)
    for a, b in zip(direct, through_frames, strict=True):
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        else:
            assert a == b


def test_same_seed_same_codes(inner_address: str) -> None:
    seen = []
    for _ in range(2):
        with open_chip(inner_address) as chip:
            seen.append(_transcript(chip, np.random.default_rng(3)))
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


def _transcript(chip: Chip, rng: np.random.Generator) -> list[Any]:
    """Run a random sequence of verbs on random cores; return every value they gave."""
    seen: list[Any] = [core.info for core in chip.cores]
    for _ in range(25):
        core = chip.cores[rng.integers(len(chip.cores))]
        info = core.info
        match rng.integers(6):
            case 0:
                family = info.pulses[rng.integers(len(info.pulses))].family
                done = core.program(some_pulses(info, family))
                seen += [done.outcome, done.pulses, done.at_s]
            case 1:
                place = rng.integers(0, (info.devices_per_cell, info.rows, info.cols), (9, 3))
                request = CellRead.of(
                    device=place[:, 0], rows=place[:, 1], cols=place[:, 2], averages=2
                )
                cells = core.read(request)
                seen += [cells.codes, cells.saturated, cells.temperature_kelvin, cells.at_s]
            case 2:
                seen.append(core.wait(float(rng.exponential(1e4))))
            case 3:
                which = int(rng.integers(len(info.output_ranges_siemens)))
                core.configure(CoreSettings(output_range=which))
                held = core.settings()
                seen += [getattr(held, f.name) for f in fields(held)]
            case _:
                batch = int(rng.integers(0, 6))
                codes = rng.integers(-100, 101, (batch, info.rows)).astype(np.int16)
                out = core.mvm(MvmRequest(input_codes=codes))
                seen += [out.output_codes, out.saturated, out.temperature_kelvin, out.at_s]
        seen += [core.status(), core.now_s()]
    return seen
