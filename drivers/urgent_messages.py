"""SAFE over a channel of messages (USBTMC, HiSLIP, VXI-11), by the control plane's own commands.

OUTP:SAFE needs no lease and no session; OUTP:STAT? proves it. Knows no scheme and no frame.
"""

from __future__ import annotations

import time

from drivers.capabilities_seen import cores_of
from drivers.message_transport import MessageChannel
from hil.errors import CoreTimeoutError, DeviceFaultError
from hil.urgent import SafeProof
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.scpi_frames import BlockReader

__all__ = ["safe_by_messages"]

ANSWER_S = 5.0
"""How long a device may take to answer a query, s."""
_MOST_BYTES = 8 << 20
_TRIES = 2


def safe_by_messages(channel: MessageChannel, name: str) -> SafeProof:
    """Put every core of the instrument at the other end into its safe state, and prove it.

    Raises:
        CoreUnavailableError: The peer is gone.
        CoreTimeoutError: It does not answer.
        DeviceFaultError: It answers, but does not show that it is safe.
    """
    channel.send(b"OUTP:SAFE\n")
    reader = BlockReader(_MOST_BYTES)
    try:
        document = reader.feed(_ask(channel, name, b"SYST:CAP?")) or b""
    except RemoteProtocolError as error:
        raise DeviceFaultError(f"{name} answered SYST:CAP? with no block: {error}") from error
    serial, cores = cores_of(document)
    state = b""
    for _ in range(_TRIES):
        state = _ask(channel, name, b"OUTP:STAT?").strip()
        if state == b"0":
            owner = _ask(channel, name, b"SYST:LOCK:OWN?").decode("ascii", "replace")
            holder = owner.strip().rpartition(",")[0].strip('"')
            return SafeProof(serial=serial, cores=cores, owner=holder)
        channel.send(b"OUTP:SAFE\n")  # its owner may have configured a core in between
    raise DeviceFaultError(
        f"chip {serial} at {name} took OUTP:SAFE, but answers OUTP:STAT? with {state!r}: end its "
        "owner (hil list names it), then try again",
        serial=serial,
    )


def _ask(channel: MessageChannel, name: str, query: bytes) -> bytes:
    """Return the whole response to a query."""
    channel.send(query + b"\n")
    deadline_s, response = time.monotonic() + ANSWER_S, b""
    while True:
        data, end = channel.receive(deadline_s)
        response += data
        if end:
            return response
        if not data or len(response) > _MOST_BYTES:
            raise CoreTimeoutError(
                f"{name} does not answer {query.decode()}; whether it is safe is not known: cut "
                "its programming supply"
            )
