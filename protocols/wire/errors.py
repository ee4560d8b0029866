"""Protocol errors: whose bytes were wrong. Knows no frame and no message."""

from __future__ import annotations

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """Base of both sides' errors."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol cannot carry; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer (or noise on the line) sent bytes that are no valid frame or message."""
