"""SPEC.md says what the code does: every opcode, field, status, state and number."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from protocols import wire
from protocols.wire import link_host, objects, seeded
from protocols.wire.framing import (
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    Flags,
    Frame,
    FrameDecoder,
    Kind,
)
from protocols.wire.link_states import DEVICE_TABLE, HOST_TABLE, HostState, Step
from protocols.wire.messages import (
    EVENTS,
    MUTATING,
    REPLIES,
    REQUESTS,
    WaitRequest,
    decode_body,
)
from protocols.wire.vocabulary import Distribution, Effect, ErrorClass, Fate, Status

SPEC = (Path(wire.__path__[0]) / "SPEC.md").read_text(encoding="utf-8")
BINARY = SPEC.partition("## 14. Control plane")[0]
MESSAGES, _, EVENT_PART = BINARY.partition("\nEvents:\n")


def opcode_rows(part: str) -> dict[int, str]:
    return {int(r[2:6], 16): r for r in part.splitlines() if re.match(r"\| 0x[0-9A-F]{2} \|", r)}


ROWS, EVENT_ROWS = opcode_rows(MESSAGES), opcode_rows(EVENT_PART)


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_opcode_has_a_row_and_no_other_has():
    assert set(ROWS) == {*REQUESTS, *REPLIES}
    assert set(EVENT_ROWS) == set(EVENTS)


@pytest.mark.parametrize("opcode", REPLIES)
def test_a_row_names_the_fields_in_the_order_of_the_wire(opcode):
    cells = ROWS[opcode].split(" | ")
    for kind, cell in ((REQUESTS.get(opcode), cells[2]), (REPLIES[opcode], cells[3])):
        if kind is not None:
            assert named(cell) == [f.name for f in fields(kind)]


@pytest.mark.parametrize("opcode", EVENTS)
def test_a_row_names_the_fields_of_an_event(opcode):
    assert named(EVENT_ROWS[opcode].split(" | ")[2]) == [f.name for f in fields(EVENTS[opcode])]


@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained(status):
    assert f"| {status.value} | {status.name} |" in BINARY


def test_every_error_class_effect_fate_and_distribution_is_explained():
    assert all(f"{c.value} {c.name}" in BINARY for c in ErrorClass)
    assert all(f"{e.value} {e.name.lower()}" in BINARY for e in Effect)
    assert all(f"{f.value} {f.name.lower()}" in BINARY for f in Fate)
    assert all(f"| {d.value} | {d.name} |" in BINARY for d in Distribution)


def test_kinds_and_flags_are_explained():
    assert all(f"{k.value} {k.name}" in BINARY for k in Kind)
    known = {k: v for k, v in vars(Flags).items() if k.isupper() and v}
    assert all(f"{value} {name}" in BINARY for name, value in known.items())
    names = {REQUESTS[opcode].__name__ for opcode in MUTATING}
    assert names == {"ProgramRequest", "ProgramMapRequest", "ConfigureRequest"}


def test_the_state_tables_are_those_of_the_code():
    steps = (Step.HELLO, Step.BEGIN, Step.FORGET)
    for state in HostState:
        after = [HOST_TABLE.get((state, step)) for step in steps]
        cells = " | ".join("-" if s is None else s.name for s in after)
        assert f"| {state.name} | {cells} |" in BINARY
    for state in {s for s, _ in DEVICE_TABLE}:
        after = [DEVICE_TABLE[state, step].name for step in (Step.BEGIN, Step.END)]
        assert f"| {state.name} | {' | '.join(after)} |" in BINARY


def test_sizes_are_those_of_the_code():
    sizes = (MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, objects.PIECE_BYTES, objects._INDICES_PER_WANT)
    assert all(re.search(rf"\b{size}\b", BINARY) for size in sizes)
    assert objects.MAX_OBJECT_BYTES == 1 << 28
    assert f"at most {link_host.MAX_WINDOW} requests open" in BINARY
    assert seeded._NORMAL_MEAN == 393_210


def test_the_worked_example_is_a_frame():
    (line,) = re.findall(r"^line +([0-9a-f ]+)$", BINARY, re.MULTILINE)
    (frame,) = FrameDecoder().feed(bytes.fromhex(line))
    assert isinstance(frame, Frame)
    assert (frame.epoch, frame.core, frame.sequence, frame.credit) == (7, 0, 12, 11)
    assert decode_body(REQUESTS, frame.opcode, frame.payload) == WaitRequest(seconds=86_400.0)
