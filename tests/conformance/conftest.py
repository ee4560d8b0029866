"""Chips under the conformance suite: simulated, the same through encoded frames, and any board."""

from __future__ import annotations

import pytest

from hil.conformance.fixtures import (
    board,
    board_address,
    board_name,
    chip,
    make_pulses,
    open_board,
    parametrize_boards,
    quiet_chip,
)

__all__ = [
    "board",
    "board_address",
    "board_name",
    "chip",
    "make_pulses",
    "open_board",
    "quiet_chip",
]

QUIET = (
    "sim:ideal?rows=24&cols=20&cores=2&seed=7",
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&noise=off&off=drift+relaxation",
)
"""Chips whose answer depends on the request and the cells alone."""

NOISY = (
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&devices=2",
    "sim:aon?rows=20&cols=24&seed=7&adc_bits=10",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    simulated = (*QUIET, *NOISY)
    if "inner_address" in metafunc.fixturenames:
        metafunc.parametrize("inner_address", simulated)
    boards = metafunc.config.getoption("board", [])
    parametrize_boards(metafunc, [*simulated, *(f"loopback:{a}" for a in simulated), *boards])
