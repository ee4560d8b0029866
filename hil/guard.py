"""The guard of a chip: asked before a pulse leaves, told after. Knows no core and no wire.

It holds the owner's lock, the limits, the wear ledger and the audit log together: a pulse passes
all of them or does not leave. A chip that vanishes when closed has limits and a budget of the run
alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

from hil.amplitude_ladder import AmplitudeLadder
from hil.audit import append_audit
from hil.chip_records import keeps_records, make_chip_folder, remember_chip
from hil.errors import HilError, RequestError
from hil.info import BackendKind
from hil.journal import read_journal
from hil.known_state import keep_state, settle_state
from hil.lease_lock import OwnerLock
from hil.pulse_limits import check_limits, limits_for
from hil.record import RECORD_FILE, load_record
from hil.requests import Outcome
from hil.run_folder import JOURNAL_FILE
from hil.wear import ChipWear

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import ChipInfo
    from hil.pulse_limits import Limits
    from hil.record import RunRecord
    from hil.requests import Pulse

__all__ = ["ChipBinding", "PulseGuard", "check_binding", "open_guard"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChipBinding:
    """Which chip a run is meant for; None is any.

    Attributes:
        serial: Serial that the device must say of itself.
        require: Kind of back-end that must answer.
    """

    serial: str | None = None
    require: BackendKind | None = None


def check_binding(info: ChipInfo, binding: ChipBinding) -> None:
    """Refuse a chip that a run is not meant for; called before anything is changed.

    Raises:
        RequestError: Another serial, or another kind of back-end, answers.
    """
    if binding.serial is not None and info.serial != binding.serial:
        raise RequestError(
            f"the chip at {info.address} is {info.serial}, not {binding.serial}; nothing was sent "
            "to it: give the address of the right chip, or its serial",
            serial=info.serial,
            expected=binding.serial,
        )
    if binding.require is not None and info.backend is not binding.require:
        raise RequestError(
            f"{binding.require.value} is required, but {info.backend.value} answers at "
            f"{info.address} (chip {info.serial}); give the address of a board",
            backend=info.backend.value,
        )


@final
class _Records:
    """What is held for a chip that lasts: lock, ledger, log."""

    def __init__(self, info: ChipInfo, command: tuple[str, ...]) -> None:
        self.lock = OwnerLock.acquire(info.serial, command)
        try:
            remember_chip(info)
            self.wear = ChipWear.of(make_chip_folder(info.serial), info)
        except BaseException:
            self.lock.release()
            raise


@final
class PulseGuard:
    """Stands between a session and its chip's cells; a context manager.

    Attributes:
        info: What the chip says of itself.
        limits: Limits and budgets in force.
        sent: Pulses let through in this session by core and family, rejected ones not counted.
    """

    def __init__(
        self, info: ChipInfo, limits: Limits, *, before: int = 0, confirmed: bool = True
    ) -> None:
        """Guard by limits and the run's budget, of which `before` is spent; use `open_guard`."""
        self.info = info
        self.limits = limits
        self.sent: dict[tuple[int, str], int] = {}
        self._before = before
        self._confirmed = confirmed
        self._ladders = {c.core: AmplitudeLadder(limits, c) for c in info.cores}
        self._records: _Records | None = None
        self._unknown = 0
        self._cores: tuple[Core, ...] = ()

    @property
    def lasting(self) -> bool:
        """Whether records are kept of the chip."""
        return self._records is not None

    def hold(self, command: tuple[str, ...], opening: dict[str, Any]) -> None:
        """Become the chip's owner, open its ledger and write `opening` into its log."""
        records = _Records(self.info, command)
        try:
            append_audit(
                self.info.serial,
                "opened",
                command=list(command),
                address=self.info.address,
                backend=self.info.backend.value,
                versions=self.info.cores[0].versions,
                limits={"source": self.limits.source, "sha256": self.limits.sha256},
                wear=records.wear.pulses,
                **opening,
            )
        except BaseException:
            records.wear.close()
            records.lock.release()
            raise
        self._records = records

    def settle(self, cores: Sequence[Core]) -> None:
        """Compare the chip that was just opened with how it was left; re-apply or refuse.

        Raises:
            RecordError: Silicon was pulsed by somebody without records, or has lost its counts.
            DeviceFaultError: A core does not take back the settings it was left with.
        """
        if self._records is None:
            return
        done = settle_state(cores, make_chip_folder(self.info.serial))
        if done:
            self.note("settings re-applied", cores=done)
        self._cores = tuple(cores)

    def remember(self) -> None:
        """Write how the chip is left; called before it is closed. A lost core stays unknown."""
        cores, self._cores = self._cores, ()
        if not cores:
            return
        try:
            keep_state(cores, make_chip_folder(self.info.serial), closed=True)
        except HilError as error:
            _logger.warning("chip %s: how it was left is not known: %s", self.info.serial, error)

    def admit(self, core: int, pulse: Pulse) -> None:
        """Let a pulse request pass, or refuse it; called before anything of it leaves.

        Raises:
            RequestError: It is outside the limits or would exceed a budget; nothing was counted.
            RecordError: It cannot be counted: the ledger is damaged or its disk full.
        """
        if not self._confirmed:
            raise RequestError(
                f"chip {self.info.serial} is silicon: a command programs it only with --yes; no "
                "pulse has left"
            )
        check_limits(self.limits, self.info.cores[core], pulse)
        self._ladders[core].check(pulse)
        more, most = pulse.total, self.limits.budget.pulses_per_run
        spent = self._before + sum(self.sent.values())
        if most is not None and spent + more > most:
            raise RequestError(
                f"the run has sent {spent:,} pulses; {more:,} more would exceed the budget of "
                f"{most:,} (pulses_per_run in {self.limits.source}); no pulse has left",
                budget="pulses_per_run",
                spent=spent,
                more=more,
                limit=most,
            )
        if self._records is not None:
            self._records.wear.reserve(core, pulse, self.limits.budget, self.limits.source)
        self._ladders[core].note(pulse)
        key = (core, pulse.family.value)
        self.sent[key] = self.sent.get(key, 0) + more

    def applied(self, core: int, pulse: Pulse, outcome: Outcome | None) -> None:
        """Take what became of an admitted request; None is unknown and counts as applied."""
        if outcome in (None, Outcome.UNKNOWN):
            self._unknown += 1
        if outcome is Outcome.REJECTED:
            self.sent[core, pulse.family.value] -= pulse.total
            if self._records is not None:
                self._records.wear.withdraw(core, pulse)

    def note(self, event: str, **values: Any) -> None:  # noqa: ANN401 - what JSON can hold
        """Write an event into the chip's audit log: a take-over, a forced action."""
        if self._records is not None:
            append_audit(self.info.serial, event, **values)

    def close(self) -> None:
        """Release what is held for the chip; twice is fine. Every step has its turn."""
        records, self._records = self._records, None
        if records is None:
            return
        pulses = [{"core": c, "family": f, "pulses": n} for (c, f), n in self.sent.items()]
        steps: tuple[Callable[[], object], ...] = (
            lambda: append_audit(
                self.info.serial,
                "closed",
                pulses=pulses,
                effect_unknown=self._unknown,
                wear=records.wear.pulses,
            ),
            records.wear.close,
            records.lock.release,
        )
        errors: list[Exception] = []
        for step in steps:
            try:
                step()
            except (HilError, OSError) as error:
                errors.append(error)
        for later in errors[1:]:
            _logger.warning("chip %s: %s", self.info.serial, later)
        if errors:
            raise errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_guard(
    info: ChipInfo,
    *,
    command: tuple[str, ...] = (),
    run: Path | None = None,
    binding: ChipBinding | None = None,
) -> PulseGuard:
    """Guard the chip that says `info` of itself, for one command and its run folder.

    Args:
        info: `Chip.info`, read from the device.
        command: Command line, for the lock's holder and the audit log.
        run: Run folder; what an earlier attempt of the run has sent counts.
        binding: Which chip the run is meant for; what its recipe says of it counts as well.

    Raises:
        CoreUnavailableError: Somebody else owns the chip; the sentence names them.
        RequestError: It is not the chip that is meant, or its limits are no limits.
        RecordError: The records of the chip are damaged.
    """
    record = _record(run)
    check_binding(info, binding or ChipBinding())
    check_binding(info, _binding_of(record))
    lasting = keeps_records(info)
    folder = make_chip_folder(info.serial) if lasting else None
    limits = limits_for(info.model, info.backend, folder)
    confirmed = info.backend is not BackendKind.SILICON or _says_yes(command)
    guard = PulseGuard(info, limits, before=_sent_before(run), confirmed=confirmed)
    if lasting:
        guard.hold(command, {"run": None if run is None else str(run), "recipe": _recipe(record)})
    return guard


def _says_yes(command: tuple[str, ...]) -> bool:
    """A command line of `hil` must say --yes; a program of one's own has decided by being run."""
    return not command or command[0] != "hil" or "--yes" in command


def _sent_before(run: Path | None) -> int:
    """Pulses that the journal of a run folder says were on their way."""
    if run is None or not (run / JOURNAL_FILE).exists():
        return 0
    intents = (line.values for line in read_journal(run / JOURNAL_FILE))
    return sum(int(v.get("pulses", 0)) for v in intents if v.get("phase") == "intent")


def _record(run: Path | None) -> RunRecord | None:
    if run is None or not (run / RECORD_FILE).exists():
        return None
    return load_record(run)


def _binding_of(record: RunRecord | None) -> ChipBinding:
    """What the recipe of a run says of its chip."""
    chip = (record.recipe or {}).get("chip") if record is not None else None
    if not isinstance(chip, dict):
        return ChipBinding()
    serial, require = chip.get("serial"), chip.get("require")
    return ChipBinding(
        serial=None if serial is None else str(serial),
        require=None if require is None else BackendKind(str(require)),
    )


def _recipe(record: RunRecord | None) -> dict[str, str] | None:
    """Name and hash of what the run was asked to do."""
    if record is None:
        return None
    text = json.dumps(record.recipe, sort_keys=True, separators=(",", ":"))
    return {"name": record.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
