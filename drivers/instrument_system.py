"""System commands of the instrument: errors, lease, planes, diagnosis of the link."""

from __future__ import annotations

import math

from drivers.instrument_bench import Bench, Call, Entry, answer
from protocols.wire import messages as wire
from protocols.wire.scpi_arguments import SECOND
from protocols.wire.scpi_data import Numeric, Quoted, Word
from protocols.wire.scpi_errors import ScpiError, printable
from protocols.wire.scpi_stream import Plane

__all__ = ["MAX_FRAMES_BYTES", "SYSTEM_COMMANDS"]

MAX_FRAMES_BYTES = 4 << 20
"""Most bytes of frames in one response, 4 MiB; what is left comes with the next one."""

_VERSION = b"1999.0"  # of SCPI
_HOLDER = "a session of the control plane"  # who asked for a lease without saying so
_MAX_HOLDER_BYTES = 128
_LONGEST_LAPSE_S = 3600.0
_MAX_MUTATION = (1 << 64) - 1


def _next_error(bench: Bench, _: Call) -> bytes:
    error = bench.status.take_error()
    return answer(error.number, error.text)


def _all_errors(bench: Bench, _: Call) -> bytes:
    errors = [bench.status.take_error() for _ in range(max(bench.status.errors, 1))]
    return b",".join(answer(error.number, error.text) for error in errors)


def _count_errors(bench: Bench, _: Call) -> bytes:
    return answer(bench.status.errors)


def _version(_bench: Bench, _: Call) -> bytes:
    return _VERSION


def _capabilities(bench: Bench, _: Call) -> bytes:
    return answer(bench.ask(0, wire.CapabilitiesRequest(), wire.CapabilitiesReply).json)


def _headers(bench: Bench, _: Call) -> bytes:
    return answer("\n".join(bench.headers).encode("ascii"))


def _request_lock(bench: Bench, call: Call) -> bytes:
    """Ask for the lease: holder, lapse time, takeover; the token, or 0 if another has it."""
    arguments = call.arguments
    holder = arguments.text() if arguments.next_is(Quoted) else _HOLDER
    if not 1 <= len(holder) <= _MAX_HOLDER_BYTES:
        raise ScpiError(-223, f"a holder has 1 ... {_MAX_HOLDER_BYTES} characters")
    lapse_s = arguments.real("lapse", 0.0, _LONGEST_LAPSE_S, SECOND) if len(arguments) else 0.0
    takeover = arguments.boolean() if len(arguments) else False
    request = wire.LockRequest(holder=holder, lapse_s=lapse_s, takeover=takeover)
    reply = bench.ask(0, request, wire.LockReply)
    return answer(reply.token if reply.granted else 0)


def _owner(bench: Bench, _: Call) -> bytes:
    reply = bench.ask(0, wire.OwnerRequest(), wire.OwnerReply)
    return answer(printable(reply.holder), reply.token)


def _release_lock(bench: Bench, _: Call) -> None:
    bench.require_lease()
    bench.ask(0, wire.UnlockRequest(token=bench.session.token), wire.UnlockReply)


def _set_mode(bench: Bench, call: Call) -> None:
    word = call.arguments.word("BINary", "TEXT")
    bench.plane = Plane.BINARY if word == "BIN" else Plane.TEXT


def _mode(bench: Bench, _: Call) -> bytes:
    return answer(Word("BIN" if bench.plane is Plane.BINARY else "TEXT"))


def _time(bench: Bench, _: Call) -> bytes:
    return answer(bench.ask(0, wire.NowRequest(), wire.NowReply).now_s)


def _link(bench: Bench, _: Call) -> bytes:
    pairs = bench.session.statistics().items()
    return answer(*(value for name, count in pairs for value in (printable(name), int(count))))


def _mutation(bench: Bench, call: Call) -> bytes:
    """Id, fate, pulses and time of a mutation; of the last one if no id is given."""
    mutation = bench.session.last_mutation
    if call.arguments.next_is(Numeric):
        mutation = call.arguments.integer("mutation", 0, _MAX_MUTATION)
    reply = bench.ask(0, wire.MutationRequest(mutation=mutation), wire.MutationReply)
    return answer(mutation, Word(reply.fate.name), reply.pulses, reply.at_s)


def _counters(bench: Bench, call: Call) -> bytes:
    status = bench.ask(bench.core(call), wire.StatusRequest(), wire.StatusReply)
    last = math.nan if status.last_pulse_at_s is None else status.last_pulse_at_s
    return answer(status.pulses, status.reads, status.mvms, status.generation, last)


def _frames(bench: Bench, call: Call) -> bytes:
    data = call.arguments.block()
    if bench.framed:
        raise ScpiError(-221, "a frame within a frame")
    bench.frames_left += bench.session.frames(data)
    part = bytes(bench.frames_left[:MAX_FRAMES_BYTES])
    del bench.frames_left[:MAX_FRAMES_BYTES]
    return answer(part)


SYSTEM_COMMANDS: dict[str, Entry] = {
    "SYSTem:ERRor[:NEXT]?": Entry(_next_error),
    "SYSTem:ERRor:ALL?": Entry(_all_errors),
    "SYSTem:ERRor:COUNt?": Entry(_count_errors),
    "SYSTem:VERSion?": Entry(_version),
    "SYSTem:CAPability?": Entry(_capabilities),
    "SYSTem:HELP:HEADers?": Entry(_headers),
    "SYSTem:LOCK:REQuest?": Entry(_request_lock, most=3),
    "SYSTem:LOCK:OWNer?": Entry(_owner),
    "SYSTem:LOCK:RELease": Entry(_release_lock),
    "SYSTem:COMMunicate:MODE": Entry(_set_mode, most=1),
    "SYSTem:COMMunicate:MODE?": Entry(_mode),
    "DIAGnostic:TIME?": Entry(_time),
    "DIAGnostic:LINK?": Entry(_link),
    "DIAGnostic:MUTation?": Entry(_mutation, most=1),
    "DIAGnostic:FRAMe?": Entry(_frames, most=1),
    "[CORE#:]DIAGnostic:COUNters?": Entry(_counters),
}
"""Pattern -> what carries it out."""
