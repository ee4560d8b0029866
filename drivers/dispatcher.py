"""Dispatcher: the one place where a device executes requests, whichever stream or plane they take.

It knows sessions, the lease and the mutation ledger, and executes one request at a time, a step at
a time: what comes in between, a SAFE_STATE above all, is heard. No I/O; the clock is handed in.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from drivers.client import Client
from drivers.device_memory import DeviceMemory
from drivers.execution import Execution, Request, Steps, refusal
from drivers.faults import error_to_wire
from drivers.leases import Lease, LeaseTable
from drivers.mutations import MutationLedger
from hil.core import Chip, Pulse
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.vocabulary import ErrorClass, Status

__all__ = ["Client", "Dispatcher"]

_logger = logging.getLogger(__name__)

Done = Callable[[wire.Message], None]


class _Job(NamedTuple):
    client: Client
    core: int
    message: Request
    body: bytes
    done: Done


class Dispatcher:
    """One device: a chip, its lease, its ledger, and any number of sessions.

    Attributes:
        chip: What it executes on.
        boot: Boot id; another one after each start.
        leases: Who may touch the cells.
        ledger: Mutations so far.
        executed: Requests executed so far.
        execute_s: Time spent in them, s.
    """

    def __init__(
        self,
        chip: Chip,
        *,
        boot: int | None = None,
        memory: DeviceMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
        slice_pulses: int | None = None,
        admit: Callable[[int, Pulse], None] | None = None,
    ) -> None:
        """Start a device.

        Args:
            chip: What to execute on; the caller closes it.
            boot: Boot id; drawn, or counted in `memory`, if not given.
            memory: What the device keeps from one start to the next.
            clock: Seconds that never run back; leases lapse by it.
            slice_pulses: Most entries of a pulse request that are applied before anything else is
                heard; None: a request is applied whole, as the chip itself would.
            admit: Called with core and pulses before an intent is noted; raises RequestError for
                what the device's own limits forbid.
        """
        facts = memory.facts if memory is not None else []
        self.chip = chip
        self.boot = _next_boot(facts) if boot is None else boot
        self.capabilities = chip.info.model_dump_json().encode()
        self.capabilities_sha256 = hashlib.sha256(self.capabilities).digest()
        self.ledger = MutationLedger(memory)
        tokens = [int(fact["token"]) for fact in facts if "token" in fact]
        self.leases = LeaseTable(last_token=max(tokens, default=0), keep=self._keep_token)
        self.executed = 0
        self.execute_s = 0.0
        self._memory = memory
        self._clock = clock
        self._clients: list[Client] = []
        self._waiting: deque[_Job] = deque()
        self._running: tuple[_Job, Steps] | None = None
        self._execution = Execution(self, slice_pulses=slice_pulses, admit=admit)
        self._remember_start()

    def _remember_start(self) -> None:
        if self._memory is not None:
            start = [{"boot": self.boot}, {"token": self.leases.last_token}]
            self._memory.compact([*start, *self.ledger.facts()])

    def _keep_token(self, token: int) -> None:
        if self._memory is not None:
            self._memory.write({"token": token})

    # Sessions

    def connect(self, client: Client) -> None:
        """Take a byte stream or another plane into service."""
        self._clients.append(client)

    def disconnect(self, client: Client) -> None:
        """The stream is closed: its session ends, its lease is free, the cores are safe."""
        self._end_session(client)
        if client in self._clients:
            self._clients.remove(client)

    def begin_session(self, client: Client, holder: str) -> None:
        """HELLO: what the client's former session left waiting is dropped, its lease ended."""
        self._end_session(client)
        client.begin(holder)

    def _end_session(self, client: Client) -> None:
        self._waiting = deque(job for job in self._waiting if job.client is not client)
        if self._running is not None and self._running[0].client is client:
            self._execution.abort()
            while self._running is not None:
                self.work()
        if self.leases.release(client) is not None:
            self._make_safe(range(len(self.chip.cores)))

    def heard(self, client: Client) -> None:
        """A frame of the client's session came: its owner lives."""
        self.leases.renew(client, self._clock())

    # Execution

    @property
    def busy(self) -> bool:
        """Whether `work` has something to do."""
        return self._running is not None or bool(self._waiting)

    def submit(self, client: Client, core: int, message: Request, body: bytes, done: Done) -> None:
        """Take a request; `done` gets its reply during a later `work`, or at once.

        Requests of one client are executed in the order in which they come. Those that touch no
        core need not wait for other clients.
        """
        self.heard(client)
        job = _Job(client, core, message, body, done)
        if type(message) in self._execution.aside and not self._has_work(client):
            done(self._finish(job, self._execution.steps(*job[:4])))
        else:
            self._waiting.append(job)

    def work(self) -> bool:
        """Execute one step; return whether there was one."""
        if self._running is None:
            if not self._waiting:
                return False
            job = self._waiting.popleft()
            self._execution.begin()
            self._running = (job, self._execution.steps(*job[:4]))
        job, steps = self._running
        reply = self._step(job, steps)
        if reply is not None:
            self._running = None
            self.leases.renew(job.client, self._clock())
            job.done(reply)
        return True

    def ask(self, client: Client, core: int, message: wire.Message) -> wire.Message:
        """Execute a request of the control plane now and return its reply."""
        self.heard(client)
        if isinstance(message, wire.SafeStateRequest):
            return self.safe(client, core)
        while self._running is not None and not isinstance(
            self._running[0].message, wire.ScpiRequest
        ):
            self.work()  # one execution at a time
        job = _Job(client, core, message, wire.encode_body(message), lambda _: None)
        return self._finish(job, self._execution.steps(*job[:4]))

    def _finish(self, job: _Job, steps: Steps) -> wire.Message:
        while True:
            reply = self._step(job, steps)
            if reply is not None:
                return reply

    def _step(self, job: _Job, steps: Steps) -> wire.Message | None:
        began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as stop:
            reply = cast("wire.Message", stop.value)
        except RemoteProtocolError as error:
            reply = refusal(ErrorClass.DEVICE_FAULT, Status.BAD_MESSAGE, str(error))
        except Exception as error:
            _logger.debug("core %d failed a request", job.core, exc_info=error)
            reply = error_to_wire(error)
        else:
            return None
        finally:
            self.execute_s += time.perf_counter() - began
        self.executed += 1
        return reply

    def _has_work(self, client: Client) -> bool:
        if self._running is not None and self._running[0].client is client:
            return True
        return any(job.client is client for job in self._waiting)

    # Safety

    def safe(self, client: Client, core: int) -> wire.Message:
        """SAFE_STATE, at any time and for anyone: abort what runs or waits there, idle the drivers.

        If it comes from another session than the owner's, the owner loses the lease: an emergency
        stop must not be followed by the next pulse.
        """
        count = len(self.chip.cores)
        if core != wire.ALL_CORES and core >= count:
            text = f"core {core} is outside 0...{count - 1}"
            return refusal(ErrorClass.REQUEST, Status.NO_SUCH_CORE, text)
        self.executed += 1
        cores = range(count) if core == wire.ALL_CORES else range(core, core + 1)
        who = client.holder or "a host without a session"
        text = f"the chip was put into its safe state by {who}"
        owner = self.leases.current
        if owner is not None and owner.client is not client:
            self.leases.release(owner.client)
            self._tell_loser(owner, text)
            self._tell(core, wire.SafeEvent(text=text), without=client)
        self._abort(lambda job: job.core in cores, text)
        error = self._make_safe(cores)
        return wire.SafeStateReply() if error is None else error_to_wire(error)

    def tick(self) -> None:
        """Let the lease lapse if its owner was silent for too long."""
        lease = self.leases.current
        if lease is None or self._has_work(cast("Client", lease.client)):
            return
        ended = self.leases.lapse(self._clock())
        if ended is None:
            return
        _logger.info("the lease of %s lapsed after %g s", ended.holder, ended.lapse_s)
        self._tell_loser(ended, f"the lease lapsed after {ended.lapse_s:g} s of silence")
        self._make_safe(range(len(self.chip.cores)))
        self._tell(wire.ALL_CORES, wire.LeaseLapsedEvent(token=ended.token, holder=ended.holder))

    @property
    def due_s(self) -> float | None:
        """Seconds until `tick` may have something to do; None: nothing is due."""
        lease = self.leases.current
        if lease is None or lease.due_s is None:
            return None
        return max(0.0, lease.due_s - self._clock())

    def power_cycle(self) -> None:
        """Lose power, at whatever step the device is, and start again with another boot id.

        What was under way stays as far as it came and has an unknown outcome; sessions, lease and
        waiting requests are gone.
        """
        self._running = None
        self._waiting.clear()
        if self.leases.current is not None:
            self.leases.release(self.leases.current.client)
        self._make_safe(range(len(self.chip.cores)))
        self.boot = (self.boot + 1) & (1 << 64) - 1
        if self._memory is not None:
            self._memory.write({"boot": self.boot})
        for client in tuple(self._clients):
            client.begin("")
            client.on_power_loss()
        self._tell(wire.ALL_CORES, wire.BootEvent(boot=self.boot, text="started"))

    def take_over(self, client: Client, holder: str, lapse_s: float) -> Lease:
        """Give the lease to `client`; whoever had it is told, stopped and made safe."""
        former = self.leases.current
        lease = self.leases.lock(client, holder=holder, lapse_s=lapse_s, now_s=self._clock())
        client.why = ""
        if former is not None and former.client is not client:
            _logger.info("%s took the lease over from %s", lease.holder, former.holder)
            self._tell_loser(former, f"{lease.holder} took it over")
            self._make_safe(range(len(self.chip.cores)))
            event = wire.LeaseTakenEvent(token=lease.token, holder=lease.holder)
            self._tell(wire.ALL_CORES, event, without=client)
        return lease

    def _tell_loser(self, lease: Lease, why: str) -> None:
        loser = cast("Client", lease.client)
        loser.why = why
        self._abort(lambda job: job.client is loser, why)

    def _abort(self, concerned: Callable[[_Job], bool], text: str) -> None:
        """End what waits, and what runs at its next step, of the requests that need the lease."""
        if self._running is not None and concerned(self._running[0]):
            self._execution.abort()
        gone = [j for j in self._waiting if concerned(j) and self._execution.needs_lease(j.message)]
        self._waiting = deque(job for job in self._waiting if job not in gone)
        for job in gone:
            job.done(refusal(ErrorClass.UNAVAILABLE, Status.ABORTED, f"not executed: {text}"))

    def _make_safe(self, cores: Iterable[int]) -> Exception | None:
        failed: Exception | None = None
        for core in cores:
            try:
                self.chip.cores[core].safe_state()
            except Exception as error:  # noqa: BLE001 - every core gets its turn
                _logger.warning("core %d did not reach its safe state: %s", core, error)
                failed = error
        return failed

    def _tell(self, core: int, event: wire.Message, *, without: Client | None = None) -> None:
        for client in self._clients:
            if client is not without:
                client.on_event(core, event)


def _next_boot(facts: Iterable[dict[str, object]]) -> int:
    boots = [cast("int", fact["boot"]) for fact in facts if "boot" in fact]
    return boots[-1] + 1 if boots else secrets.randbits(62) + 1
