"""Link: the two ends of a session, and the objects they exchange. Names only."""

from __future__ import annotations

from protocols.wire.errors import WindowFullError
from protocols.wire.link_device import DeviceLink, Incoming
from protocols.wire.link_host import GRANT, MAX_WINDOW, WANT, Event, HostLink, Reply
from protocols.wire.link_states import DeviceState, HostState
from protocols.wire.objects import MAX_OBJECT_BYTES, PIECE_BYTES, encode_object, object_frames

__all__ = [
    "GRANT",
    "MAX_OBJECT_BYTES",
    "MAX_WINDOW",
    "PIECE_BYTES",
    "WANT",
    "DeviceLink",
    "DeviceState",
    "Event",
    "HostLink",
    "HostState",
    "Incoming",
    "Reply",
    "WindowFullError",
    "encode_object",
    "object_frames",
]
