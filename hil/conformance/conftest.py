"""Puts the chips named by --board under the suite."""

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test once per board."""
    parametrize_boards(metafunc, metafunc.config.getoption("board", []))
