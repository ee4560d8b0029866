"""Mutations: a ledger of what was begun and what became of it. Knows no core, no lease, no clock.

Ids rise by one over the whole life of a device. An intent is noted before anything is pulsed and
its completion after, in memory that survives where the device has it; an intent without completion
after a restart has an unknown outcome.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivers.device_memory import DeviceMemory
from protocols.wire import messages as wire

__all__ = ["REMEMBERED", "Mutation", "MutationLedger", "Refused", "digest_of"]

REMEMBERED = 16
"""Mutations whose outcome a device can tell."""

_TOKEN_AND_ID_BYTES = 16  # stand in front of the body of a mutating request


class Refused(Exception):  # noqa: N818 - a refusal is an answer
    """A mutation that does not follow the last one; nothing was executed, its id is not used up."""

    def __init__(self, status: wire.Status, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One mutation; `opcode` and `body` are its answer, empty while there is none."""

    id: int
    digest: bytes
    fate: wire.Fate
    pulses: int = 0
    at_s: float = 0.0
    opcode: int = 0
    body: bytes = b""


class MutationLedger:
    """The last mutations of one device.

    Attributes:
        last: Highest id begun so far; 0 before the first.
    """

    def __init__(self, memory: DeviceMemory | None = None) -> None:
        """Begin where `memory` ends; without one, at the beginning."""
        self.last = 0
        self._memory = memory
        self._known: dict[int, Mutation] = {}
        for fact in memory.facts if memory is not None else []:
            if "mutation" in fact:
                self._note(_from_fact(fact["mutation"]))

    def facts(self) -> list[dict[str, Any]]:
        """Return what a memory must hold to begin here again."""
        return [{"mutation": _to_fact(mutation)} for mutation in self._known.values()]

    def admit(self, mutation: int, digest: bytes) -> Mutation | None:
        """Return the outcome of a mutation that came before, None for the next one.

        Raises:
            Refused: An older id, one that leaves a gap, or the last id with another request.
        """
        if mutation == self.last + 1:
            return None
        if mutation > self.last:
            raise Refused(
                wire.Status.MUTATION_GAP,
                f"mutation {mutation} leaves a gap behind {self.last}; open the chip again",
            )
        known = self._known.get(mutation)
        if mutation < self.last or known is None or known.digest != digest:
            raise Refused(
                wire.Status.STALE_MUTATION,
                f"mutation {mutation} is over, {self.last} was the last; open the chip again",
            )
        return known

    def begin(self, mutation: int, digest: bytes) -> None:
        """Note the intent: from here on until `end` the outcome is unknown."""
        self._write(Mutation(id=mutation, digest=digest, fate=wire.Fate.UNKNOWN))

    def end(
        self,
        mutation: int,
        answer: tuple[int, bytes],
        *,
        fate: wire.Fate,
        pulses: int = 0,
        at_s: float = 0.0,
    ) -> None:
        """Note the outcome and the answer (opcode, body) that every repetition gets."""
        opcode, body = answer
        self._write(
            Mutation(
                id=mutation,
                digest=self._known[mutation].digest,
                fate=fate,
                pulses=pulses,
                at_s=at_s,
                opcode=opcode,
                body=body,
            )
        )

    def fate(self, mutation: int) -> Mutation:
        """Return what is known of an id; NEVER above the last one, FORGOTTEN far below it."""
        known = self._known.get(mutation)
        if known is not None:
            return known
        never = mutation > self.last or mutation == 0
        fate = wire.Fate.NEVER if never else wire.Fate.FORGOTTEN
        return Mutation(id=mutation, digest=b"", fate=fate)

    def _write(self, mutation: Mutation) -> None:
        if self._memory is not None:
            self._memory.write({"mutation": _to_fact(mutation)})
        self._note(mutation)

    def _note(self, mutation: Mutation) -> None:
        self._known.pop(mutation.id, None)
        self._known[mutation.id] = mutation
        self.last = max(self.last, mutation.id)
        while len(self._known) > REMEMBERED:
            del self._known[min(self._known)]


def digest_of(core: int, opcode: int, body: bytes) -> bytes:
    """Return what tells a request from another one, whatever lease it came under."""
    head = b"%d %d " % (core, opcode)
    return hashlib.sha256(head + body[_TOKEN_AND_ID_BYTES:]).digest()


def _to_fact(mutation: Mutation) -> dict[str, Any]:
    return {
        **vars(mutation),
        "digest": base64.b64encode(mutation.digest).decode(),
        "body": base64.b64encode(mutation.body).decode(),
        "fate": int(mutation.fate),
    }


def _from_fact(fact: Mapping[str, Any]) -> Mutation:
    return Mutation(
        **{
            **fact,
            "digest": base64.b64decode(fact["digest"]),
            "body": base64.b64decode(fact["body"]),
            "fate": wire.Fate(fact["fate"]),
        }
    )
