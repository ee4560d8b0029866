"""Core and Chip: the verbs every back-end offers, the requests they take and the results they give.

Public verbs are final: they check the request against `CoreInfo`, tell the observers, and call the
private hook of the back-end. Codes cross here; SI values are made above, with the scales in
`CoreInfo`. Knows no back-end, no wire and no algorithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from typing_extensions import override

from hil.checks import (
    check_mvm,
    check_nothing,
    check_pulse,
    check_read,
    check_settings,
    check_wait,
)
from hil.errors import CoreTimeoutError, CoreUnavailableError, RequestError
from hil.requests import (
    CellRead,
    CoreSettings,
    CoreStatus,
    MutationId,
    MutationReport,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
    Window,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from hil.info import BackendKind, ChipInfo, CoreInfo

__all__ = [
    "CellRead",
    "Chip",
    "Core",
    "CoreSettings",
    "CoreStatus",
    "MvmRequest",
    "MvmResult",
    "Observer",
    "Outcome",
    "ProgramResult",
    "Pulse",
    "ReadResult",
    "VerbEvent",
    "Window",
]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, kw_only=True, eq=False)
class VerbEvent:
    """One verb as an observer sees it, after it ended."""

    core: int
    verb: str
    request: object
    result: object
    error: Exception | None


Observer = Callable[[VerbEvent], None]


class Core(ABC):
    """One array with its converters. Public verbs are final; back-ends write the `_do_*` hooks."""

    def __init__(self, info: CoreInfo) -> None:
        self._info = info
        self._observers: list[Observer] = []
        self._closed = False
        self._lost: CoreTimeoutError | None = None
        self._in_doubt: str | None = None

    @property
    @final
    def info(self) -> CoreInfo:
        """What the core says of itself; never changes while it is open."""
        return self._info

    @property
    @final
    def in_doubt(self) -> str | None:
        """Why the cells may hold anything: a pulse request whose outcome is not known; None if not.

        Stays until the core is opened anew.
        """
        return self._in_doubt

    @final
    def observe(self, observer: Observer) -> None:
        """Call `observer` once for each verb from now on, in order, after the verb ended."""
        self._observers.append(observer)

    @final
    def unobserve(self, observer: Observer) -> None:
        """Stop calling `observer`; unknown observers are ignored."""
        if observer in self._observers:
            self._observers.remove(observer)

    @final
    def program(self, pulse: Pulse) -> ProgramResult:
        """Apply pulses. Not idempotent; takes `slot_s` per parallel group (array diagonal).

        Raises:
            RequestError: A family, address or code is outside `info`; no pulse has left.
        """
        try:
            result = self._verb("program", pulse, check_pulse, self._do_program)
        except RequestError:
            raise  # nothing has left
        except BaseException as error:
            self._in_doubt = f"{type(error).__name__}: {error}"
            raise
        if result.outcome not in (Outcome.DONE, Outcome.REJECTED):
            self._in_doubt = result.outcome.value
        return result

    @final
    def read(self, request: CellRead) -> ReadResult:
        """Read single devices through the converter. Takes `read_slot_s` per group and average.

        Raises:
            RequestError: No such capability, or an address is outside the array.
        """
        return self._verb("read", request, check_read, self._do_read)

    @final
    def mvm(self, request: MvmRequest) -> MvmResult:
        """Multiply a batch of input vectors by the stored conductances.

        Raises:
            RequestError: A shape, code, window, direction or mode is outside `info`.
        """
        return self._verb("mvm", request, check_mvm, self._do_mvm)

    @final
    def configure(self, settings: CoreSettings) -> None:
        """Set the converters' range and trims; fields left None stay. Leaves the safe state.

        Raises:
            RequestError: A range index, trim code or capability is outside `info`.
        """
        self._verb("configure", settings, check_settings, self._do_configure)

    @final
    def status(self) -> CoreStatus:
        """Read counters, temperature and time; changes nothing."""
        return self._verb("status", None, check_nothing, lambda _: self._do_status())

    @final
    def settings(self) -> CoreSettings:
        """Read the settings in force, every field filled that the core has."""
        return self._verb("settings", None, check_nothing, lambda _: self._do_settings())

    @final
    def wait(self, seconds: float) -> float:
        """Let `seconds` >= 0 of the core's time pass; return the device time after it, s.

        A day on the bench, a millisecond in the simulator. All cores of a chip share the clock.
        """
        return self._verb("wait", float(seconds), check_wait, self._do_wait)

    @final
    def now_s(self) -> float:
        """Device time, s; never runs back. Not reported to observers."""
        self._require_open()
        return self._do_now_s()

    @final
    def next_mutation(self) -> MutationId | None:
        """Return the name that the device will give the next pulse request; None if it names none.

        Not reported to observers.
        """
        self._require_open()
        return self._do_next_mutation()

    @final
    def fate(self, mutation: MutationId) -> MutationReport | None:
        """Ask what became of a request, also one of an earlier session; changes nothing.

        None where the device cannot tell: it names no requests, or was started again since. Not
        reported to observers.
        """
        self._require_open()
        return self._do_fate(mutation)

    @final
    def safe_state(self) -> None:
        """Idle all drivers. Never touches a cell; accepted at any time; twice is fine."""
        self._verb("safe_state", None, check_nothing, lambda _: self._do_safe_state())

    @final
    def close(self) -> None:
        """Release the core; twice is fine. Later verbs raise `CoreUnavailableError`."""
        if not self._closed:
            self._closed = True
            self._do_close()

    def _verb(
        self,
        verb: str,
        request: Any,  # noqa: ANN401 - each verb has its own request type, checked by `check`
        check: Callable[[CoreInfo, Any], None],
        hook: Callable[[Any], ResultT],
    ) -> ResultT:
        self._require_open()
        check(self._info, request)
        result: ResultT | None = None
        error: Exception | None = None
        try:
            result = hook(request)
        except CoreTimeoutError as lost:
            self._lost = lost
            error = lost
            raise
        except Exception as failure:
            error = failure
            raise
        else:
            return result
        finally:
            event = VerbEvent(
                core=self._info.core, verb=verb, request=request, result=result, error=error
            )
            for observer in tuple(self._observers):
                observer(event)

    def _require_open(self) -> None:
        name = f"core {self._info.core} of chip {self._info.chip_serial}"
        if self._closed:
            raise CoreUnavailableError(f"{name} is closed; open the chip again")
        if self._lost is not None:
            raise CoreUnavailableError(
                f"{name} did not answer in time and its state is unknown; open the chip again"
            ) from self._lost

    @abstractmethod
    def _do_program(self, pulse: Pulse) -> ProgramResult: ...

    @abstractmethod
    def _do_read(self, request: CellRead) -> ReadResult: ...

    @abstractmethod
    def _do_mvm(self, request: MvmRequest) -> MvmResult: ...

    @abstractmethod
    def _do_configure(self, settings: CoreSettings) -> None: ...

    @abstractmethod
    def _do_status(self) -> CoreStatus: ...

    @abstractmethod
    def _do_settings(self) -> CoreSettings: ...

    @abstractmethod
    def _do_wait(self, seconds: float) -> float: ...

    @abstractmethod
    def _do_now_s(self) -> float: ...

    @abstractmethod
    def _do_safe_state(self) -> None: ...

    def _do_next_mutation(self) -> MutationId | None:
        """Name the next request, where the device does."""
        return None

    def _do_fate(self, mutation: MutationId) -> MutationReport | None:
        """Tell what became of a request, where the device can."""
        return None

    def _do_close(self) -> None:
        """Release what the back-end holds for this core."""

    @override
    def __repr__(self) -> str:
        i = self._info
        return f"<{type(self).__name__} {i.core} of {i.chip_serial}: {i.model} {i.rows}x{i.cols}>"


@dataclass(eq=False)
class Chip:
    """An opened address: its cores, one clock, one serial number, one backend kind.

    A context manager: leaving it puts every core in its safe state and closes it, also after an
    error; each step runs even if an earlier one failed.

    Attributes:
        info: What the chip says of itself.
        cores: The cores, in order.
        taken_from: Who owned the device and was driven off it by opening it; empty: nobody.
    """

    info: ChipInfo
    cores: tuple[Core, ...]
    taken_from: str = ""
    _release: Callable[[], None] = field(default=lambda: None, repr=False)
    _preserve: Callable[[Path], str] | None = field(default=None, repr=False)
    _closed: bool = field(default=False, repr=False)

    @property
    def serial(self) -> str:
        """Serial number read from the device."""
        return self.info.serial

    @property
    def backend(self) -> BackendKind:
        """Simulator, silicon or replay."""
        return self.info.backend

    @property
    def address(self) -> str:
        """The address this chip was opened by."""
        return self.info.address

    def wait(self, seconds: float) -> float:
        """Let `seconds` of chip time pass on every core; return the device time after it, s."""
        return self.cores[0].wait(seconds)

    def now_s(self) -> float:
        """Device time, s."""
        return self.cores[0].now_s()

    def safe_state(self) -> None:
        """Idle the drivers of every core; cells are never touched."""
        errors: list[Exception] = []
        for core in self.cores:
            try:
                core.safe_state()
            except Exception as error:  # noqa: BLE001 - every core gets its turn
                errors.append(error)
        if errors:
            raise errors[0]

    def preserve(self, folder: Path) -> str:
        """Return an address that opens this chip again as it stands, after it was closed.

        Cells of silicon keep their state by themselves: nothing is written and the address is its
        own. A simulated chip writes its state into `folder`. Nothing of the chip changes.

        Raises:
            CoreUnavailableError: The chip is closed.
            RequestError: The state cannot be written there.
        """
        if self._closed:
            raise CoreUnavailableError(f"chip {self.serial} is closed; open it again")
        return self.address if self._preserve is None else self._preserve(folder)

    def close(self) -> None:
        """Close every core and the link; twice is fine."""
        if self._closed:
            return
        self._closed = True
        for core in self.cores:
            core.close()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._closed:
            return
        try:
            self.safe_state()
        except CoreUnavailableError:
            pass  # a lost core cannot be told; its watchdog is the next line
        finally:
            self.close()
