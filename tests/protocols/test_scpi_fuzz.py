"""SCPI fuzzing: random inputs break no law, and broken decoders are caught."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.wire import scpi_fuzz
from protocols.wire.scpi import parse_message
from protocols.wire.scpi_fuzz import check_scpi, fuzz_scpi, scpi_inputs
from protocols.wire.scpi_stream import PlaneDemultiplexer


@pytest.mark.parametrize("seed", range(2))
def test_made_inputs_break_no_law_and_reach_the_parser(seed):
    report = fuzz_scpi(seed=seed, cases=200)
    assert report.cases == 200
    assert report.messages > 100
    assert 0 < report.peak_bytes <= 256
    assert report.fed_bytes > 1000


def test_a_run_repeats_itself_and_ends_when_told_to():
    assert fuzz_scpi(seed=9, cases=20) == fuzz_scpi(seed=9, cases=20)
    answers = iter([False, False, True])
    assert fuzz_scpi(seed=1, until=lambda: next(answers)).cases == 3


@given(st.binary(max_size=100))
def test_any_input_breaks_no_law(data):
    check_scpi(data)


def test_the_same_seed_makes_the_same_inputs():
    assert list(islice(scpi_inputs(7), 50)) == list(islice(scpi_inputs(7), 50))


def test_a_parser_with_another_exception_is_caught(monkeypatch):
    def broken(text: bytes):
        if b"#" in text:
            raise IndexError
        return parse_message(text)

    monkeypatch.setattr(scpi_fuzz, "parse_message", broken)
    with pytest.raises(IndexError):
        check_scpi(b"".join(islice(scpi_inputs(0), 50)).replace(b"\x00", b""))


def test_a_parser_that_loses_a_parameter_is_caught(monkeypatch):
    def broken(text: bytes):
        return parse_message(text.replace(b",1", b""))

    monkeypatch.setattr(scpi_fuzz, "parse_message", broken)
    with pytest.raises(AssertionError, match="came back"):
        check_scpi(b"A 5,'x,1'\n*ESE 5,'y,,11'\n")


class Forgetful(PlaneDemultiplexer):
    """Loses what a call left unfinished."""

    def feed(self, data: bytes) -> None:
        self._splitter.drop()
        super().feed(data)


class Greedy(PlaneDemultiplexer):
    """Knows no bound."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(100 * max_bytes)


@pytest.mark.parametrize(("planes", "law"), [(Forgetful, "split"), (Greedy, "are kept")])
def test_a_stream_that_breaks_a_law_is_caught(planes, law, monkeypatch):
    monkeypatch.setattr(scpi_fuzz, "PlaneDemultiplexer", planes)
    with pytest.raises(AssertionError, match=law):
        check_scpi(b"*CLS\n" + b"A" * 1000)
