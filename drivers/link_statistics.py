"""Link statistics: what went over a link and where the time went. Counts only."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["LinkStatistics"]


@dataclass
class LinkStatistics:
    """Counters of one session's link since it was opened.

    Attributes:
        requests, replies, events: Messages.
        sent_frames, sent_bytes, received_frames, received_bytes: On the line, repetitions included.
        retries: Times that open requests were asked after.
        dropped: Frames that were none or fitted nothing, and replies that came too late.
        encode_s, wire_s, decode_s: Time in making frames, in the transport (waiting for the device
            to execute included), and in reading frames.
    """

    requests: int = 0
    replies: int = 0
    events: int = 0
    sent_frames: int = 0
    sent_bytes: int = 0
    received_frames: int = 0
    received_bytes: int = 0
    retries: int = 0
    dropped: int = 0
    encode_s: float = 0.0
    wire_s: float = 0.0
    decode_s: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """Return every counter by name."""
        return asdict(self)
