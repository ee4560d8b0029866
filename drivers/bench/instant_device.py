"""Instant device: the device's end of the link with a core that answers at once. Sans-io.

Its core moves codes on by one place: what it must answer is known for every input, no two inputs
have the same answer, and it costs next to nothing. Pulses are noted by the id of their mutation.
"""

from __future__ import annotations

import time
from typing import final

from protocols.wire import messages as wire
from protocols.wire.link import DeviceLink, Incoming
from protocols.wire.vocabulary import Effect, ErrorClass, Outcome, Status

__all__ = ["OUTPUT_BITS", "InstantDevice", "ideal_answer"]

OUTPUT_BITS = 8
_KELVIN = 300.0


def ideal_answer(input_codes: bytes) -> bytes:
    """Return the output codes of an instant core, 8 bits each: the inputs, moved on by one."""
    return input_codes[-1:] + input_codes[:-1]


@final
class InstantDevice:
    """Answers HELLO, MVMs and pulses; everything else is refused.

    Attributes:
        link: The device's end of the protocol.
        applied: Mutation ids in the order in which their pulses were applied.
        executed: Requests executed, HELLO included.
    """

    def __init__(self, *, window: int = 16) -> None:
        self.link = DeviceLink(window=window)
        self.applied: list[int] = []
        self.executed = 0

    def serve(self, data: bytes) -> bytes:
        """Take bytes, execute what is complete, return the bytes to answer."""
        link = self.link
        out = [link.reply(incoming, self.execute(incoming)) for incoming in link.receive(data)]
        out.append(link.take_output())
        return b"".join(out)

    def serve_timed(self, data: bytes, parts_s: list[float]) -> bytes:
        """As `serve`; add the times of decoding, executing and encoding to `parts_s`, s."""
        link, clock = self.link, time.perf_counter
        out: list[bytes] = []
        began = clock()
        found = link.receive(data)
        decoded = clock()
        parts_s[0] += decoded - began
        for incoming in found:
            answer = self.execute(incoming)
            executed = clock()
            out.append(link.reply(incoming, answer))
            encoded = clock()
            parts_s[1] += executed - decoded
            parts_s[2] += encoded - executed
            decoded = encoded
        out.append(link.take_output())
        return b"".join(out)

    def execute(self, incoming: Incoming) -> wire.Message:
        """Return the answer to a request."""
        self.executed += 1
        message = incoming.message
        if isinstance(message, wire.MvmRequest):
            return _mvm(message)
        if isinstance(message, wire.ProgramRequest):
            return self._program(message)
        if isinstance(message, wire.HelloRequest):
            return self._hello(incoming, message)
        return wire.ErrorReply(
            error_class=ErrorClass.DEVICE_FAULT,
            status=Status.BAD_MESSAGE,
            effect=Effect.NONE,
            text=f"an instant core cannot do this: {type(message).__name__}",
            fields=b"{}",
        )

    def _hello(self, incoming: Incoming, hello: wire.HelloRequest) -> wire.Message:
        return wire.HelloReply(
            version=wire.PROTOCOL_VERSION,
            epoch=self.link.begin(incoming),
            session=hello.session,
            boot=1,
            window=self.link.window,
            max_object_bytes=1 << 28,
            capabilities_sha256=bytes(32),
            last_mutation=len(self.applied),
        )

    def _program(self, message: wire.ProgramRequest) -> wire.Message:
        self.applied.append(message.mutation)
        return wire.ProgramReply(outcome=Outcome.DONE, pulses=len(message.rows), at_s=0.0)


def _mvm(message: wire.MvmRequest) -> wire.Message:
    codes = ideal_answer(message.input_codes)
    return wire.MvmReply(
        batch=message.batch,
        outputs=message.inputs,
        bits=OUTPUT_BITS,
        temperature_kelvin=_KELVIN,
        at_s=0.0,
        output_codes=codes,
        saturated=b"",
    )
