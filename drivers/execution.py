"""Execution: one request from its checks to its reply, in steps. Knows lease and ledger, no queue.

Between two steps the device hears its lines, and may lose power: an intent is noted before the
first pulse and its outcome after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drivers.client import Client
from drivers.faults import error_to_wire
from drivers.mutations import Refused, digest_of
from drivers.verbs import PULSES, VERBS, pulse_of, pulse_reply
from hil.checks import check_pulse
from hil.core import Core, Outcome, ProgramResult, Pulse
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.vocabulary import Effect, ErrorClass, Status

if TYPE_CHECKING:
    from drivers.dispatcher import Dispatcher

__all__ = ["Execution", "Request", "Steps", "refusal"]

Steps = Generator[None, None, wire.Message]
"""A request under way; returns its reply."""

Request = wire.Message | RemoteProtocolError
"""A request as it came: a message, or what was wrong with it."""

Handler = Callable[[Client, Any], wire.Message]
Pulses = wire.ProgramRequest | wire.ProgramMapRequest
Mutation = Pulses | wire.ConfigureRequest

_OBSERVED = (wire.SettingsRequest, wire.StatusRequest, wire.TemperatureRequest, wire.NowRequest)
"""Verbs that change and wear nothing: open to those without the lease."""

_FATES = {
    Effect.NONE: wire.Fate.REJECTED,
    Effect.PARTIAL: wire.Fate.FAILED,
    Effect.UNKNOWN: wire.Fate.UNKNOWN,
}


class Execution:
    """How a device carries out requests.

    Attributes:
        aside: Requests that touch no core and need not wait for other clients.
    """

    def __init__(
        self,
        device: Dispatcher,
        *,
        slice_pulses: int | None,
        admit: Callable[[int, Pulse], None] | None,
    ) -> None:
        self._device = device
        self._slice = slice_pulses
        self._admit = admit
        self._aborted = False
        self.aside: dict[type[Request], Handler] = {
            wire.CapabilitiesRequest: self._capabilities,
            wire.LockRequest: self._lock,
            wire.UnlockRequest: self._unlock,
            wire.OwnerRequest: self._owner,
            wire.KeepaliveRequest: self._keepalive,
            wire.MutationRequest: self._fate,
        }

    def begin(self) -> None:
        """Begin another request: nobody has asked to stop it."""
        self._aborted = False

    def abort(self) -> None:
        """Stop the pulses under way before their next slice."""
        self._aborted = True

    def needs_lease(self, message: Request) -> bool:
        """Whether only the owner may ask for it."""
        kind = type(message)
        return kind in PULSES or (kind in VERBS and kind not in _OBSERVED)

    def steps(self, client: Client, index: int, message: Request, body: bytes) -> Steps:
        """Carry out a request, a step at a time.

        Raises:
            RemoteProtocolError: The message makes no sense to this device.
            HilError: The core's own error.
        """
        if isinstance(message, RemoteProtocolError):
            raise message
        aside = self.aside.get(type(message))
        if aside is not None:
            return aside(client, message)
        if isinstance(message, wire.ScpiRequest):
            return wire.ScpiReply(data=client.scpi(message.text))
        refused = self._refuse(client, index, message)
        if refused is not None:
            return refused
        core = self._device.chip.cores[index]
        if isinstance(
            message, (wire.ProgramRequest, wire.ProgramMapRequest, wire.ConfigureRequest)
        ):
            return (yield from self._mutate(core, message, body))
        if isinstance(message, wire.CloseRequest):
            client.closed.add(index)
            if self._device.leases.held_by(client) is not None:
                core.safe_state()
            return wire.CloseReply()
        verb = VERBS.get(type(message))
        if verb is None:
            raise RemoteProtocolError(f"{type(message).__name__} is unknown to this device")
        return verb(core, message)

    def _refuse(self, client: Client, index: int, message: wire.Message) -> wire.Message | None:
        chip = self._device.chip
        if index >= len(chip.cores):
            text = f"core {index} is outside 0...{len(chip.cores) - 1}"
            return refusal(ErrorClass.REQUEST, Status.NO_SUCH_CORE, text)
        if index in client.closed:
            text = f"core {index} of chip {chip.serial} is closed; open the chip again"
            return refusal(ErrorClass.UNAVAILABLE, Status.CORE_CLOSED, text)
        return self._check_lease(client, message) if self.needs_lease(message) else None

    def _check_lease(self, client: Client, message: wire.Message) -> wire.Message | None:
        leases = self._device.leases
        lease, serial = leases.current, self._device.chip.serial
        if lease is None or lease.client is not client:
            who = "nobody owns" if lease is None else f"{lease.holder} owns"
            why = f" ({client.why})" if client.why else ""
            text = f"{who} chip {serial}{why}; ask for the lease again"
            return refusal(ErrorClass.UNAVAILABLE, Status.NOT_OWNER, text)
        token = getattr(message, "token", lease.token)
        if token != lease.token:
            text = f"lease {token} of chip {serial} is over, {lease.token} is in force"
            return refusal(ErrorClass.UNAVAILABLE, Status.STALE_TOKEN, text)
        return None

    def _mutate(self, core: Core, message: Mutation, body: bytes) -> Steps:
        ledger = self._device.ledger
        digest = digest_of(core.info.core, wire.opcode_of(message), body)
        try:
            known = ledger.admit(message.mutation, digest)
        except Refused as error:
            return refusal(ErrorClass.UNAVAILABLE, error.status, str(error))
        if known is not None:
            if not known.opcode:
                text = f"mutation {known.id} was interrupted; read the cells back"
                return refusal(ErrorClass.DEVICE_FAULT, Status.FAILED, text, effect=Effect.UNKNOWN)
            return wire.decode_body(wire.REPLIES, known.opcode, known.body)
        ledger.begin(message.mutation, digest)
        yield
        pulses, at_s, fate = 0, 0.0, wire.Fate.DONE
        reply: wire.Message
        try:
            if isinstance(message, wire.ConfigureRequest):
                reply = VERBS[wire.ConfigureRequest](core, message)
            else:
                result = yield from self._pulse(core, message)
                reply = pulse_reply(message, result)
                pulses, at_s, fate = result.pulses, result.at_s, _fate_of(reply)
        except Exception as error:  # noqa: BLE001 - whatever comes is the outcome
            reply = self._failed(error)
            fate = _FATES[reply.effect]
        yield
        answer = (wire.opcode_of(reply), wire.encode_body(reply))
        ledger.end(message.mutation, answer, fate=fate, pulses=pulses, at_s=at_s)
        return reply

    def _failed(self, error: Exception) -> wire.ErrorReply:
        if isinstance(error, RemoteProtocolError):
            return refusal(ErrorClass.DEVICE_FAULT, Status.REFUSED, str(error))
        return error_to_wire(error)

    def _pulse(self, core: Core, message: Pulses) -> Generator[None, None, ProgramResult]:
        pulse = pulse_of(core, message)
        if self._admit is not None:
            self._admit(core.info.core, pulse)
        if self._slice is not None:
            check_pulse(core.info, pulse)  # the whole, before its first slice
        applied, at_s = 0, 0.0
        for part in _slices(pulse, self._slice):
            if self._aborted:
                outcome = Outcome.FAILED if applied else Outcome.REJECTED
                return ProgramResult(outcome=outcome, pulses=applied, at_s=core.now_s())
            result = core.program(part)
            applied, at_s = applied + result.pulses, result.at_s
            if result.outcome is not Outcome.DONE:
                return replace(result, pulses=applied)
            if part is not pulse:
                yield
        return ProgramResult(outcome=Outcome.DONE, pulses=applied, at_s=at_s)

    # Requests of the session

    def _capabilities(self, _client: Client, _: wire.CapabilitiesRequest) -> wire.Message:
        return wire.CapabilitiesReply(json=self._device.capabilities)

    def _lock(self, client: Client, message: wire.LockRequest) -> wire.Message:
        leases, last = self._device.leases, self._device.ledger.last
        if message.takeover or leases.free_for(client):
            lease = self._device.take_over(client, message.holder, message.lapse_s)
            return wire.LockReply(
                granted=True, token=lease.token, holder=lease.holder, last_mutation=last
            )
        owner = leases.current
        assert owner is not None  # noqa: S101 - it is not free
        return wire.LockReply(
            granted=False, token=owner.token, holder=owner.holder, last_mutation=last
        )

    def _unlock(self, client: Client, message: wire.UnlockRequest) -> wire.Message:
        refused = self._check_lease(client, message)
        if refused is None:
            self._device.leases.release(client)
        return refused or wire.UnlockReply()

    def _keepalive(self, client: Client, message: wire.KeepaliveRequest) -> wire.Message:
        return self._check_lease(client, message) or wire.KeepaliveReply()

    def _owner(self, _client: Client, _: wire.OwnerRequest) -> wire.Message:
        leases = self._device.leases
        holder = "" if leases.current is None else leases.current.holder
        return wire.OwnerReply(holder=holder, token=leases.last_token)

    def _fate(self, _client: Client, message: wire.MutationRequest) -> wire.Message:
        known = self._device.ledger.fate(message.mutation)
        return wire.MutationReply(fate=known.fate, pulses=known.pulses, at_s=known.at_s)


def refusal(
    error_class: ErrorClass, status: Status, text: str, *, effect: Effect = Effect.NONE
) -> wire.ErrorReply:
    """Return the answer to a request that is not carried out."""
    return wire.ErrorReply(
        error_class=error_class, status=status, effect=effect, text=text, fields=b"{}"
    )


def _fate_of(reply: wire.Message) -> wire.Fate:
    assert isinstance(reply, (wire.ProgramReply, wire.ProgramMapReply))  # noqa: S101
    return wire.Fate(reply.outcome)


def _slices(pulse: Pulse, most: int | None) -> Iterator[Pulse]:
    if most is None or len(pulse) <= most:
        yield pulse
        return
    for start in range(0, len(pulse), most):
        yield pulse.part(slice(start, start + most))
