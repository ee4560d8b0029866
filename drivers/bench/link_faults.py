"""Both ends of the link over a bad line, with a core that answers at once: millions of frames.

The host keeps the window full of products and pulses. Laws: a reply is what an ideal core answers
to that very request; each mutation is applied once, in order; every request ends.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import final

from drivers.bench.bad_line import BadLine, total_faults
from drivers.bench.instant_device import InstantDevice, ideal_answer
from drivers.bench.socket_host import VECTOR_BYTES, mvm_request
from hil.bench.line import BoardFaults
from hil.progress import Task
from protocols.wire import messages as wire
from protocols.wire.link import HostLink, Reply
from protocols.wire.vocabulary import Family, Outcome

__all__ = ["link_faults"]

_MUTATION_SHARE = 0.2
_LARGE_SHARE = 0.002
_LARGE_VECTORS = 150  # 38 kB: five frames
_MOST_SILENCE = 200  # repetitions without anything new: far beyond chance
_TELL_FRAMES = 2000


def link_faults(frames: int, rate: float, seed: int, task: Task) -> BoardFaults:
    """Exchange requests until `frames` frames have crossed, both directions together."""
    run = _Run(rate, seed)
    began = time.perf_counter()
    run.open_session()
    told = 0
    while run.crossed < frames and not run.violation:
        run.turn(sends=True)
        if run.crossed - told >= _TELL_FRAMES:
            task.advance(run.crossed - told)
            told = run.crossed
    while run.asked and not run.violation:
        run.turn(sends=False)
    task.advance(run.crossed - told)
    return run.result(time.perf_counter() - began)


@final
class _Run:
    """A session, what was asked in it, and what came of it."""

    def __init__(self, rate: float, seed: int) -> None:
        self.asked: dict[int, bytes | int] = {}  # sequence -> output codes, or pulses
        self.violation = ""
        self._random = random.Random(seed)
        self._host = HostLink()
        self._device = InstantDevice()
        self._out = BadLine(rate, seed=seed, direction=0)
        self._back = BadLine(rate, seed=seed, direction=1)
        self._to_device = b""
        self._requests = self._mutations = self._answered = self._wrong = 0
        self._repeats = self._silence = 0

    @property
    def crossed(self) -> int:
        """Frames on the line so far."""
        return self._out.counts.frames + self._back.counts.frames

    def open_session(self) -> None:
        """Say HELLO until it is answered."""
        version = wire.PROTOCOL_VERSION
        session = self._random.getrandbits(64)
        hello = wire.HelloRequest(
            lowest_version=version, highest_version=version, session=session, holder="bench"
        )
        _, self._to_device = self._host.request(0, hello)
        while not self._host.epoch and not self.violation:
            self.turn(sends=False)

    def turn(self, *, sends: bool) -> None:
        """Let both ends speak once; ask again where nothing came of it."""
        if sends:
            self._send()
        data, self._to_device = self._to_device, b""
        before = self._answered
        self._deliver(self._out.feed(data), self._back.feed)
        if self._answered == before and not self._to_device:
            self._deliver(
                self._out.flush(), lambda back: self._back.feed(back) + self._back.flush()
            )
        if self._answered > before:
            self._silence = 0
        elif not self._to_device:
            self._ask_again()

    def _deliver(self, pieces: list[bytes], line: Callable[[bytes], list[bytes]]) -> None:
        back = b"".join([self._device.serve(piece) for piece in pieces])
        for piece in line(back):
            for item in self._host.receive(piece):
                if isinstance(item, Reply):
                    self._take(item)
            self._to_device += self._host.take_output()

    def _ask_again(self) -> None:
        self._repeats += 1
        self._silence += 1
        self._to_device = self._host.resend()
        if self._silence > _MOST_SILENCE:
            self.violation = f"{len(self.asked)} requests end in nothing"

    def _send(self) -> None:
        parts = []
        for _ in range(self._host.free):
            message, answer = self._draw()
            sequence, data = self._host.request(0, message)
            self.asked[sequence] = answer
            parts.append(data)
        self._requests += len(parts)
        self._to_device += b"".join(parts)

    def _draw(self) -> tuple[wire.Message, bytes | int]:
        """Return a request unlike any other, and what it must be answered."""
        kind = self._random.random()
        if kind < _MUTATION_SHARE:
            self._mutations += 1
            return self._pulses(self._mutations)
        vectors = _LARGE_VECTORS if kind > 1 - _LARGE_SHARE else 1
        codes = self._random.randbytes(vectors * VECTOR_BYTES)
        return mvm_request(codes), ideal_answer(codes)

    def _pulses(self, mutation: int) -> tuple[wire.Message, int]:
        count = self._random.randint(1, 16)
        places = wire.Codes(item_bytes=2, data=self._random.randbytes(2 * count))
        codes = wire.Codes(item_bytes=1, data=self._random.randbytes(count))
        request = wire.ProgramRequest(
            token=1,
            mutation=mutation,
            family=Family.SET,
            device=codes,
            rows=places,
            cols=places,
            amplitude=codes,
            width=codes,
            count=codes,
        )
        return request, count

    def _take(self, reply: Reply) -> None:
        message = reply.message
        if isinstance(message, wire.HelloReply):
            self._host.begin(message)
            return
        answer = self.asked.pop(reply.sequence, None)
        self._answered += 1
        if isinstance(message, wire.MvmReply):
            right = message.output_codes == answer
        elif isinstance(message, wire.ProgramReply):
            right = (message.outcome, message.pulses) == (Outcome.DONE, answer)
        else:
            right = False
        if not right:
            self._wrong += 1
            self.violation = f"request {reply.sequence} was answered {message}"[:200]

    def result(self, seconds: float) -> BoardFaults:
        """Judge what happened."""
        applied = self._device.applied
        misplaced = sum(1 for k, mutation in enumerate(applied, 1) if mutation != k)
        if misplaced:
            self.violation = self.violation or "pulses were applied twice or out of order"
        return BoardFaults(
            part="link, core that answers at once",
            faults=total_faults((self._out, self._back)),
            requests=self._requests,
            mutations=self._mutations,
            answered=self._answered,
            unknown=0,
            resets=0,
            repeats=self._repeats,
            dropped=self._host.dropped + self._device.link.dropped,
            wrong=self._wrong,
            twice=misplaced,
            unended=len(self.asked),
            first_violation=self.violation,
            seconds=seconds,
        )
