"""Replay of bytes: a recorded link answers the same requests with the same bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.exchanges import Exchange, exchanges_of
from drivers.tape import Kind, TapeReader
from drivers.wiretap import tapping
from hil import BackendKind, Chip, MvmRequest, Pulse, PulseFamily, RequestError, open_chip
from hil.conformance.transcript import transcript
from protocols.wire import messages as wire
from protocols.wire.link import DeviceLink, HostLink

INNER = "sim:hermes?rows=40&cols=36&cores=2&seed=5"
Traffic = list[tuple[bool, bytes]]


def said(address: str) -> list[Any]:
    with open_chip(address) as chip:
        return transcript(chip, np.random.default_rng(4))[len(chip.cores) :]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def recorded(file: Path) -> Traffic:
    with TapeReader(file) as tape:
        return [
            (p.kind is Kind.SENT, tape.read(p)["bytes"].tobytes())
            for p in tape.places
            if p.kind in (Kind.SENT, Kind.RECEIVED)
        ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "one.rec"


@pytest.fixture
def first(file: Path) -> list[Any]:
    return said(f"record:loopback:{INNER}&to={file}")


@pytest.mark.parametrize("level", ["", "?level=bytes", "?level=verbs"])
def test_a_replayed_link_gives_the_same_codes(file: Path, first: list[Any], level: str) -> None:
    assert all(map(equal, first, said(f"replay:{file}{level}")))


def test_every_body_that_crosses_a_replayed_link_is_the_recorded_one(
    file: Path, first: list[Any]
) -> None:
    seen: Traffic = []
    with tapping(lambda _channel, sent, data: seen.append((sent, data))):
        chip = open_chip(f"replay:{file}")
    with chip:
        transcript(chip, np.random.default_rng(4))
    once, again = (list(exchanges_of(t)) for t in (recorded(file), seen))
    acting = [[e for e in found if e.opcode in (0x10, 0x11, 0x12, 0x30)] for found in (once, again)]
    assert acting[0] == acting[1]
    assert len(acting[0]) > 10


def test_a_replayed_link_says_that_it_is_a_replay(file: Path, first: list[Any]) -> None:
    with open_chip(f"replay:{file}") as chip:
        assert chip.backend is BackendKind.REPLAY
        assert all(core.info.backend is BackendKind.REPLAY for core in chip.cores)


def test_bytes_are_refused_where_none_were_recorded(file: Path) -> None:
    with open_chip(f"record:{INNER}&to={file}") as chip:
        chip.wait(1.0)
    with pytest.raises(RequestError, match="holds no bytes"):
        open_chip(f"replay:{file}?level=bytes")


def mvm(chip: Chip, value: int) -> np.ndarray[Any, Any]:
    codes = np.full((2, chip.cores[0].info.rows), 3, np.int16)
    codes[1, 7] = value
    return chip.cores[0].mvm(MvmRequest(input_codes=codes)).output_codes


def test_a_request_that_differs_is_refused_with_its_field_and_byte(file: Path) -> None:
    with open_chip(f"record:loopback:{INNER}&to={file}") as chip:
        codes = mvm(chip, 9)
        chip.wait(5.0)
    with open_chip(f"replay:{file}") as chip:
        with pytest.raises(RequestError, match=r"Mvm\w* for core 0: input\w* differs: byte \d+ of"):
            mvm(chip, 8)
        with pytest.raises(RequestError, match="Wait for core 0 was sent, recorded was Mvm"):
            chip.wait(5.0)
        assert np.array_equal(mvm(chip, 9), codes)
        chip.wait(5.0)
        with pytest.raises(RequestError, match="but the recording ends here"):
            chip.wait(5.0)


def test_a_pulse_that_differs_is_refused(file: Path) -> None:
    def pulse(amplitude: int) -> Pulse:
        return Pulse.of(
            PulseFamily.RESET, device=0, rows=[1, 2], cols=3, amplitude=amplitude, width=1
        )

    with open_chip(f"record:loopback:{INNER}&to={file}") as chip:
        chip.cores[1].program(pulse(50))
    with open_chip(f"replay:{file}") as chip:
        with pytest.raises(RequestError, match=r"Program\w* for core 1: \w+ differs"):
            chip.cores[1].program(pulse(51))
        assert chip.cores[1].program(pulse(50)).pulses == 2


def test_exchanges_survive_repetition_noise_and_pieces() -> None:
    """What reached the device comes out once, in order, whatever the line did."""
    host, device = HostLink(), DeviceLink()
    traffic: Traffic = []

    def cross(data: bytes, *, twice: bool = False) -> None:
        for part in (data, data) if twice else (data,):
            traffic.append((True, b"\x05noise\x00" + part))
            for incoming in device.receive(part):
                message = incoming.message
                if isinstance(message, wire.HelloRequest):
                    device.begin(incoming)
                reply: wire.Message = answers[type(message)]
                back = device.reply(incoming, reply)
                traffic.append((False, b"boot text\x00" + back))
                host.receive(back)
            again = device.take_output()
            if again:
                traffic.append((False, again))
                host.receive(again)

    hello = wire.HelloReply(
        version=2,
        epoch=1 + 77 % 0xFFFF,
        session=77,
        boot=1,
        window=16,
        max_object_bytes=1 << 20,
        capabilities_sha256=bytes(32),
        last_mutation=0,
    )
    long = bytes(range(256)) * 200
    answers: dict[type, wire.Message] = {
        wire.HelloRequest: hello,
        wire.NowRequest: wire.NowReply(now_s=2.5),
        wire.ScpiRequest: wire.ScpiReply(data=long),
    }
    asked = wire.HelloRequest(lowest_version=2, highest_version=2, session=77, holder="h")
    cross(host.request(0, asked)[1])
    host.begin(hello)
    cross(host.request(0, wire.NowRequest())[1], twice=True)
    text = "x" * 20_000
    cross(host.request(0, wire.ScpiRequest(text=text))[1], twice=True)
    cross(host.request(1, wire.NowRequest())[1])
    found = list(exchanges_of(traffic))
    assert [(e.core, type(e.request)) for e in found] == [
        (0, wire.HelloRequest),
        (0, wire.NowRequest),
        (0, wire.ScpiRequest),
        (1, wire.NowRequest),
    ]
    assert found[2].request == wire.ScpiRequest(text=text)
    assert found[2].reply == wire.ScpiReply(data=long)


def test_a_request_without_a_reply_is_told_as_such(file: Path, first: list[Any]) -> None:
    traffic = recorded(file)
    last = max(k for k, (sent, _) in enumerate(traffic) if not sent)
    whole: list[Exchange] = list(exchanges_of(traffic))
    cut = list(exchanges_of(traffic[:last]))
    assert [e.body for e in cut] == [e.body for e in whole[: len(cut)]]
    assert cut[-1].reply is None
    assert all(e.reply is not None for e in whole)


def test_damaged_traffic_raises_nothing(file: Path, first: list[Any]) -> None:
    rng = np.random.default_rng(0)
    traffic = recorded(file)
    for _ in range(20):
        bad = []
        for sent, data in traffic:
            array = np.frombuffer(data, np.uint8).copy()
            if array.size and rng.random() < 0.3:
                array[rng.integers(array.size)] ^= 1 << int(rng.integers(8))
            bad.append((sent, array.tobytes()))
        assert len(list(exchanges_of(bad))) <= len(list(exchanges_of(traffic)))
