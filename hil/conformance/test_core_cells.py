"""What every core owes to its cells and converters; on chips without noise and drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hil import CellRead, Chip, Core, CoreInfo, CoreSettings, MvmRequest, Pulse, PulseFamily
from hil.conformance.requests import array_places
from hil.info import Capability, PulseLimits

WIRE_CODES = 2
"""What a neighbour in the same col may shift an output by way of the wire, codes."""

Codes = np.ndarray[Any, Any]
Places = tuple[Codes, Codes, Codes]
"""Device, row, col of each device, (n,) each."""


def limits_of(core: Core, family: PulseFamily) -> PulseLimits:
    limits = core.info.limits(family)
    if limits is None:
        pytest.skip(f"this core has no {family.value} pulses")
    return limits


def reset(core: Core, places: Places, share: float) -> None:
    """RESET devices with `share` of the way along the nominal amplitudes."""
    nominal = core.info.device.reset_amplitude_codes
    limits = limits_of(core, PulseFamily.RESET)
    amplitude = nominal[round(share * (len(nominal) - 1))]
    _program(core, limits, places, amplitude, limits.width.min_code)


def set_fully(core: Core, places: Places) -> None:
    limits = limits_of(core, PulseFamily.SET)
    width = limits.full_width_code or limits.width.max_code
    _program(core, limits, places, limits.amplitude.max_code, width)


def _program(core: Core, limits: PulseLimits, places: Places, amplitude: int, width: int) -> None:
    device, rows, cols = places
    most = core.info.max_pulses
    for begin in range(0, device.size, most):
        part = slice(begin, begin + most)
        core.program(
            Pulse.of(
                limits.family,
                device=device[part],
                rows=rows[part],
                cols=cols[part],
                amplitude=amplitude,
                width=width,
            )
        )


def read_all(core: Core) -> Codes:
    info = core.info
    if Capability.CELL_READ not in info.capabilities:
        pytest.skip("this core reads no single cells")
    device, rows, cols = array_places(info)
    codes = core.read(CellRead.of(device=device, rows=rows, cols=cols)).codes
    return codes.reshape(info.devices_per_cell, info.rows, info.cols)


def product(core: Core, input_codes: Codes) -> Codes:
    most = core.info.max_batch
    parts = [
        core.mvm(MvmRequest(input_codes=input_codes[begin : begin + most])).output_codes
        for begin in range(0, len(input_codes), most)
    ]
    return np.concatenate(parts)


def unit_inputs(info: CoreInfo) -> Codes:
    return info.input.max_code * np.eye(info.rows, dtype=np.int16)


@pytest.mark.whole_array
def test_zero_input_gives_the_offset_alone(quiet_chip: Chip) -> None:
    for core in quiet_chip.cores:
        zeros = np.zeros((3, core.info.rows), np.int16)
        blank = product(core, zeros)
        set_fully(core, array_places(core.info))
        few = np.arange(min(5, core.info.rows, core.info.cols))
        reset(core, (0 * few, few, few), 0.7)
        assert np.array_equal(product(core, zeros), blank)
        assert (blank == blank[0]).all()


@pytest.mark.whole_array
def test_the_offset_trim_moves_the_offset_by_its_step(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    scale = core.info.offset_trim
    if scale is None:
        pytest.skip("this core has no offset trim")
    zeros, offsets = np.zeros((1, core.info.rows), np.int16), []
    for trim in (scale.min_code, scale.max_code):
        core.configure(CoreSettings(offset_trim=np.full(core.info.cols, trim, np.int16)))
        offsets.append(product(core, zeros)[0].astype(float))
    moved = scale.step * (scale.max_code - scale.min_code)
    # a converter that drops what it has not counted whole loses up to a code on either side of zero
    lost = np.where(offsets[0] * offsets[1] > 0, 1.0, 2.0)
    assert (np.abs(offsets[1] - offsets[0] - moved) <= lost).all()


@pytest.mark.whole_array
def test_the_gain_trim_scales_the_signal_by_its_step(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    scale = core.info.gain_trim
    if scale is None:
        pytest.skip("this core has no gain trim")
    info = core.info
    device, rows, cols = array_places(info)
    keep = device == 0
    reset(core, (device[~keep], rows[~keep], cols[~keep]), 1.0)
    reset(core, (device[keep], rows[keep], cols[keep]), 0.3)
    x = _drive_for(core)
    signals = []
    for trim in (0, scale.max_code):
        core.configure(CoreSettings(gain_trim=np.full(info.cols, trim, np.int16)))
        signals.append((product(core, x) - product(core, 0 * x))[0].astype(float))
    wanted = signals[0] * (1.0 + scale.step * scale.max_code)
    assert np.abs(signals[1] - wanted).max() <= 2.0 + scale.step * scale.max_code
    assert (signals[0] > 10).all()


def _drive_for(core: Core) -> Codes:
    """Configure a range, and return inputs that leave a third of the converter to spare in it."""
    info = core.info
    for driven in (info.rows >> k for k in range(info.rows.bit_length())):
        x = np.zeros((1, info.rows), np.int16)
        x[0, :driven] = info.input.max_code
        for index in range(len(info.output_ranges_siemens)):
            core.configure(CoreSettings(output_range=index))
            if np.abs(product(core, x)).max() * 3 < 2 * info.output_codes.max_code:
                return x
    raise AssertionError("a single row overdrives the widest range")


@pytest.mark.whole_array
def test_saturation_is_flagged_and_never_wraps(quiet_chip: Chip) -> None:
    """Outputs rise with the input all the way, stay at the limit, and say so there."""
    core = quiet_chip.cores[0]
    info = core.info
    half = info.devices_per_polarity
    device, rows, cols = array_places(info)
    set_fully(core, array_places(info))
    other = (device < half) == (cols % 2 == 1)  # even cols positive, odd cols negative
    reset(core, (device[other], rows[other], cols[other]), 1.0)
    core.configure(CoreSettings(output_range=0))
    ends = (info.input.min_code, info.input.max_code)
    steps = np.unique(np.linspace(*ends, min(255, info.max_batch)).astype(np.int64))
    steps = np.unique(np.append(steps, 0)[-info.max_batch :])
    x = np.repeat(steps[:, None], info.rows, axis=1).astype(np.int16)
    result = core.mvm(MvmRequest(input_codes=x))
    signed = result.output_codes.astype(np.int64) * np.where(np.arange(info.cols) % 2, -1, 1)
    assert (np.diff(signed, axis=0) >= 0).all()
    limit = info.output_codes
    clipped = (result.output_codes == limit.max_code) | (result.output_codes == limit.min_code)
    assert not (result.saturated & ~clipped).any()
    flat = clipped[1:] & clipped[:-1] & (np.diff(signed, axis=0) == 0)
    assert result.saturated[:-1][flat & (steps[:-1, None] < 0)].all()
    assert result.saturated[1:][flat & (steps[1:, None] > 0)].all()
    reachable = info.rows * info.device.g_max_siemens > 2 * info.output_ranges_siemens[0]
    assert result.saturated[-1].all() == reachable
    assert not result.saturated[steps == 0].any()


@pytest.mark.whole_array
@pytest.mark.parametrize("device", [0, -1])
def test_a_pulse_moves_the_addressed_cells_and_no_other(quiet_chip: Chip, device: int) -> None:
    core, bystander = quiet_chip.cores[0], quiet_chip.cores[-1]
    info = core.info
    everywhere = array_places(info)
    for each in {core, bystander}:
        set_fully(each, everywhere)
        reset(each, everywhere, 0.4)
    rng = np.random.default_rng(5)
    count = min(40, info.rows * info.cols // 4)
    cells = rng.choice(info.rows * info.cols, count, replace=False)
    rows, cols = np.unravel_index(cells, (info.rows, info.cols))
    index = device % info.devices_per_cell
    before, outputs = read_all(core), product(core, unit_inputs(info))
    aside = product(bystander, unit_inputs(info))
    reset(core, (np.full(count, index), rows, cols), 1.0)
    after = read_all(core)
    moved = np.zeros(before.shape, bool)
    moved[index, rows, cols] = True
    assert np.array_equal(after[~moved], before[~moved])
    assert np.mean(after[moved] < before[moved]) > 0.9  # a stuck or dead device may stay
    touched = moved.any(axis=0)
    apart = np.abs(product(core, unit_inputs(info)).astype(int) - outputs)
    assert not apart[:, ~touched.any(axis=0)].any()
    assert (apart[~touched] <= WIRE_CODES).all()
    assert np.mean(apart[touched] > 0) > 0.5
    if bystander is not core:
        assert np.array_equal(product(bystander, unit_inputs(info)), aside)


@pytest.mark.whole_array
def test_both_polarities_pull_in_opposite_directions(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    info = core.info
    half = info.devices_per_polarity
    device, rows, cols = array_places(info)
    set_fully(core, (device, rows, cols))
    x = np.full((1, info.rows), info.input.max_code, np.int16)
    core.configure(CoreSettings(output_range=len(info.output_ranges_siemens) - 1))
    both = product(core, x)[0].astype(int)
    minus = device >= half
    reset(core, (device[minus], rows[minus], cols[minus]), 1.0)
    plus_only = product(core, x)[0].astype(int)
    plus = ~minus
    reset(core, (device[plus], rows[plus], cols[plus]), 1.0)
    set_fully(core, (device[minus], rows[minus], cols[minus]))
    minus_only = product(core, x)[0].astype(int)
    assert (plus_only > both).all()
    assert (minus_only < both).all()


@pytest.mark.whole_array
def test_reads_multiplications_and_idling_move_no_cell(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    set_fully(core, array_places(core.info))
    reset(core, array_places(core.info), 0.5)
    before, generation = read_all(core), core.status().generation
    product(core, unit_inputs(core.info))
    core.safe_state()
    core.configure(CoreSettings(output_range=0))
    assert np.array_equal(read_all(core), before)
    assert core.status().generation == generation
