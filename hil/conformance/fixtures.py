"""Fixtures of the suite: the board, the chip, and the count of the pulses each test sends.

A `conftest.py` imports them by name and calls `parametrize_boards` with the addresses to run on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from hil.conformance.board import Board, board_at
from hil.conformance.requests import PulseMaker, some_pulses
from hil.core import Chip, ProgramResult, Pulse, VerbEvent

__all__ = [
    "PULSES_PROPERTY",
    "board",
    "board_address",
    "board_name",
    "chip",
    "make_pulses",
    "open_board",
    "parametrize_boards",
    "quiet_chip",
]

PULSES_PROPERTY = "pulses"
"""Name of the property of a test's report that counts the pulses it sent."""


def parametrize_boards(metafunc: pytest.Metafunc, names: Sequence[str]) -> None:
    """Run a test once per board; a test that asks for none is left alone."""
    if "board_name" in metafunc.fixturenames:
        metafunc.parametrize(
            "board_name", list(names), ids=list(names), scope="session", indirect=True
        )


@pytest.fixture(scope="session")
def board_name(request: pytest.FixtureRequest) -> str:
    """What the board is called: its address, unless `board_address` says otherwise."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def board_address(board_name: str) -> str:
    """Address of the board; override this to start what answers there."""
    return board_name


@pytest.fixture(scope="session")
def board(board_address: str, request: pytest.FixtureRequest) -> Board:
    """The board under test, looked at once."""
    record = request.config.getoption("record", None)
    return board_at(board_address, record=None if record is None else Path(record))


@pytest.fixture
def open_board(
    board: Board, board_name: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[], Chip]]:
    """Opens the board for this test, as often as it is called; counts the pulses."""
    node = request.node
    announced = _announced(node, board, request.config.getoption("allow_pulses", False))
    name = node.name.replace(board_name, "")
    opened, sent = 0, 0

    def count(event: VerbEvent) -> None:
        nonlocal sent
        if isinstance(event.result, ProgramResult):
            sent += event.result.pulses
        elif isinstance(event.request, Pulse):
            sent += event.request.total  # it failed: what reached the cells is unknown

    with ExitStack() as stack:

        def open_it() -> Chip:
            nonlocal opened
            opened += 1
            chip = stack.enter_context(board.open(name, opened))
            for core in chip.cores:
                core.observe(count)
            return chip

        yield open_it
    node.user_properties.append((PULSES_PROPERTY, sent))
    if announced is not None and sent > announced:
        pytest.fail(f"the test sent {sent} pulses and had announced {announced}")


@pytest.fixture
def chip(open_board: Callable[[], Chip]) -> Chip:
    """The chip, noise and all."""
    return open_board()


@pytest.fixture
def make_pulses(board: Board) -> PulseMaker:
    """Makes one pulse each to some devices of a core; on silicon few, in the last cells."""
    return partial(some_pulses, few=board.facts.silicon)


@pytest.fixture
def quiet_chip(board: Board, open_board: Callable[[], Chip]) -> Chip:
    """A chip without noise and drift."""
    if not board.facts.quiet:
        pytest.skip("equal requests give unequal codes here: the law needs a chip without noise")
    return open_board()


def _announced(node: pytest.Item, board: Board, allowed: bool) -> int | None:
    """Return how many pulses a test may send, None for any number; skip what would wear silicon."""
    pulses, whole = node.get_closest_marker("pulses"), node.get_closest_marker("whole_array")
    if not board.facts.silicon:
        return None if pulses or whole else 0
    if whole is not None:
        pytest.skip("programs every device, which would wear silicon; run it on a simulated twin")
    if pulses is None:
        return 0
    most: int = pulses.kwargs["at_most"]
    if not allowed:
        pytest.skip(f"sends up to {most} pulses; silicon needs --allow-pulses")
    return most
