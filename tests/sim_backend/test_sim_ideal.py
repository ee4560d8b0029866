"""The ideal chip: integers in, exact integers out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from hil.backends import open_chip
from hil.core import CellRead, Core, MvmRequest, Pulse, Window
from hil.info import Direction, MvmMode, PulseFamily
from sim_backend.ideal import LEVELS

ROWS, COLS, DEVICES = 30, 22, 2
States = npt.NDArray[np.int64]


@pytest.fixture
def core() -> Iterator[Core]:
    with open_chip(f"sim:ideal?rows={ROWS}&cols={COLS}&devices={DEVICES}") as chip:
        yield chip.cores[0]


def _pulse(core: Core, family: PulseFamily, **codes: npt.ArrayLike) -> None:
    device, rows, cols = (a.ravel() for a in np.indices((2 * DEVICES, ROWS, COLS)))
    core.program(Pulse.of(family, device=device, rows=rows, cols=cols, **codes))


def _program(core: Core, seed: int) -> States:
    states = np.random.default_rng(seed).integers(0, LEVELS + 1, (2 * DEVICES, ROWS, COLS))
    _pulse(core, PulseFamily.RESET, amplitude=LEVELS - states.ravel(), width=1)
    return states


def _net(states: States) -> States:
    return np.asarray(states[:DEVICES].sum(0) - states[DEVICES:].sum(0))


@pytest.mark.parametrize("direction", list(Direction))
def test_products_are_exact_integers(core: Core, direction: Direction) -> None:
    net = _net(_program(core, 1))
    net = net if direction is Direction.FORWARD else net.T
    x = np.random.default_rng(2).integers(-127, 128, (17, net.shape[0]))
    codes = x.astype(core.info.input.dtype)
    result = core.mvm(MvmRequest(input_codes=codes, direction=direction))
    assert np.array_equal(result.output_codes, x @ net)
    assert not result.saturated.any()


def test_a_window_is_a_block_of_the_product(core: Core) -> None:
    net = _net(_program(core, 3))
    x = np.random.default_rng(4).integers(-127, 128, (5, 11))
    window = Window(row=7, col=2, rows=11, cols=13)
    codes = x.astype(core.info.input.dtype)
    result = core.mvm(MvmRequest(input_codes=codes, window=window))
    assert np.array_equal(result.output_codes, x @ net[7:18, 2:15])


def test_the_reference_is_a_full_cell_whatever_is_stored(core: Core) -> None:
    _program(core, 5)
    codes = np.full((1, ROWS), -3, core.info.input.dtype)
    result = core.mvm(MvmRequest(input_codes=codes, mode=MvmMode.REFERENCE))
    assert (result.output_codes == -3 * ROWS * DEVICES * LEVELS).all()


def test_output_scale_turns_codes_into_siemens(core: Core) -> None:
    """One code is one input step times one conductance step."""
    info = core.info
    assert info.output_step_siemens(0) == pytest.approx(info.input.step * info.read.step)


def test_pulses_do_integer_arithmetic(core: Core) -> None:
    device, rows, cols = (a.ravel() for a in np.indices((2 * DEVICES, ROWS, COLS)))
    request = CellRead.of(device=device, rows=rows, cols=cols)
    states = _program(core, 6).ravel()
    assert np.array_equal(core.read(request).codes, states)
    _pulse(core, PulseFamily.SET, amplitude=0, width=1, count=9)
    assert np.array_equal(core.read(request).codes, np.minimum(states + 9, LEVELS))
    limits = core.info.limits(PulseFamily.SET)
    assert limits is not None
    assert limits.full_width_code is not None
    _pulse(core, PulseFamily.SET, amplitude=0, width=limits.full_width_code)
    assert (core.read(request).codes == LEVELS).all()


def test_time_and_repetition_change_nothing(core: Core) -> None:
    _program(core, 7)
    codes = np.full((3, ROWS), 50, core.info.input.dtype)
    first = core.mvm(MvmRequest(input_codes=codes)).output_codes
    core.wait(1e7)
    assert np.array_equal(core.mvm(MvmRequest(input_codes=codes)).output_codes, first)
