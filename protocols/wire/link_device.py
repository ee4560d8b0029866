"""Link, the device's end: each request once and in order, its reply kept. Sans-io, no clock.

One `DeviceLink` serves one byte stream; a device with several streams has one for each.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.wire.errors import RemoteProtocolError
from protocols.wire.framing import Flags, Frame, FrameDecoder, Kind, encode_frame
from protocols.wire.link_host import GRANT, WANT
from protocols.wire.link_states import DEVICE_TABLE, DeviceState, Step, after
from protocols.wire.messages import (
    MUTATING,
    REQUESTS,
    URGENT,
    HelloRequest,
    Message,
    decode_body,
    encode_body,
    opcode_of,
)
from protocols.wire.objects import (
    MAX_OBJECT_BYTES,
    SEQUENCE_MODULUS,
    Inbox,
    object_frames,
    want_payloads,
    wanted,
)

__all__ = ["DeviceLink", "Incoming"]

_LAST_EPOCH = 0xFFFF
_PIECE_FLAGS = Flags.PIECE | Flags.LAST
_ACK_MODULUS = 1 << 16
_HELLOS_KEPT = 4


class Incoming(NamedTuple):
    """A request as the device sees it.

    Attributes:
        core: Core it is for.
        message: The request, or what was wrong with it.
        head: Its frame, whole; `DeviceLink.reply` answers it. Its payload is the request's body.
    """

    core: int
    message: Message | RemoteProtocolError
    head: Frame

    @property
    def urgent(self) -> bool:
        """Whether it stands outside the session and its order."""
        return bool(self.head.flags & Flags.URGENT)


class DeviceLink:
    """The device's end: hands out each request once, in order, and answers repeated ones itself.

    Attributes:
        state: Whether a session is open.
        epoch: Epoch of the session in force; 0 outside one.
        window: Requests beyond the acknowledged ones that are taken.
        dropped: Frames that were none, of another epoch, or out of the window, so far.
    """

    def __init__(self, *, window: int = 16, max_object_bytes: int = MAX_OBJECT_BYTES) -> None:
        """Begin without a session; the arguments are what the reply to HELLO tells."""
        self.state = DeviceState.IDLE
        self.epoch = 0
        self.window = window
        self.dropped = 0
        self._decoder = FrameDecoder()
        self._inbox = Inbox(max_object_bytes)
        self._early: dict[int, Frame] = {}
        self._asked: set[int] = set()
        self._taken = 0  # last sequence that was handed out
        self._acknowledged = 0
        self._replies: dict[int, list[bytes]] = {}
        self._hellos: dict[tuple[int, int], bytes] = {}  # sequence, session -> answer
        self._events = 0
        self._last_epoch = 0
        self._output: dict[tuple[int, int], bytes] = {}

    def receive(self, data: bytes) -> list[Incoming]:
        """Return the requests that are due now: urgent ones, then the others in their order."""
        urgent: list[Incoming] = []
        due: list[Incoming] = []
        for frame in self._decoder.feed(data):
            if isinstance(frame, RemoteProtocolError):
                self.dropped += 1
                continue
            try:
                if frame.flags & Flags.URGENT:
                    urgent.append(_urgent(frame))
                else:
                    self._take(frame, due)
            except RemoteProtocolError:
                self.dropped += 1
        return urgent + due if urgent else due

    def _take(self, frame: Frame, due: list[Incoming]) -> None:
        if frame.epoch == 0 and frame.opcode in _HELLO:
            self._take_hello(frame, due)
            return
        if frame.epoch != self.epoch or self.epoch == 0:
            raise RemoteProtocolError("a frame of another epoch")
        if frame.kind is Kind.REQUEST:
            self._acknowledge(frame.credit)
            self._take_request(frame, due)
        elif frame.kind is Kind.CREDIT and frame.opcode == WANT:
            self._acknowledge(frame.credit)
            self._repeat(frame)
        else:
            raise RemoteProtocolError("a frame that only a device sends")

    def _take_hello(self, frame: Frame, due: list[Incoming]) -> None:
        if frame.kind is not Kind.REQUEST or frame.flags:
            raise RemoteProtocolError("HELLO is a request of one frame")
        hello = _decode(frame)
        if isinstance(hello, HelloRequest):
            key = (frame.sequence, hello.session)
            if key in self._hellos:
                if not self._hellos[key]:
                    raise RemoteProtocolError("HELLO of an older session, or not answered yet")
                self._output[frame.sequence, 0] = self._hellos[key]
                return
            self._hellos[key] = b""
            if len(self._hellos) > _HELLOS_KEPT:
                del self._hellos[next(iter(self._hellos))]
        due.append(Incoming(frame.core, hello, frame))

    def _acknowledge(self, credit: int) -> None:
        """Forget the replies that the host has; `credit` is the low half of a sequence number."""
        ahead = (self._taken - self._acknowledged) % SEQUENCE_MODULUS
        behind = (self._taken - credit) % _ACK_MODULUS
        for _ in range(ahead - behind):  # none for what is stale
            self._acknowledged = (self._acknowledged + 1) % SEQUENCE_MODULUS
            self._replies.pop(self._acknowledged, None)

    def _take_request(self, frame: Frame, due: list[Incoming]) -> None:
        beyond = (frame.sequence - self._acknowledged - 1) % SEQUENCE_MODULUS
        held = (self._taken - self._acknowledged) % SEQUENCE_MODULUS
        if beyond < held:
            self._answer_again(frame)
        elif beyond >= self.window:
            raise RemoteProtocolError("a request outside the window")
        elif beyond == held and not frame.flags & _PIECE_FLAGS:
            self._hand_out(frame, due)  # by far the most frequent case
        else:
            self._keep(frame)
        if self._early or self._inbox.size:
            self._drain(due)

    def _answer_again(self, frame: Frame) -> None:
        """Repeat the last frame of a reply; the host then asks for what it misses."""
        frames = self._replies.get(frame.sequence)
        if frames is None:
            return  # it is being executed
        if frame.flags & Flags.LAST or not frame.flags & Flags.PIECE:
            self._output[frame.sequence, len(frames) - 1] = frames[-1]

    def _keep(self, frame: Frame) -> None:
        sequence = frame.sequence
        if frame.flags & _PIECE_FLAGS:
            if sequence not in self._early:
                self._want(sequence, self._inbox.add(frame, self._taken))
        else:
            self._early[sequence] = frame
        # The host sends in order: what is missing before this frame was lost.
        for ahead in range(1, (sequence - self._taken) % SEQUENCE_MODULUS):
            missing = (self._taken + ahead) % SEQUENCE_MODULUS
            if missing in self._inbox:
                self._want(missing, self._inbox.rest(missing))
            elif missing not in self._early and missing not in self._asked:
                self._asked.add(missing)
                self._send_want(missing, b"")

    def _drain(self, due: list[Incoming]) -> None:
        while True:
            following = (self._taken + 1) % SEQUENCE_MODULUS
            frame = self._early.pop(following, None) or self._inbox.whole(following)
            if frame is None:
                return
            self._hand_out(frame, due)

    def _hand_out(self, frame: Frame, due: list[Incoming]) -> None:
        self._taken = frame.sequence
        self._asked.discard(frame.sequence)
        self._inbox.drop(frame.sequence)
        due.append(Incoming(frame.core, _decode(frame), frame))

    def _repeat(self, frame: Frame) -> None:
        frames = self._replies.get(frame.sequence)
        if frames is None:
            return  # not yet executed, or acknowledged meanwhile
        for index in wanted(frame.payload, len(frames)):
            self._output[frame.sequence, index] = frames[index]

    def _want(self, sequence: int, indices: list[int]) -> None:
        for payload in want_payloads(indices):
            self._send_want(sequence, payload)

    def _send_want(self, sequence: int, payload: bytes) -> None:
        self._output[sequence, -1 - len(self._output)] = self._credit(WANT, sequence, payload)

    def _credit(self, opcode: int, sequence: int, payload: bytes) -> bytes:
        frame = Frame(
            Kind.CREDIT, Flags.NONE, opcode, self.epoch, 0, sequence, self.window, payload
        )
        return encode_frame(frame)

    def take_output(self) -> bytes:
        """Return what the link wants to be sent now; call it after every `receive`."""
        if not self._output:
            return b""
        data = b"".join(self._output.values())
        self._output.clear()
        return data

    def begin(self, hello: Incoming) -> int:
        """Begin a session in answer to `hello`; return its epoch. The former one is over."""
        message = hello.message
        assert isinstance(message, HelloRequest)  # noqa: S101 - the caller has looked
        self.state = after(DEVICE_TABLE, self.state, Step.BEGIN)
        epoch = 1 + message.session % _LAST_EPOCH  # as random as the session: unlike any older one
        if epoch == self._last_epoch:
            epoch = 1 + epoch % _LAST_EPOCH
        self._clear()
        self.epoch = self._last_epoch = epoch
        self._taken = self._acknowledged = hello.head.sequence
        self._hellos = dict.fromkeys(self._hellos, b"")  # older ones are answered no more
        return epoch

    def end(self) -> None:
        """End the session: the byte stream is closed. Nothing is taken until the next HELLO."""
        self.state = after(DEVICE_TABLE, self.state, Step.END)
        self._clear()
        self._hellos.clear()
        self.epoch = 0

    def _clear(self) -> None:
        self._inbox.clear()
        self._early.clear()
        self._asked.clear()
        self._replies.clear()
        self._output.clear()
        self._events = 0

    def reply(self, incoming: Incoming, message: Message) -> bytes:
        """Encode the answer and keep it for a repetition of the request.

        Raises:
            LocalProtocolError: A value does not fit, or the message is too large.
        """
        _, flags, _, epoch, core, sequence, _, _ = incoming.head
        flags &= Flags.URGENT
        body = encode_body(message)
        head = Frame(
            Kind.REPLY, flags, opcode_of(message), epoch, core, sequence, self.window, body
        )
        frames = object_frames(head)
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        if flags:
            return data
        if isinstance(incoming.message, HelloRequest):
            self._hellos[sequence, incoming.message.session] = data
        elif epoch and epoch == self.epoch:
            self._replies[sequence] = frames
        return data

    def event(self, core: int, message: Message) -> bytes:
        """Encode an event; outside a session it has epoch 0."""
        self._events = (self._events + 1) % SEQUENCE_MODULUS
        head = Frame(
            Kind.EVENT,
            Flags.NONE,
            opcode_of(message),
            self.epoch,
            core,
            self._events,
            self.window,
            encode_body(message),
        )
        return encode_frame(head)

    def grant(self, window: int) -> bytes:
        """Take `window` requests from now on, and return the frame that tells it."""
        self.window = window
        return self._credit(GRANT, 0, b"")


_HELLO = frozenset(opcode for opcode, kind in REQUESTS.items() if kind is HelloRequest)


def _urgent(frame: Frame) -> Incoming:
    if frame.kind is not Kind.REQUEST or frame.opcode not in URGENT or frame.flags != Flags.URGENT:
        raise RemoteProtocolError(f"opcode 0x{frame.opcode:02x} is not urgent")
    return Incoming(frame.core, _decode(frame), frame)


def _decode(frame: Frame) -> Message | RemoteProtocolError:
    opcode = frame.opcode
    if bool(frame.flags & Flags.MUTATING) != (opcode in MUTATING):
        return RemoteProtocolError(f"opcode 0x{opcode:02x} with the wrong flag for a mutation")
    try:
        return decode_body(REQUESTS, opcode, frame.payload)
    except RemoteProtocolError as error:
        return error
