"""Fault plans: shares as asked, the same in any split, one bit a flip; wrong plans refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.fault_plan import LONGEST_FRAME_BYTES, FaultPlan, FaultyLine
from drivers.fault_plan_transport import FaultyTransport
from drivers.transport import MemoryTransport
from hil.errors import RequestError

FRAMES = [bytes([1, 1 + k % 255, 1 + k // 255, 7]) + b"\x00" for k in range(4000)]
PLAN = FaultPlan(loss=0.05, flip=0.1, duplicate=0.05, delay=0.1, delay_s=0.2, split=0.2, seed=3)


def passed(line, data):
    return b"".join(piece.data for piece in line.feed(data))


def test_a_plan_without_faults_passes_bytes_as_they_are():
    line = FaultyLine(plan=FaultPlan(seed=4))
    assert [p.data for p in line.feed(b"no delimiter")] == [b"no delimiter"]
    assert line.feed(b"") == []


@given(st.lists(st.integers(1, 700), max_size=30), st.integers(0, 5))
def test_the_same_bytes_meet_the_same_faults_in_any_split(sizes, seed):
    data = b"".join(FRAMES[:150])
    plan = PLAN.model_copy(update={"seed": seed})
    whole, parts = FaultyLine(plan=plan), FaultyLine(plan=plan)
    expected = whole.feed(data)
    got, at = [], 0
    for size in [*sizes, len(data)]:
        got += parts.feed(data[at : at + size])
        at += size
    assert got == expected
    assert parts.counts == whole.counts


@pytest.mark.parametrize("name", ["loss", "flip", "duplicate", "delay", "split"])
def test_each_share_is_what_was_asked(name):
    share = 0.1
    line = FaultyLine(plan=FaultPlan(**{name: share}, seed=11))
    line.feed(b"".join(FRAMES))
    words = {"loss": "lost", "flip": "flipped", "duplicate": "duplicated", "delay": "delayed"}
    counts = vars(line.counts)
    sigma = np.sqrt(share * (1 - share) * len(FRAMES))
    assert abs(counts.pop(words.get(name, name)) - share * len(FRAMES)) < 4 * sigma
    assert counts.pop("frames") == len(FRAMES)
    assert not any(counts.values())


def test_what_arrives_is_what_the_counts_say():
    lost = FaultyLine(plan=FaultPlan(loss=0.3))
    assert passed(lost, b"".join(FRAMES)).count(0) == len(FRAMES) - lost.counts.lost
    twice = FaultyLine(plan=FaultPlan(duplicate=0.3))
    assert passed(twice, b"".join(FRAMES)).count(0) == len(FRAMES) + twice.counts.duplicated
    cut = FaultyLine(plan=FaultPlan(split=0.3))
    pieces = cut.feed(b"".join(FRAMES))
    assert b"".join(p.data for p in pieces) == b"".join(FRAMES)
    assert len(pieces) > len(FRAMES)
    held = [p for p in FaultyLine(plan=PLAN).feed(b"".join(FRAMES)) if p.hold_s]
    assert {p.hold_s for p in held} == {0.2}


def test_a_flip_turns_one_bit_and_any_bit():
    line = FaultyLine(plan=FaultPlan(flip=1.0))
    turned = set()
    for frame in FRAMES:
        bits = int.from_bytes(passed(line, frame), "big") ^ int.from_bytes(frame, "big")
        assert bits.bit_count() == 1
        turned.add(bits.bit_length())
    assert turned == set(range(1, 41))


def test_directions_and_streams_have_draws_of_their_own():
    data = b"".join(FRAMES)
    places = [(0, 0), (0, 1), (1, 0)]
    lines = [FaultyLine(plan=PLAN, stream=s, direction=d) for s, d in places]
    assert len({passed(line, data) for line in lines}) == 3


def test_lines_of_text_need_no_zero_and_endless_bytes_are_not_kept():
    line = FaultyLine(plan=FaultPlan(split=0.001))
    assert passed(line, b"*IDN?\n\n*RST\n") == b"*IDN?\n\n*RST\n"
    assert passed(line, bytes([200]) * (LONGEST_FRAME_BYTES - 1)) == b""
    assert len(passed(line, bytes([200]))) == LONGEST_FRAME_BYTES
    assert passed(line, b"\x01\n") == b""


def test_a_plan_is_read_from_words_and_from_a_file(tmp_path):
    words = "loss=0.05, flip=0.1,duplicate=0.05,delay=0.1,delay_s=0.2,split=0.2,seed=3"
    assert FaultPlan.parse(words) == PLAN
    file = tmp_path / "plan.toml"
    file.write_text("\n".join(words.split(",")))
    assert FaultPlan.parse(str(file)) == PLAN
    assert FaultPlan.parse("boot_text=1").boot_text
    assert FaultPlan.parse("") == FaultPlan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed=1", "unknown key 'speed'; known: loss, flip"),
        ("loss=2", "loss='2'"),
        ("loss=nan", "loss='nan'"),
        ("loss", "'loss' is not key=value"),
        ("loss=0.1,loss=0.2", "given twice"),
        ("gone.toml", "gone.toml cannot be read"),
        ("reset_after=-1", "reset_after"),
    ],
)
def test_a_wrong_plan_is_refused(text, words):
    with pytest.raises(RequestError, match=words):
        FaultPlan.parse(text)


def test_a_faulty_transport_strikes_both_directions_and_holds_bytes_back():
    now = [0.0]
    inner = MemoryTransport(lambda data: data)
    plan = FaultPlan(delay=1.0, delay_s=5.0)
    transport = FaultyTransport(inner, plan, clock=lambda: now[0])
    transport.write(b"\x01\x00")
    assert transport.read(10, 0.0) == b""
    now[0] = 5.0
    assert transport.read(10, 5.0) == b""  # arrived there, and is held up on the way back
    now[0] = 10.0
    assert transport.read(1, 10.0) == b"\x01"
    assert transport.read(10, 10.0) == b"\x00"
    assert transport.outward.delayed == transport.inward.delayed == 1


def test_a_faulty_transport_without_faults_changes_nothing():
    transport = FaultyTransport(MemoryTransport(lambda data: data * 2), FaultPlan())
    transport.write(b"ab\x00")
    assert transport.read(10, 0.0) == b"ab\x00ab\x00"
    assert transport.read(10, 0.0) == b""
    transport.close()
