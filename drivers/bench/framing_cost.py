"""What framing costs: codes over bytes on the line, of real frames. No I/O, no clock."""

from __future__ import annotations

import numpy as np

from drivers.bench.instant_device import OUTPUT_BITS, ideal_answer
from drivers.bench.socket_host import VECTOR_BYTES, mvm_request
from hil.bench.line import Efficiency
from protocols.wire import messages as wire
from protocols.wire.framing import Flags, Frame, Kind
from protocols.wire.link import encode_object

__all__ = ["efficiency"]


def efficiency(batch: int, rng: np.random.Generator) -> Efficiency:
    """Return the shares of an MVM of `batch` random vectors of which nothing is saturated."""
    request = mvm_request(rng.bytes(batch * VECTOR_BYTES))
    codes = ideal_answer(request.input_codes)
    reply = wire.MvmReply(
        batch=batch,
        outputs=VECTOR_BYTES,
        bits=OUTPUT_BITS,
        temperature_kelvin=300.0,
        at_s=1.0,
        output_codes=codes,
        saturated=b"",
    )
    return Efficiency(
        batch=batch,
        request=len(request.input_codes) / _on_the_line(Kind.REQUEST, request),
        reply=len(reply.output_codes) / _on_the_line(Kind.REPLY, reply),
    )


def _on_the_line(kind: Kind, message: wire.Message) -> int:
    body = wire.encode_body(message)
    head = Frame(kind, Flags.NONE, wire.opcode_of(message), 4711, 0, 1_000_000, 16, body)
    return len(encode_object(head))
