"""The pytest plug-in's door: the options of the conformance suite. Loads nothing of it unasked.

With `--board ADDRESS` and no other target, pytest runs the suite of `hil.conformance` on the chip
at that address, in any folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["SUITE"]

SUITE = Path(__file__).parent / "hil" / "conformance"
"""Folder of the suite."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they hold for the suite only."""
    group = parser.getgroup("hil", "conformance of chips for analog in-memory computing")
    group.addoption(
        "--board",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="run the conformance suite on the chip at ADDRESS (may be given again)",
    )
    group.addoption(
        "--allow-pulses",
        action="store_true",
        help="let the suite send its few announced pulses to silicon, in the last cells of core 0",
    )
    group.addoption(
        "--record",
        metavar="DIR",
        help="record every chip that the suite opens into DIR, to be run again as "
        "--board replay:DIR",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Announce the markers; choose the suite where nothing else was chosen."""
    config.addinivalue_line(
        "markers", "pulses(at_most): sends pulses, on silicon at most so many in all"
    )
    config.addinivalue_line(
        "markers", "whole_array: sends pulses to every device; never run on silicon"
    )
    boards = config.getoption("board")
    if config.getoption("record") and len(boards) != 1:
        raise pytest.UsageError("--record DIR takes the chip of exactly one --board ADDRESS")
    if boards and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(SUITE)]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what the suite may do to a chip."""
    boards = config.getoption("board")
    if not boards:
        return []
    allowed = "allowed" if config.getoption("allow_pulses") else "off (--allow-pulses)"
    return [f"boards: {', '.join(boards)}; pulses on silicon: {allowed}"]
