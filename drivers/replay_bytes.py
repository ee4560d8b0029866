"""A board made of a recording: takes the bytes of a host and answers with the recorded bodies.

What acts on the chip comes in the recorded order with the recorded bytes, or is refused; questions
may be left out or asked again. Only what numbers a frame (epoch, sequence, credit) is new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivers.exchanges import Exchange
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.link import DeviceLink, Incoming

__all__ = ["DevicePlayer"]

_ACTING = (
    wire.ProgramRequest,
    wire.ProgramMapRequest,
    wire.ReadRequest,
    wire.ReadRegionRequest,
    wire.MvmRequest,
    wire.MvmSeededRequest,
    wire.ConfigureRequest,
    wire.WaitRequest,
    wire.ScpiRequest,
)
_NAMED = (wire.HelloRequest, wire.LockRequest, wire.UnlockRequest, wire.KeepaliveRequest)
"""Questions whose body says who asks: it is not compared."""

_HARMLESS: dict[type[wire.Message], wire.Message] = {
    wire.SafeStateRequest: wire.SafeStateReply(),
    wire.CloseRequest: wire.CloseReply(),
    wire.KeepaliveRequest: wire.KeepaliveReply(),
    wire.UnlockRequest: wire.UnlockReply(),
}
"""Questions that a recording answers at any time, whether it heard them or not."""

_LASTING = (wire.HelloReply, wire.CapabilitiesReply, wire.LockReply, wire.OwnerReply)

_Question = tuple[type[wire.Message], int, bytes]


class DevicePlayer:
    """The device's end of a link over recorded exchanges; bytes in, bytes out."""

    def __init__(self, path: Path, exchanges: Iterable[Exchange]) -> None:
        """Play `exchanges`, in order; `path` is the recording's, for sentences."""
        self._path = path
        self._rest: Iterator[Exchange] = iter(exchanges)
        self._ahead: deque[Exchange] = deque()
        self._played = 0
        self._known: dict[_Question, wire.Message] = {}
        self._now_s: float | None = None
        self._link = DeviceLink()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host; return what the board had answered."""
        answers = [self._answer(incoming) for incoming in self._link.receive(data)]
        return b"".join([*answers, self._link.take_output()])

    def _answer(self, incoming: Incoming) -> bytes:
        request = incoming.message
        if isinstance(request, RemoteProtocolError):
            message: wire.Message | None = _refusal(str(request))
        elif isinstance(request, _ACTING):
            message = self._act(incoming, request)
        else:
            message = self._ask(incoming, request)
        if isinstance(request, wire.HelloRequest) and isinstance(message, wire.HelloReply):
            epoch = self._link.begin(incoming)
            self._link.window = max(1, message.window)
            message = replace(message, session=request.session, epoch=epoch)
        return b"" if message is None else self._link.reply(incoming, message)

    def _act(self, incoming: Incoming, request: wire.Message) -> wire.Message | None:
        """Play the next exchange that acts, if it is this one; None: it was never answered."""
        place = 0
        while (exchange := self._look(place)) is not None:
            if isinstance(exchange.request, _ACTING):
                break
            place += 1
        number = self._played + place + 1
        where = f"replay {self._path}, request {number}: {_name(request)} for core {incoming.core}"
        if exchange is None:
            return _refusal(f"{where} was sent, but the recording ends here")
        if (type(exchange.request), exchange.core) != (type(request), incoming.core):
            return _refusal(
                f"{where} was sent, recorded was {_name(exchange.request)} for core "
                f"{exchange.core}; replay the run that was recorded"
            )
        if exchange.body != incoming.head.payload:
            found = _difference(request, exchange, incoming.head.payload)
            return _refusal(f"{where}: {found}; replay the run that was recorded")
        self._known = {
            question: answer
            for question, answer in self._known.items()
            if isinstance(answer, _LASTING)
        }
        return self._deliver(place)

    def _ask(self, incoming: Incoming, request: wire.Message) -> wire.Message | None:
        place, kind = 0, type(request)
        body = b"" if isinstance(request, _NAMED) else incoming.head.payload
        while (exchange := self._look(place)) is not None:
            if isinstance(exchange.request, _ACTING):
                break
            if _question(exchange) == (kind, incoming.core, body):
                return self._deliver(place)
            place += 1
        known = self._known.get((kind, incoming.core, body)) or _HARMLESS.get(kind)
        if known is not None:
            return known
        if kind is wire.NowRequest and self._now_s is not None:
            return wire.NowReply(now_s=self._now_s)
        return _refusal(
            f"replay {self._path}, request {self._played + 1}: {_name(request)} for core "
            f"{incoming.core} was not sent here when this was recorded; replay the run that was "
            "recorded"
        )

    def _look(self, place: int) -> Exchange | None:
        """Return the exchange `place` after those played; None past the end."""
        while len(self._ahead) <= place:
            following = next(self._rest, None)
            if following is None:
                return None
            self._ahead.append(following)
        return self._ahead[place]

    def _deliver(self, place: int) -> wire.Message | None:
        for _ in range(place):
            self._ahead.popleft()
        exchange = self._ahead.popleft()
        self._played += place + 1
        if exchange.reply is not None:
            if not isinstance(exchange.request, _ACTING):
                self._known[_question(exchange)] = exchange.reply
            for name in ("at_s", "now_s"):
                self._now_s = getattr(exchange.reply, name, self._now_s)
        return exchange.reply


def _question(exchange: Exchange) -> _Question:
    named = isinstance(exchange.request, _NAMED)
    kind: Any = type(exchange.request)
    return kind, exchange.core, b"" if named else exchange.body


def _name(request: object) -> str:
    return type(request).__name__.removesuffix("Request")


def _difference(request: wire.Message, exchange: Exchange, body: bytes) -> str:
    """Say which field differs, and the first byte that does."""
    recorded = exchange.body
    field = next(
        (
            name
            for name, value in vars(request).items()
            if value != getattr(exchange.request, name, None)
        ),
        "its packing",
    )
    if len(body) != len(recorded):
        return f"{field} differs: {len(body)} bytes, recorded were {len(recorded)}"
    place = next(k for k, (a, b) in enumerate(zip(body, recorded, strict=True)) if a != b)
    return (
        f"{field} differs: byte {place} of {len(body)} is 0x{body[place]:02x}, recorded was "
        f"0x{recorded[place]:02x}"
    )


def _refusal(text: str) -> wire.ErrorReply:
    """Refuse before execution: a mutation keeps its id for the right request."""
    return wire.ErrorReply(
        error_class=wire.ErrorClass.REQUEST,
        status=wire.Status.BAD_MESSAGE,
        effect=wire.Effect.NONE,
        text=text,
        fields=b"{}",
    )
