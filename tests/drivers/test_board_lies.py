"""Board driver: a board that lies about itself or answers nonsense is not believed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from drivers.board import Board, LeaseTerms, open_board
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import Chip, DeviceFaultError, MvmRequest
from protocols.wire import messages as wire
from protocols.wire.framing import Frame, FrameDecoder, encode_frame
from protocols.wire.vocabulary import ErrorClass

MakeChip = Callable[[], Chip]
Opened = Callable[..., tuple[Any, Chip]]
ADDRESS = "fake:board"
STILL = LeaseTerms(lapse_s=0.0)


def inputs(batch: int = 2) -> MvmRequest:
    return MvmRequest(input_codes=np.full((batch, 6), -300, np.int16))


def answer_with(message: wire.Message) -> Callable[[bytes], bytes]:
    """Replace the message of a reply, its frame's head unchanged."""

    def alter(data: bytes) -> bytes:
        (frame,) = FrameDecoder().feed(data)
        assert isinstance(frame, Frame)
        opcode, payload = wire.opcode_of(message), wire.encode_body(message)
        return encode_frame(frame._replace(opcode=opcode, payload=payload))

    return alter


def codes(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def mvm_reply(**changes: Any) -> wire.MvmReply:
    good = wire.MvmReply(
        batch=2,
        outputs=5,
        bits=32,
        output_codes=codes(*range(10)),
        saturated=b"\x00\x00",
        temperature_kelvin=300.0,
        at_s=1.0,
    )
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (mvm_reply(batch=5, outputs=2), r"5 x 2 outputs, \(2, 5\) were asked for"),
        (mvm_reply(output_codes=codes(1, 2)), "8 bytes are not 10 codes of 32 bits"),
        (mvm_reply(output_codes=codes(*[100_001] * 10)), "output code 100001...100001 outside"),
        (mvm_reply(saturated=b"\x00"), "1 bytes of flags for 10"),
        (wire.NowReply(now_s=1.0), "reply is no MvmReply"),
        (
            wire.ErrorReply(
                error_class=ErrorClass.REQUEST,
                status=wire.Status.REFUSED,
                effect=wire.Effect.NONE,
                text="why",
                fields=b"{not json",
            ),
            "answered an error badly: why",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_the_devices_fault(
    opened: Opened, reply: wire.Message, sentence: str
) -> None:
    line, chip = opened()
    line.alter_reply = answer_with(reply)
    with pytest.raises(DeviceFaultError, match=sentence):
        chip.cores[0].mvm(inputs())
    line.alter_reply = lambda data: data
    assert chip.cores[0].mvm(inputs()).output_codes.shape == (2, 5)


def test_error_fields_that_are_no_object_are_left_out(opened: Opened) -> None:
    line, chip = opened()
    line.alter_reply = answer_with(
        wire.ErrorReply(
            error_class=ErrorClass.DEVICE_FAULT,
            status=wire.Status.FAILED,
            effect=wire.Effect.UNKNOWN,
            text="no",
            fields=b"[1]",
        )
    )
    with pytest.raises(DeviceFaultError, match="no") as caught:
        chip.cores[0].status()
    assert caught.value.fields == {}


def advertised(make_cells: MakeChip, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(make_cells().info.model_dump_json())
    change(document)
    return json.dumps(document).encode()


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "no rows": lambda d: d["cores"][0].update(rows=0),
    "too many rows": lambda d: d["cores"][0].update(rows=10**9),
    "no batch": lambda d: d["cores"][1].update(max_batch=0),
    "no cores": lambda d: d.update(cores=[]),
    "another chip's core": lambda d: d["cores"][1].update(chip_serial="OTHER"),
    "cores out of order": lambda d: d["cores"].reverse(),
    "claims silicon for one core": lambda d: d["cores"][0].update(backend="silicon"),
    "unknown key": lambda d: d["cores"][0].update(colour="red"),
    "unknown capability": lambda d: d["cores"][0].update(capabilities=["fly"]),
    "infinite slot": lambda d: d["cores"][0].update(read_slot_s=math.inf),
    "empty serial": lambda d: (
        [c.update(chip_serial="") for c in d["cores"]] and d.update(serial="")
    ),
    "codes beyond 32 bits": lambda d: d["cores"][0]["input"].update(max_code=2**40),
    "pulse codes beyond 32 bits": lambda d: d["cores"][0]["pulses"][0]["amplitude"].update(
        min_code=-(2**31) - 1
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_chip_that_advertises_nonsense_is_not_opened(
    opened: Opened, make_cells: MakeChip, lie: str
) -> None:
    with pytest.raises(DeviceFaultError, match="capabilities"):
        open_with(make_cells, advertised(make_cells, LIES[lie]))


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_capabilities_that_are_no_description_are_refused(
    make_cells: MakeChip, document: bytes
) -> None:
    with pytest.raises(DeviceFaultError, match="make no sense"):
        open_with(make_cells, document)


def test_capabilities_beyond_the_limit_are_not_parsed(make_cells: MakeChip) -> None:
    with pytest.raises(DeviceFaultError, match="bytes are more than"):
        open_with(make_cells, b" " * ((1 << 22) + 1))


def open_with(make_cells: MakeChip, document: bytes) -> None:
    device = Dispatcher(make_cells())
    device.capabilities = document
    device.capabilities_sha256 = hashlib.sha256(document).digest()
    open_board(MemoryTransport(DeviceEmulator(device).receive), address=ADDRESS, lease=STILL)


def test_capabilities_of_another_hash_than_announced_are_refused(make_cells: MakeChip) -> None:
    device = Dispatcher(make_cells())
    device.capabilities_sha256 = bytes(32)
    with pytest.raises(DeviceFaultError, match="hash it announced"):
        open_board(MemoryTransport(DeviceEmulator(device).receive), address=ADDRESS, lease=STILL)


def test_capabilities_that_are_known_cross_the_link_once(make_cells: MakeChip) -> None:
    inner = make_cells()
    infos, sizes = [], []
    for _ in range(2):
        board = Board(MemoryTransport(DeviceEmulator(inner).receive), address=ADDRESS)
        infos.append(board.info)
        sizes.append(board.statistics.received_bytes)
        board.close()
    assert infos[0] == infos[1]
    assert sizes[1] < 300 < len(inner.info.model_dump_json())


@pytest.mark.parametrize("change", [{"version": 3}, {"session": 1}, {"epoch": 0}])
def test_a_hello_that_answers_something_else_is_refused(
    make_cells: MakeChip, change: dict[str, int]
) -> None:
    device = DeviceEmulator(make_cells())

    def alter(data: bytes) -> bytes:
        (frame,) = FrameDecoder().feed(data)
        assert isinstance(frame, Frame)
        reply = wire.decode_body(wire.REPLIES, frame.opcode, frame.payload)
        assert isinstance(reply, wire.HelloReply)
        return encode_frame(frame._replace(payload=wire.encode_body(replace(reply, **change))))

    with pytest.raises(DeviceFaultError, match="HELLO"):
        open_board(MemoryTransport(lambda d: alter(device.receive(d))), address=ADDRESS)
