"""Client: one party that a device serves, as the dispatcher knows it. Knows no bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.leases import cut_name
from protocols.wire import messages as wire

__all__ = ["Client"]


def _ignore(_core: int, _event: wire.Message) -> None:
    return


def _nothing() -> None:
    return


def _no_control_plane(_text: str) -> bytes:
    raise LookupError("this stream has no control plane")


@dataclass(eq=False)
class Client:
    """A session on a device: a byte stream with both its planes.

    Attributes:
        on_event: Called with core and event, to tell the host.
        on_power_loss: Called when the device has lost power; the session is over.
        scpi: Executes a program message that came in a frame.
        holder: Who it is, from HELLO.
        closed: Cores it has closed.
        why: Why it lost the lease, to say so.
    """

    on_event: Callable[[int, wire.Message], None] = _ignore
    on_power_loss: Callable[[], None] = _nothing
    scpi: Callable[[str], bytes] = _no_control_plane
    holder: str = ""
    closed: set[int] = field(default_factory=set)
    why: str = ""

    def begin(self, holder: str) -> None:
        """Begin a session, with nothing of the former one."""
        self.holder = cut_name(holder)
        self.closed.clear()
        self.why = ""
