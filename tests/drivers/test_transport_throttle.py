"""Throttled lines: exact rate over any length, latency, order; the clock is the test's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.throttle import GRAIN_S, Line

blocks = st.lists(
    st.tuples(st.binary(min_size=1, max_size=40), st.floats(0, 2), st.floats(0, 1)), max_size=20
)


@given(blocks, st.floats(10, 1000), st.floats(0, 3))
def test_nothing_is_lost_reordered_or_early(sent, rate, latency_s):
    line = Line(bytes_per_s=rate, latency_s=latency_s)
    now_s, got = 0.0, b""
    free_s = 0.0
    for data, gap_s, hold_s in sent:
        now_s += gap_s
        got += b"".join(line.take(now_s))
        line.put(data, now_s, hold_s=hold_s)
        free_s = max(free_s, now_s + hold_s) + len(data) / rate
    whole = b"".join(data for data, _, _ in sent)
    assert whole.startswith(got)
    assert line.waiting == len(whole) - len(got)
    got += b"".join(line.take(free_s + latency_s - 1e-6))
    assert not sent or len(got) < len(whole)
    got += b"".join(line.take(free_s + latency_s + 1e-6))
    assert got == whole
    assert line.waiting == 0
    assert line.due_s() is None


def test_many_blocks_looked_at_late_keep_the_rate():
    rate, size, count = 300_000.0, 37, 60_000
    line = Line(bytes_per_s=rate)
    late = np.random.default_rng(0).exponential(3e-3, size=50_000)
    now_s, sent, got = 0.0, 0, 0
    looks = iter(late.tolist() * 10)
    while got < size * count:
        while sent < count and line.waiting < 4096:
            line.put(bytes(size), now_s)
            sent += 1
        due_s = line.due_s()
        assert due_s is not None
        now_s = max(now_s, due_s) + next(looks) * 0.1
        got += sum(map(len, line.take(now_s)))
    ideal_s = size * count / rate
    assert ideal_s <= now_s <= ideal_s * 1.001


def test_idle_time_is_not_made_up_for():
    line = Line(bytes_per_s=100.0)
    line.put(bytes(50), 1000.0)
    assert sum(map(len, line.take(1000.25))) == 25


def test_a_long_block_comes_in_parts_and_is_worth_a_look_each_grain():
    line = Line(bytes_per_s=1e5)
    line.put(bytes(10_000), 0.0)
    assert line.due_s() == pytest.approx(GRAIN_S)
    assert sum(map(len, line.take(GRAIN_S))) == pytest.approx(200, abs=1)


def test_without_a_rate_only_the_latency_counts():
    line = Line(latency_s=0.5)
    line.put(b"ab", 1.0)
    line.put(b"c", 1.1)
    assert line.take(1.49) == []
    assert line.due_s() == 1.5
    assert line.take(1.55) == [b"ab"]
    assert line.take(1.7) == [b"c"]


def test_a_cut_line_forgets():
    line = Line(bytes_per_s=10.0)
    line.put(bytes(100), 0.0)
    line.clear()
    assert (line.waiting, line.due_s(), line.take(1e9)) == (0, None, [])
    line.put(b"x", 5.0)
    assert line.take(5.2) == [b"x"]
