"""What every core owes to its codes: equal requests, equal codes, however they are put."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from hil import Chip, MvmRequest, Window
from hil.conformance.board import Board
from hil.conformance.requests import inputs, some_pulses
from hil.conformance.transcript import transcript


@pytest.mark.whole_array
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, ">i2"])
def test_any_integer_array_of_the_same_values_gives_the_same_codes(
    quiet_chip: Chip, dtype: npt.DTypeLike
) -> None:
    core = quiet_chip.cores[0]
    core.program(some_pulses(core.info, few=False))
    codes = inputs(core.info, 4)
    plain = core.mvm(MvmRequest(input_codes=codes)).output_codes
    strided = np.asfortranarray(np.repeat(codes.astype(dtype), 2, axis=1))[:, ::2]
    assert np.array_equal(core.mvm(MvmRequest(input_codes=strided)).output_codes, plain)


@pytest.mark.whole_array
def test_one_batch_equals_its_halves(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    core.program(some_pulses(core.info, few=False))
    codes = inputs(core.info, 9)
    whole = core.mvm(MvmRequest(input_codes=codes))
    parts = [core.mvm(MvmRequest(input_codes=part)) for part in (codes[:4], codes[4:4], codes[4:])]
    assert np.array_equal(np.concatenate([p.output_codes for p in parts]), whole.output_codes)
    assert np.array_equal(np.concatenate([p.saturated for p in parts]), whole.saturated)


@pytest.mark.whole_array
def test_a_window_equals_the_whole_with_its_other_inputs_at_zero(quiet_chip: Chip) -> None:
    core = quiet_chip.cores[0]
    info = core.info
    core.program(some_pulses(info, few=False))
    window = Window(
        row=info.rows // 5,
        col=info.cols // 5,
        rows=(info.rows + 1) // 2,
        cols=(info.cols + 1) // 2,
    )
    codes = inputs(info, 6, window.rows)
    padded = np.zeros((6, info.rows), np.int16)
    padded[:, window.row : window.row + window.rows] = codes
    part = core.mvm(MvmRequest(input_codes=codes, window=window)).output_codes
    whole = core.mvm(MvmRequest(input_codes=padded)).output_codes
    assert np.array_equal(part, whole[:, window.col : window.col + window.cols])


@pytest.mark.whole_array
def test_the_same_seed_gives_the_same_codes(board: Board, open_board: Callable[[], Chip]) -> None:
    if not board.facts.fresh:
        pytest.skip("cells outlast an opening here: the second would not begin as the first")
    seen = []
    for _ in range(2):
        with open_board() as chip:
            seen.append(transcript(chip, np.random.default_rng(3)))
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
