"""SPEC.md says what the code does: every opcode, field, status and number."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from protocols import wire
from protocols.wire import link
from protocols.wire.framing import MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, Frame, FrameDecoder
from protocols.wire.messages import REPLIES, REQUESTS, WaitRequest, decode_body
from protocols.wire.vocabulary import Effect, ErrorClass, Status

SPEC = (Path(wire.__path__[0]) / "SPEC.md").read_text(encoding="utf-8")
ROWS = {int(r[2:6], 16): r for r in SPEC.splitlines() if re.match(r"\| 0x[0-9A-F]{2} \|", r)}


def test_every_opcode_has_a_row_and_no_other_has():
    assert set(ROWS) == {*REQUESTS, *REPLIES}


@pytest.mark.parametrize("opcode", REPLIES)
def test_a_row_names_the_fields_in_the_order_of_the_wire(opcode):
    cells = ROWS[opcode].split(" | ")
    for kind, cell in ((REQUESTS.get(opcode), cells[2]), (REPLIES[opcode], cells[3])):
        if kind is not None:
            assert re.findall(r"`(\w+)`", cell) == [f.name for f in fields(kind)]


@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained(status):
    assert f"| {status.value} | {status.name} |" in SPEC


def test_every_error_class_and_effect_is_explained():
    assert all(f"{c.value} {c.name}" in SPEC for c in ErrorClass)
    assert all(f"{e.value} {e.name.lower()}" in SPEC for e in Effect)


def test_sizes_are_those_of_the_code():
    sizes = (MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, link._PIECE_BYTES)
    assert all(re.search(rf"\b{size}\b", SPEC) for size in sizes)
    assert link.MAX_OBJECT_BYTES == 1 << 28


def test_the_worked_example_is_a_frame():
    (line,) = re.findall(r"^line +([0-9a-f ]+)$", SPEC, re.MULTILINE)
    (frame,) = FrameDecoder().feed(bytes.fromhex(line))
    assert isinstance(frame, Frame)
    assert (frame.epoch, frame.core, frame.sequence) == (7, 0, 12)
    assert decode_body(REQUESTS, frame.opcode, frame.payload) == WaitRequest(seconds=86_400.0)
