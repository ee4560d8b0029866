"""Board: a session with one board, its lease and its mutations. Knows no simulator and no port."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from drivers.board_core import BoardCore
from drivers.board_info import checked_info, known_info
from drivers.board_link import Asked, BoardLink, expect
from drivers.keepalive import KeepAlive
from drivers.link_statistics import LinkStatistics
from drivers.link_timing import LinkTiming
from drivers.transport import Transport
from drivers.wiretap import tapped
from hil.core import Chip, Outcome
from hil.errors import CoreUnavailableError, DeviceFaultError, HilError
from hil.info import ChipInfo
from hil.requests import MutationReport
from protocols.wire import messages as wire

__all__ = [
    "Board",
    "BoardCore",
    "BoardLink",
    "LeaseTerms",
    "LinkTiming",
    "MutationReport",
    "holder_name",
    "open_board",
]

_MAX_ID_DIGITS = 20  # of 64 bits

_logger = logging.getLogger(__name__)

_UNUSED = frozenset(
    {
        wire.Status.NOT_OWNER,
        wire.Status.STALE_TOKEN,
        wire.Status.STALE_MUTATION,
        wire.Status.MUTATION_GAP,
        wire.Status.BAD_MESSAGE,
        wire.Status.NO_SUCH_CORE,
        wire.Status.CORE_CLOSED,
        wire.Status.ABORTED,
    }
)
"""Refusals after which the id of a mutation is still free."""

_MISCOUNTED = frozenset({wire.Status.STALE_MUTATION, wire.Status.MUTATION_GAP})
_FATES = {
    wire.Fate.DONE: Outcome.DONE,
    wire.Fate.REJECTED: Outcome.REJECTED,
    wire.Fate.FAILED: Outcome.FAILED,
    wire.Fate.UNKNOWN: Outcome.UNKNOWN,
    wire.Fate.FORGOTTEN: Outcome.UNKNOWN,
    wire.Fate.NEVER: None,
}


def holder_name() -> str:
    """Return who we are, for others to read: user, process and host."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"
    return f"{user}, process {os.getpid()} on {socket.gethostname()}"[:100]


@dataclass(frozen=True, kw_only=True)
class LeaseTerms:
    """How to own a board.

    Attributes:
        lapse_s: Silence after which the board frees the lease and goes into its safe state, s; a
            thread keeps it alive. 0: never, for a peer in this process.
        takeover: Take it from whoever has it: break the glass.
        holder: Who asks; by default user, process and host.
    """

    lapse_s: float = 10.0
    takeover: bool = False
    holder: str = field(default_factory=holder_name)


class Board:
    """A session with a board. Without a lease it may look, and put the board into its safe state.

    A context manager; leaving it closes the session and touches nothing else.

    Attributes:
        info: What the board says of itself.
        boot: Boot id; another one after each start of the board.
        token: Fencing token of our lease; 0: none.
        last_mutation: Id of the board's last mutation as far as we know.
        taken_from: Whom we took the lease from; empty: nobody.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        address: str,
        timing: LinkTiming | None = None,
        holder: str | None = None,
    ) -> None:
        """Open a session over `transport`, which the board owns from now on.

        Raises:
            CoreTimeoutError: Nothing answers.
            CoreUnavailableError: The peer is gone or speaks no version of ours.
            DeviceFaultError: What the board says of itself makes no sense.
        """
        self.token = 0
        self.taken_from = ""
        self.link = BoardLink(tapped(transport), timing or LinkTiming())
        self._keepalive: KeepAlive | None = None
        self._lapse_s = 0.0
        self._closed = False
        try:
            hello = self._hello(holder_name() if holder is None else holder)
            self.boot = hello.boot
            self.last_mutation = hello.last_mutation
            self.link.link.begin(hello)
            self.link.events = self._note
            self.info = self._capabilities(hello).model_copy(update={"address": address})
        except BaseException:
            transport.close()
            raise

    def _hello(self, holder: str) -> wire.HelloReply:
        session, version = secrets.randbits(64), wire.PROTOCOL_VERSION
        hello = wire.HelloRequest(
            lowest_version=version, highest_version=version, session=session, holder=holder
        )
        answer = self.link.ask(0, hello, wire.HelloReply)
        if (answer.version, answer.session) != (version, session) or answer.epoch == 0:
            raise DeviceFaultError(f"the board answered HELLO with {answer}; update its firmware")
        return answer

    def _capabilities(self, hello: wire.HelloReply) -> ChipInfo:
        known = known_info(hello.capabilities_sha256)
        if known is not None:
            return known
        reply = self.link.ask(0, wire.CapabilitiesRequest(), wire.CapabilitiesReply)
        return checked_info(reply.json, hello.capabilities_sha256)

    def _note(self, _core: int, event: wire.Message) -> None:
        if isinstance(event, wire.BootEvent) and event.boot != self.boot:
            self.link.lose(f"the board has started again, boot {event.boot:x}")
        elif isinstance(event, (wire.LeaseLapsedEvent, wire.LeaseTakenEvent)) and self.token:
            _logger.warning("the lease of chip %s is over: %s", self.info.serial, event)

    # Lease

    def owner(self) -> str:
        """Return who has the lease; empty: nobody."""
        return self.link.ask(0, wire.OwnerRequest(), wire.OwnerReply).holder

    def lock(self, terms: LeaseTerms) -> None:
        """Get the lease, and keep it alive from now on.

        Raises:
            CoreUnavailableError: Somebody else has it; the sentence names who.
        """
        request = wire.LockRequest(holder=terms.holder, lapse_s=terms.lapse_s, takeover=False)
        reply = self.link.ask(0, request, wire.LockReply)  # who has it is known only by its refusal
        if not reply.granted and terms.takeover:
            self.taken_from = reply.holder
            reply = self.link.ask(0, replace(request, takeover=True), wire.LockReply)
        if not reply.granted:
            raise CoreUnavailableError(
                f"chip {self.info.serial} is owned by {reply.holder}; wait, or take it over",
                holder=reply.holder,
            )
        self.token, self.last_mutation = reply.token, reply.last_mutation
        self._lapse_s = terms.lapse_s
        if terms.lapse_s > 0 and self._keepalive is None:
            self._keepalive = KeepAlive(self.keep_alive, lapse_s=terms.lapse_s)

    def break_glass(self, holder: str | None = None) -> None:
        """End anyone's lease: take it, leave the cores in their safe state, give it back."""
        name = holder_name() if holder is None else holder
        self.lock(LeaseTerms(lapse_s=10.0, takeover=True, holder=name))
        self.safe_state()
        self.unlock()

    def keep_alive(self) -> None:
        """Renew the lease unless the link was in use anyway.

        Raises:
            HilError: The lease is over, or the board does not answer.
        """
        self.link.require()
        if not self.token or not self.link.idle():
            return
        if time.monotonic() - self.link.heard_s > self._lapse_s / 4:
            self.link.ask(0, wire.KeepaliveRequest(token=self.token), wire.KeepaliveReply)

    def unlock(self) -> None:
        """Give the lease back; without one, nothing happens."""
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        token, self.token = self.token, 0
        if token:
            self.link.ask(0, wire.UnlockRequest(token=token), wire.UnlockReply)

    # Mutations

    def mutate(
        self,
        core: int,
        make: Callable[[int, int], wire.Message],
        *,
        execution_s: float = 0.0,
    ) -> wire.Message:
        """Send what `make` makes of token and mutation id, once; return its reply.

        Raises:
            CoreTimeoutError: No reply: the outcome of this mutation is unknown; `fields` names it.
            HilError: The board's own error.
        """
        mutation = self.last_mutation + 1
        message = make(self.token, mutation)
        self.link.require()
        self.last_mutation = mutation
        (reply,) = self.link.ask_many([Asked(core, message, execution_s)])
        if isinstance(reply, wire.ErrorReply) and reply.status in _UNUSED:
            self.last_mutation = mutation - 1
            if reply.status in _MISCOUNTED:
                self.link.lose(reply.text)
        return expect(reply, wire.Message)

    def reconcile(self, mutation: int) -> MutationReport:
        """Ask what became of a mutation, for example one that an earlier session left unknown."""
        reply = self.link.ask(0, wire.MutationRequest(mutation=mutation), wire.MutationReply)
        return MutationReport(
            mutation=mutation, outcome=_FATES[reply.fate], pulses=reply.pulses, at_s=reply.at_s
        )

    # Looking, and stopping

    def temperature_kelvin(self, core: int = 0) -> float:
        """Return the temperature of a core, K; needs no lease."""
        request = wire.TemperatureRequest()
        return self.link.ask(core, request, wire.TemperatureReply).temperature_kelvin

    def control(self, text: str) -> bytes:
        """Execute a program message of the control plane; return its response.

        Its commands may be mutations, so the board is asked for the last id behind them.

        Raises:
            DeviceFaultError: The board tells no id.
            HilError: The board's own error; an error of a command stands in SYST:ERR?.
        """
        response = self.link.ask(0, wire.ScpiRequest(text=text), wire.ScpiReply).data
        if self.token:
            told = self.link.ask(0, wire.ScpiRequest(text="DIAG:MUT?"), wire.ScpiReply).data
            last = told.partition(b",")[0]
            if not last.isdigit() or len(last) > _MAX_ID_DIGITS:
                raise DeviceFaultError("the board does not tell its last mutation; open it again")
            self.last_mutation = int(last)
        return response

    def safe_state(self, core: int = wire.ALL_CORES) -> None:
        """Put the cores into their safe state, whoever owns them; the owner loses the lease.

        Raises:
            CoreTimeoutError: Nothing answers.
            HilError: A core did not reach it.
        """
        self.link.safe_state(core)

    @property
    def statistics(self) -> LinkStatistics:
        """What went over the link so far."""
        return self.link.statistics

    # Cores and closing

    def chip(self) -> Chip:
        """Return the board as a chip whose verbs need the lease; closing it closes the session."""
        cores = tuple(BoardCore(core, self) for core in self.info.cores)
        return Chip(info=self.info, cores=cores, taken_from=self.taken_from, _release=self.close)

    def close(self) -> None:
        """Give the lease back and release the transport; twice is fine."""
        if self._closed:
            return
        self._closed = True
        owned = self.token
        try:
            if self.link.lost and owned:
                self.link.safe_state(wire.ALL_CORES, tries=2)
            elif not self.link.lost:
                self.unlock()
        except HilError as error:
            # Closing must succeed; a board that we cannot reach frees the lease by itself.
            _logger.debug("the session was closed without the board: %s", error)
        finally:
            self.token = 0
            if self._keepalive is not None:
                self._keepalive.stop()
            self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_board(
    transport: Transport,
    *,
    address: str,
    timing: LinkTiming | None = None,
    lease: LeaseTerms | None = None,
) -> Chip:
    """Open the board behind `transport` and own it; the chip owns the transport from now on.

    Args:
        transport: Byte stream to the board.
        address: Address to show in `ChipInfo`.
        timing: How long to wait for replies.
        lease: How to own it; by default with a keep-alive of 10 s.

    Raises:
        CoreTimeoutError: Nothing answers.
        CoreUnavailableError: The peer is gone, speaks no version of ours, or has another owner.
        DeviceFaultError: What the board says of itself makes no sense.
    """
    terms = lease or LeaseTerms()
    board = Board(transport, address=address, timing=timing, holder=terms.holder)
    try:
        board.lock(terms)
    except BaseException:
        board.close()
        raise
    return board.chip()
