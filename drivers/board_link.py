"""Board link: requests in, replies out, over a transport that may lose, repeat and spoil bytes.

Every request ends in its reply, an error of the board, or a time-out that closes the epoch. Knows
messages and time; knows no verb of a core.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

from drivers.faults import error_from_wire
from drivers.link_statistics import LinkStatistics
from drivers.link_timing import LinkTiming, RetryEstimate
from drivers.transport import Transport
from hil.errors import CoreTimeoutError, CoreUnavailableError, DeviceFaultError, RequestError
from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError, WindowFullError
from protocols.wire.link import Event, HostLink, Reply

__all__ = ["Asked", "BoardLink", "expect"]

ReplyT = TypeVar("ReplyT", bound=wire.Message)
Answer = wire.Message | RemoteProtocolError

_logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 18


class Asked(NamedTuple):
    """A request and what its reply may cost.

    Attributes:
        core: Core it is for.
        message: The request.
        execution_s: How long the device will be busy, s.
        reply_bytes: Rough size of a large reply.
    """

    core: int
    message: wire.Message
    execution_s: float = 0.0
    reply_bytes: int = 0


class _Sent(NamedTuple):
    place: int
    asked: Asked
    data_bytes: int
    at_s: float


class BoardLink:
    """One byte stream to one board. After a time-out it is lost until a new one is opened.

    Attributes:
        link: The host's end of the protocol.
        statistics: What went over it.
        events: Called with core and message of each event.
    """

    def __init__(self, transport: Transport, timing: LinkTiming) -> None:
        self.link = HostLink()
        self.statistics = LinkStatistics()
        self.events: Callable[[int, wire.Message], None] = lambda _core, _event: None
        self.heard_s = time.monotonic()
        self._transport = transport
        self._timing = timing
        self._retry = RetryEstimate(timing)
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._lost = ""
        self._awaited: set[int] = set()
        self._arrived: dict[int, Answer] = {}
        self._late = 0

    @property
    def lost(self) -> str:
        """Why the link is lost; empty while it is not."""
        return self._lost

    def ask(self, core: int, message: wire.Message, expected: type[ReplyT]) -> ReplyT:
        """Send a small request and return its reply; as `ask_many` for one."""
        return expect(self.ask_many([Asked(core, message)])[0], expected)

    def ask_many(self, asked: Sequence[Asked]) -> list[Answer]:
        """Send requests, as many at a time as the device takes; return their replies in order.

        An error reply stands in the place of its request; the others are executed all the same.

        Raises:
            RequestError: A message cannot be carried; those before it are executed.
            CoreTimeoutError: No reply in time, or the board has restarted; the link is lost.
            CoreUnavailableError: The link was lost before, or the peer is gone.
        """
        with self._lock:
            self.require()
            answers: list[Answer | None] = [None] * len(asked)
            open_: dict[int, _Sent] = {}
            try:
                self._exchange(asked, answers, open_)
            finally:
                self._awaited.difference_update(open_)
        return [answer for answer in answers if answer is not None]

    def _exchange(
        self, asked: Sequence[Asked], answers: list[Answer | None], open_: dict[int, _Sent]
    ) -> None:
        following = tries = silent = 0
        deadline_s = retry_s = limit_s = 0.0
        progress = True
        while following < len(asked) or open_:
            sent = self._send(asked, following, open_)
            following += sent
            now_s = time.monotonic()
            if sent or progress:
                limit_s = self._limit_s(open_)
                deadline_s, tries, silent = now_s + limit_s, 0, 0
                retry_s = now_s + self._wait_s(open_, tries)
            arrived, valid = self._pump(min(retry_s, deadline_s))
            progress = bool(self._take(answers, open_, repeated=tries > 0))
            now_s = time.monotonic()
            if self._lost and (open_ or following < len(asked)):
                self._give_up(open_, self._lost, limit_s)
            if progress:
                continue
            if arrived:
                silent = 0
            elif now_s < min(retry_s, deadline_s):
                silent += 1  # the transport knows that nothing can come
            if now_s >= deadline_s or silent > self._timing.silent_tries:
                self._give_up(open_, "", limit_s)
            if now_s >= retry_s or not arrived:
                tries += 1
                self.statistics.retries += 1
                self._write(self.link.resend())
                retry_s = now_s + self._wait_s(open_, tries)
            elif valid:
                retry_s = now_s + self._wait_s(open_, tries)

    def _send(self, asked: Sequence[Asked], start: int, open_: dict[int, _Sent]) -> int:
        """Send what the window takes from `start` on; return how many requests that was."""
        began = time.perf_counter()
        parts: list[bytes] = []
        count = 0
        problem: LocalProtocolError | None = None
        for item in asked[start : start + 64]:
            try:
                sequence, data = self.link.request(item.core, item.message)
            except WindowFullError:
                break
            except LocalProtocolError as error:
                problem = error
                break
            open_[sequence] = _Sent(start + count, item, len(data), time.monotonic())
            self._awaited.add(sequence)
            parts.append(data)
            count += 1
        self.statistics.encode_s += time.perf_counter() - began
        self.statistics.requests += count
        if parts:
            self._write(parts[0] if count == 1 else b"".join(parts))
        if problem is not None:
            raise RequestError(str(problem)) from problem
        return count

    def _take(
        self, answers: list[Answer | None], open_: dict[int, _Sent], *, repeated: bool
    ) -> int:
        taken = [sequence for sequence in open_ if sequence in self._arrived]
        for sequence in taken:
            sent = open_.pop(sequence)
            answers[sent.place] = self._arrived.pop(sequence)
            self._awaited.discard(sequence)
            if not repeated and not open_ and not sent.asked.execution_s:
                self._retry.note(time.monotonic() - sent.at_s)
        return len(taken)

    def _limit_s(self, open_: dict[int, _Sent]) -> float:
        moved = sum(sent.data_bytes + sent.asked.reply_bytes for sent in open_.values())
        busy_s = sum(sent.asked.execution_s for sent in open_.values())
        return self._timing.limit_s(moved, busy_s)

    def _wait_s(self, open_: dict[int, _Sent], tries: int) -> float:
        moved = sum(sent.data_bytes for sent in open_.values())
        return self._retry.wait_s(tries) + moved / self._timing.bytes_per_s

    def _give_up(self, open_: dict[int, _Sent], why: str, limit_s: float) -> NoReturn:
        first = next(iter(open_.values())) if open_ else None
        core = 0 if first is None else first.asked.core
        name = "a request" if first is None else type(first.asked.message).__name__
        self.lose(why or f"no reply to {name} within {limit_s:.1f} s")
        what = why or f"core {core} gave no reply to {name} within {limit_s:.1f} s"
        fields = {"core": core, "limit_s": limit_s}
        mutations = [getattr(s.asked.message, "mutation", None) for s in open_.values()]
        known = [mutation for mutation in mutations if mutation is not None]
        if known:
            what += f"; the outcome of mutation {known[0]} is unknown"
            fields["mutation"] = known[0]
        raise CoreTimeoutError(f"{what}; its state is unknown, open the chip again", **fields)

    def safe_state(self, core: int, *, tries: int = 8) -> None:
        """Put a core (`ALL_CORES`: every one) into its safe state, whatever else is under way.

        Works on a lost link too, and beside another thread that waits for a reply.

        Raises:
            CoreTimeoutError: Nothing answers.
            HilError: The board's own error.
        """
        waits: set[int] = set()
        try:
            for attempt in range(tries):
                sequence, data = self.link.request(core, wire.SafeStateRequest())
                waits.add(sequence)
                self._awaited.add(sequence)
                self._write(data)
                answer = self._await_urgent(waits, self._retry.wait_s(attempt + 1))
                if answer is not None:
                    expect(answer, wire.SafeStateReply)
                    return
        finally:
            self._awaited.difference_update(waits)
        if not self._lost:
            self.lose("SAFE_STATE was not answered")
        raise CoreTimeoutError(
            f"core {core} did not say that it is in its safe state; switch it off by hand",
            core=core,
        )

    def _await_urgent(self, waits: set[int], wait_s: float) -> Answer | None:
        until_s = time.monotonic() + wait_s
        while True:
            for sequence in waits & self._arrived.keys():
                return self._arrived.pop(sequence)
            now_s = time.monotonic()
            if now_s > until_s:
                return None
            if not self._lock.acquire(blocking=False):
                time.sleep(0.002)  # the thread that reads takes our answer, too
                continue
            try:
                arrived, _ = self._pump(until_s)
            finally:
                self._lock.release()
            if not arrived and not waits & self._arrived.keys():
                return None

    def require(self) -> None:
        """Refuse to work over a lost link."""
        if self._lost:
            raise CoreUnavailableError(
                f"the link to the board was lost ({self._lost}); open the chip again"
            )

    def lose(self, why: str) -> None:
        """Close the epoch: nothing that comes from now on answers anything."""
        if not self._lost:
            _logger.warning("the link to the board is lost: %s", why)
            self._lost = why
            self.link.forget()

    def idle(self) -> bool:
        """Whether no other thread is using the link now."""
        if not self._lock.acquire(blocking=False):
            return False
        self._lock.release()
        return True

    def close(self) -> None:
        """Release the transport; twice is fine."""
        self._transport.close()

    # Bytes

    def _write(self, data: bytes) -> None:
        if not data:
            return
        began = time.perf_counter()
        with self._writing:
            self._transport.write(data)
        statistics = self.statistics
        statistics.wire_s += time.perf_counter() - began
        statistics.sent_bytes += len(data)
        statistics.sent_frames += data.count(0)
        self.heard_s = time.monotonic()

    def _pump(self, deadline_s: float) -> tuple[bool, bool]:
        """Read once and sort what came; return whether anything came, and anything valid."""
        began = time.perf_counter()
        data = self._transport.read(_READ_BYTES, deadline_s)
        read = time.perf_counter()
        statistics, link = self.statistics, self.link
        statistics.wire_s += read - began
        if not data:
            return False, False
        dropped = link.dropped
        for found in link.receive(data):
            if isinstance(found, Reply):
                self._sort(found)
            else:
                self._note(found)
        statistics.received_bytes += len(data)
        statistics.received_frames += data.count(0)
        statistics.dropped = link.dropped + self._late
        statistics.decode_s += time.perf_counter() - read
        self._write(link.take_output())
        return True, link.dropped == dropped

    def _sort(self, reply: Reply) -> None:
        self.statistics.replies += 1
        if reply.sequence in self._awaited:
            self._arrived[reply.sequence] = reply.message
        else:
            self._late += 1
            _logger.info("a late reply to request %d is dropped", reply.sequence)

    def _note(self, event: Event) -> None:
        self.statistics.events += 1
        _logger.info("event of core %d: %s", event.core, event.message)
        self.events(event.core, event.message)


def expect(message: Answer, expected: type[ReplyT]) -> ReplyT:
    """Return a reply of the expected kind.

    Raises:
        HilError: The board's own error, or DeviceFaultError for any other reply.
    """
    if isinstance(message, wire.ErrorReply):
        raise error_from_wire(message)
    if isinstance(message, expected):
        return message
    raise DeviceFaultError(f"the board's reply is no {expected.__name__}: {message}")
