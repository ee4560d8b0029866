"""Both ends over a bad line: one right reply or an announced loss, executed once and in order.

A model-based machine: the line loses, repeats, swaps, breaks and splits frames in both directions,
the driver's timer lapses at any time, the host gives up and the device restarts.
"""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.wire import messages as wire
from protocols.wire.errors import WindowFullError
from protocols.wire.link import DeviceLink, Event, HostLink, HostState, Reply
from protocols.wire.objects import PIECE_BYTES

WINDOW = 4
BUFFER = 8 * PIECE_BYTES
BODY_BYTES = [0, 1, 300, PIECE_BYTES, PIECE_BYTES + 100, 3 * PIECE_BYTES, BUFFER - 100]
SIZES = st.sampled_from(BODY_BYTES)
PATIENCE = st.integers(0, 9)  # 0: the session ends
FAULTS = st.sampled_from(["deliver"] * 4 + ["lose", "repeat", "swap", "break", "split", "late"])


def answer_to(text: str) -> wire.ScpiReply:
    """The one right reply: the question's own name, and as many bytes as it asks for."""
    name, size, _ = text.split(":")
    return wire.ScpiReply(data=name.encode() + b"," + bytes(int(size)))


class Device:
    """A device that answers at once and writes down what it executes."""

    def __init__(self, boot: int) -> None:
        self.link = DeviceLink(window=WINDOW, max_object_bytes=BUFFER)
        self.boot = boot
        self.executed: list[tuple[int, int, str]] = []  # epoch, sequence, name
        self.safe = 0

    def receive(self, data: bytes) -> bytes:
        incoming = self.link.receive(data)
        answers = [self.link.take_output()]
        for request in incoming:
            message = request.message
            if isinstance(message, wire.HelloRequest):
                answers.append(self.hello(request, message))
            elif isinstance(message, wire.SafeStateRequest):
                self.safe += 1
                answers.append(self.link.reply(request, wire.SafeStateReply()))
            else:
                assert isinstance(message, wire.ScpiRequest)
                self.executed.append((request.head.epoch, request.head.sequence, message.text))
                answers.append(self.link.reply(request, answer_to(message.text)))
        return b"".join(answers)

    def hello(self, request, message: wire.HelloRequest) -> bytes:
        reply = wire.HelloReply(
            version=2,
            epoch=self.link.begin(request),
            session=message.session,
            boot=self.boot,
            window=WINDOW,
            max_object_bytes=BUFFER,
            capabilities_sha256=bytes(32),
            last_mutation=0,
        )
        return self.link.reply(request, reply)


class TwoEnds(RuleBasedStateMachine):
    """The two ends and the line between them."""

    def __init__(self) -> None:
        super().__init__()
        self.host = HostLink()
        self.devices = [Device(1)]
        self.down: list[bytes] = []  # frames on their way to the device
        self.up: list[bytes] = []
        self.session = 0
        self.named = 0
        self.open: dict[int, str] = {}  # sequence -> question, in this session
        self.stops: set[int] = set()
        self.answered = 0

    @property
    def device(self) -> Device:
        return self.devices[-1]

    @initialize()
    def open_session(self) -> None:
        self.session += 1
        self.open.clear()
        request = wire.HelloRequest(
            lowest_version=2, highest_version=2, session=self.session, holder="machine"
        )
        self.send(self.host.request(0, request)[1])

    def send(self, data: bytes) -> None:
        self.down += [frame + b"\x00" for frame in data.split(b"\x00")[:-1]]

    def answer(self, data: bytes) -> None:
        self.up += [frame + b"\x00" for frame in data.split(b"\x00")[:-1]]

    @precondition(lambda self: self.host.state is HostState.OPEN)
    @rule(sizes=st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=WINDOW))
    def ask_some(self, sizes: list[tuple[int, int]]) -> None:
        for asked, answered in sizes:
            self.ask(asked, answered)

    def ask(self, asked: int, answered: int) -> None:
        text = f"{self.named + 1}:{answered}:" + "x" * max(0, asked - 20)
        try:
            sequence, data = self.host.request(0, wire.ScpiRequest(text=text))
        except WindowFullError:
            return
        self.named += 1
        self.open[sequence] = text
        self.send(data)

    @rule()
    def stop(self) -> None:
        sequence, data = self.host.request(0, wire.SafeStateRequest())
        self.stops.add(sequence)
        self.send(data)

    @rule(faults=st.lists(FAULTS, min_size=1, max_size=12), at=st.integers(0, 1 << 16))
    def frames_pass(self, faults: list[str], at: int) -> None:
        for k, fault in enumerate(faults):
            if self.down:
                self.to_device(fault, at + k)
            if self.up:
                self.to_host(faults[-1 - k], at + k)

    def to_device(self, fault: str, at: int) -> None:
        data = self.transport(self.down, fault, at)
        cut = at % (len(data) + 1) if fault == "split" else 0
        for part in (data[:cut], data[cut:]):
            self.answer(self.device.receive(part))

    def to_host(self, fault: str, at: int) -> None:
        data = self.transport(self.up, fault, at)
        cut = at % (len(data) + 1) if fault == "split" else 0
        for part in (data[:cut], data[cut:]):
            self.hear(part)

    def transport(self, line: list[bytes], fault: str, at: int) -> bytes:
        """Take the next frame off the line, as the fault will have it."""
        frame = line.pop(0)
        match fault:
            case "lose":
                return b""
            case "repeat":
                return frame + frame
            case "swap":
                line.insert(min(1, len(line)), frame)
                return b""
            case "late":
                line.append(frame)
                return b""
            case "break":
                broken = bytearray(frame)
                broken[at % len(frame)] ^= 1 + at % 255
                return bytes(broken)
        return frame

    def hear(self, data: bytes) -> None:
        for found in self.host.receive(data):
            assert not isinstance(found, Event)
            self.check_reply(found)
        self.send(self.host.take_output())

    def check_reply(self, reply: Reply) -> None:
        message = reply.message
        if isinstance(message, wire.HelloReply):
            assert message.session == self.session
            self.host.begin(message)
        elif isinstance(message, wire.SafeStateReply):
            self.stops.remove(reply.sequence)
        else:
            assert message == answer_to(self.open.pop(reply.sequence))
            self.answered += 1

    @rule()
    def timer(self) -> None:
        self.send(self.host.resend())

    @rule()
    def many_frames(self) -> None:
        for _ in range(30):
            if self.down:
                self.to_device("deliver", 0)
            if self.up:
                self.to_host("deliver", 0)

    @rule(patience=PATIENCE)
    def give_up(self, patience: int) -> None:
        if patience:
            return
        self.host.forget()
        assert self.host.open_sequences == ()
        self.open_session()

    @rule(patience=PATIENCE)
    def restart(self, patience: int) -> None:
        if patience:
            return
        self.devices.append(Device(self.device.boot + 1))

    @invariant()
    def each_request_is_executed_at_most_once_and_in_order(self) -> None:
        for device in self.devices:
            numbers = [(epoch, sequence) for epoch, sequence, _ in device.executed]
            assert len(set(numbers)) == len(numbers)
            for (epoch, sequence), (later_epoch, later) in pairwise(numbers):
                assert epoch != later_epoch or later == sequence + 1
        names = [text.split(":")[0] for d in self.devices for _, _, text in d.executed]
        assert len(set(names)) == len(names)

    @invariant()
    def memory_is_bounded(self) -> None:
        link = self.device.link
        assert link._inbox.size <= BUFFER
        assert max(len(link._replies), len(link._early), len(link._asked)) <= WINDOW
        assert len(self.host.open_sequences) <= WINDOW
        assert set(self.open) == set(self.host.open_sequences) or self.host.epoch == 0

    def teardown(self) -> None:
        """On a quiet line every open request gets its reply, or its session is over."""
        for _ in range(40):
            self.send(self.host.resend())
            for _ in range(40):
                self.many_frames()
                if not self.down and not self.up:
                    break
            if not self.host.open_sequences:
                return
        # The session is not the device's any more: the driver's patience ends and it says so.
        assert self.host.epoch != self.device.link.epoch or self.host.epoch == 0


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_costs_time_and_nothing_else(seed, share):
    """Without restarts nothing is lost for good: every question is answered, each executed once."""
    rng = random.Random(seed)
    ends = TwoEnds()
    ends.open_session()
    kinds = ["lose", "repeat", "swap", "break", "split", "late"]
    while ends.named < 60 or ends.open:
        if ends.named < 60 and ends.host.free:
            ends.ask(rng.choice(BODY_BYTES), rng.choice(BODY_BYTES))
        for _ in range(rng.randrange(12)):
            fault = rng.choice(kinds) if rng.random() < share else "deliver"
            if ends.down:
                ends.to_device(fault, rng.randrange(1 << 16))
            if ends.up:
                ends.to_host(fault, rng.randrange(1 << 16))
        if (not ends.down and not ends.up) or rng.random() < 0.02:
            ends.timer()
        ends.memory_is_bounded()
    assert ends.answered == ends.named
    assert [int(text.split(":")[0]) for _, _, text in ends.device.executed] == list(range(1, 61))
