"""The chapter on the control plane says what the code does: every header, number and bound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drivers import instrument, instrument_system
from protocols import wire
from protocols.wire import scpi, scpi_errors, scpi_status, scpi_stream

CHAPTER = (
    (Path(wire.__path__[0]) / "SPEC.md").read_text(encoding="utf-8").partition(". Control plane")[2]
)
ROWS = re.findall(r"^\| `([^`]+)` \|([^|]*)\|", CHAPTER, re.MULTILINE)


def test_every_header_has_one_row_and_no_other_has():
    assert sorted(header for header, _ in ROWS) == sorted(instrument._TREE.patterns)


@pytest.mark.parametrize(("header", "cell"), ROWS, ids=[header for header, _ in ROWS])
def test_a_query_answers_and_a_command_does_not(header, cell):
    assert ("->" in cell) == header.endswith("?")


def test_every_error_has_its_text():
    words = " ".join(CHAPTER.split())
    told = [f"{number} {text}" for number, text in scpi_errors.STANDARD_TEXTS.items()]
    assert [error for error in told if error not in words] == []


@pytest.mark.parametrize(
    "number",
    [
        scpi_stream.MAX_MESSAGE_BYTES,
        instrument.MAX_RESPONSE_BYTES,
        instrument_system.MAX_FRAMES_BYTES,
        scpi.MAX_COMMANDS,
        scpi.MAX_PARAMETERS,
        scpi_status.QUEUE_LENGTH,
        scpi_errors.MAX_ERROR_TEXT,
    ],
)
def test_a_bound_is_that_of_the_code(number):
    assert re.search(rf"\b{number}\b", CHAPTER)
