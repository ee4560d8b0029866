"""Protocol errors: whose bytes were wrong. Knows no frame and no message."""

from __future__ import annotations

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError", "WindowFullError"]


class ProtocolError(Exception):
    """Base of both sides' errors."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol cannot carry; nothing was sent."""


class WindowFullError(LocalProtocolError):
    """No further request may be open now; one can be sent when a reply has arrived."""


class RemoteProtocolError(ProtocolError):
    """The peer (or noise on the line) sent bytes that are no valid frame or message."""
