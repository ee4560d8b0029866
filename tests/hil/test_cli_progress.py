"""Progress: a step per unit of work, a line with time left where stderr is not a terminal."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from hil import cli_output
from hil.cli_output import Bars, Lines, duration_text, emit


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [0.0]
    monkeypatch.setattr(cli_output.time, "monotonic", lambda: now[0])
    return now


def test_short_work_shows_no_line(clock, capsys):
    with Lines().task("short", 4) as task:
        for _ in range(4):
            clock[0] += 0.4
            task.advance()
    assert capsys.readouterr().err == ""


def test_lines_tell_how_far_and_how_long_still(clock, capsys):
    with Lines().task("long", 10) as task:
        task.say("error 12 %")
        for _ in range(5):
            clock[0] += 2.0
            task.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "long: 1 of 10, 18.0 s left, error 12 %"
    assert lines[1] == "long: 4 of 10, 12.0 s left, error 12 %"
    assert len(lines) == 2


def test_work_of_unknown_length_tells_what_is_done(clock, capsys):
    with Lines().task("open") as task:
        clock[0] += 3.0
        task.advance(7)
    assert capsys.readouterr().err == "open: 7 done in 3.0 s\n"


def test_bars_follow_the_work_and_disappear_with_it():
    bars = RichProgress(console=Console(file=io.StringIO()))
    with Bars(bars).task("work", 4) as task:
        task.advance(3)
        task.say("three")
        (shown,) = bars.tasks
        assert (shown.completed, shown.total, shown.fields["words"]) == (3, 4, "three")
    assert bars.tasks == []


def test_a_bar_disappears_after_an_error_too():
    bars = RichProgress(console=Console(file=io.StringIO()))
    with pytest.raises(ZeroDivisionError), Bars(bars).task("work", 4):
        raise ZeroDivisionError
    assert bars.tasks == []


def test_json_is_one_line_and_refuses_what_json_cannot_say(capsys):
    emit({"text": "a\nb", "number": 0.1})
    assert capsys.readouterr().out == '{"text":"a\\nb","number":0.1}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"number": float("nan")})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4 ms"), (0.5, "0.5 s"), (100, "100.0 s"), (150, "2.5 min"), (200_000, "2.3 days")],
)
def test_durations_are_written_in_a_unit_a_person_would_take(seconds, text):
    assert duration_text(seconds) == text
