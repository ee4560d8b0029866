"""Core and Chip: the verbs every back-end offers, the requests they take and the results they give.

Public verbs are final: they check the request against `CoreInfo`, tell the observers, and call the
private hook of the back-end. Codes cross here; SI values are made above, with the scales in
`CoreInfo`. Knows no back-end, no wire and no algorithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.errors import CoreTimeoutError, CoreUnavailableError, RequestError
from hil.info import Capability, ChipInfo, CoreInfo, Direction, MvmMode, PulseFamily

if TYPE_CHECKING:
    from types import TracebackType

    from hil.info import BackendKind
    from hil.units import CodeScale

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

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
ResultT = TypeVar("ResultT")


class Outcome(StrEnum):
    """What became of a mutation; the value is the sentence to show."""

    DONE = "done"
    REJECTED = "rejected, nothing has changed"
    FAILED = "failed, the effect is described"
    UNKNOWN = "effect unknown, read the cells back"


@dataclass(frozen=True, kw_only=True)
class Window:
    """A block of an array: rows row .. row+rows-1, cols col .. col+cols-1."""

    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pulse:
    """Pulses of one family, entry by entry; an entry is one device.

    Attributes:
        family: SET or RESET.
        device, rows, cols: Which device of which cell: int8 (n,), int32 (n,), int32 (n,).
        amplitude, width: Codes of `CoreInfo.limits(family)`: int16 (n,).
        count: Pulses per entry: int16 (n,), at least 1.
    """

    family: PulseFamily
    device: IntArray
    rows: IntArray
    cols: IntArray
    amplitude: IntArray
    width: IntArray
    count: IntArray

    @classmethod
    def of(
        cls,
        family: PulseFamily,
        *,
        device: npt.ArrayLike,
        rows: npt.ArrayLike,
        cols: npt.ArrayLike,
        amplitude: npt.ArrayLike,
        width: npt.ArrayLike,
        count: npt.ArrayLike = 1,
    ) -> Self:
        """Make a pulse list with the contract's dtypes; scalars are broadcast over the entries.

        Raises:
            RequestError: A value does not fit its dtype, or lengths differ.
        """
        given = {
            "device": (device, np.int8),
            "rows": (rows, np.int32),
            "cols": (cols, np.int32),
            "amplitude": (amplitude, np.int16),
            "width": (width, np.int16),
            "count": (count, np.int16),
        }
        arrays = {
            name: _as_codes(name, value, np.dtype(dtype)) for name, (value, dtype) in given.items()
        }
        try:
            shape = np.broadcast_shapes(*(a.shape for a in arrays.values()), (1,))
        except ValueError as error:
            lengths = {name: a.shape for name, a in arrays.items()}
            raise RequestError(f"pulse arrays differ in length: {lengths}") from error
        shape = shape if any(a.ndim for a in arrays.values()) else (1,)
        return cls(
            family=family,
            **{n: np.ascontiguousarray(np.broadcast_to(a, shape)) for n, a in arrays.items()},
        )

    def __len__(self) -> int:
        return int(self.device.shape[0])

    @property
    def total(self) -> int:
        """Pulses in the whole request."""
        return int(self.count.sum(dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class ProgramResult:
    """What became of a pulse request: outcome, pulses applied, device time at its end (s)."""

    outcome: Outcome
    pulses: int
    at_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CellRead:
    """Read single devices: device int8 (n,), rows int32 (n,), cols int32 (n,); averages >= 1."""

    device: IntArray
    rows: IntArray
    cols: IntArray
    averages: int = 1

    @classmethod
    def of(
        cls, *, device: npt.ArrayLike, rows: npt.ArrayLike, cols: npt.ArrayLike, averages: int = 1
    ) -> Self:
        """Make a read list with the contract's dtypes; scalars are broadcast over the entries."""
        parts = (
            _as_codes("device", device, np.dtype(np.int8)),
            _as_codes("rows", rows, np.dtype(np.int32)),
            _as_codes("cols", cols, np.dtype(np.int32)),
        )
        try:
            d, r, c = np.broadcast_arrays(*(np.atleast_1d(p) for p in parts))
        except ValueError as error:
            raise RequestError(
                f"read arrays differ in length: {[p.shape for p in parts]}"
            ) from error
        d, r, c = (np.ascontiguousarray(a) for a in (d, r, c))
        return cls(device=d, rows=r, cols=c, averages=averages)

    def __len__(self) -> int:
        return int(self.device.shape[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadResult:
    """Codes of a cell read, (n,), dtype of `CoreInfo.read`; saturated (n,); kelvin; s."""

    codes: IntArray
    saturated: BoolArray
    temperature_kelvin: float
    at_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MvmRequest:
    """A batch of matrix-vector multiplications.

    Attributes:
        input_codes: (batch, inputs), codes of `CoreInfo.input`. Inputs are the rows of the window
            (forward) or its cols (transposed).
        window: Block of the array that takes part; None is the whole array. Lines outside it are
            idle and give no output.
        direction: Forward or transposed (a capability).
        mode: How the core executes it; None is the fastest mode it has.
    """

    input_codes: IntArray
    window: Window | None = None
    direction: Direction = Direction.FORWARD
    mode: MvmMode | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class MvmResult:
    """What an MVM batch gave.

    Attributes:
        output_codes: (batch, outputs), dtype of `CoreInfo.output_codes` (int16, or int32 where its
            codes need more than 16 bits).
        saturated: (batch, outputs) bool: the converter clipped this value.
        temperature_kelvin: Chip temperature during the batch.
        at_s: Device time at the end of the batch, s.
    """

    output_codes: IntArray
    saturated: BoolArray
    temperature_kelvin: float
    at_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreSettings:
    """Settings of a core; a field left None keeps what the core has.

    Attributes:
        output_range: Index into `CoreInfo.output_ranges_siemens`.
        gain_trim, offset_trim: Trim codes per col, int16 (cols,).
        temperature_kelvin: Set point, where the chip has a heater or the simulator stands for one.
    """

    output_range: int | None = None
    gain_trim: IntArray | None = None
    offset_trim: IntArray | None = None
    temperature_kelvin: float | None = None


@dataclass(frozen=True, kw_only=True)
class CoreStatus:
    """Counters and state of a core since its chip was opened (pulses: since it was made).

    Attributes:
        now_s: Device time, s.
        temperature_kelvin: Chip temperature.
        pulses, reads, mvms: Pulses applied, devices read, vectors multiplied.
        last_pulse_at_s: Device time of the last pulse, None if there was none.
        generation: Count of pulse requests that changed cells: what a calibration is tied to.
        safe: The core is in its safe state and waits for `configure`.
    """

    now_s: float
    temperature_kelvin: float
    pulses: int
    reads: int
    mvms: int
    last_pulse_at_s: float | None
    generation: int
    safe: bool


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

    @property
    @final
    def info(self) -> CoreInfo:
        """What the core says of itself; never changes while it is open."""
        return self._info

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
        return self._verb("program", pulse, _check_pulse, self._do_program)

    @final
    def read(self, request: CellRead) -> ReadResult:
        """Read single devices through the converter. Takes `read_slot_s` per group and average.

        Raises:
            RequestError: No such capability, or an address is outside the array.
        """
        return self._verb("read", request, _check_read, self._do_read)

    @final
    def mvm(self, request: MvmRequest) -> MvmResult:
        """Multiply a batch of input vectors by the stored conductances.

        Raises:
            RequestError: A shape, code, window, direction or mode is outside `info`.
        """
        return self._verb("mvm", request, _check_mvm, self._do_mvm)

    @final
    def configure(self, settings: CoreSettings) -> None:
        """Set the converters' range and trims; fields left None stay. Leaves the safe state.

        Raises:
            RequestError: A range index, trim code or capability is outside `info`.
        """
        self._verb("configure", settings, _check_settings, self._do_configure)

    @final
    def status(self) -> CoreStatus:
        """Read counters, temperature and time; changes nothing."""
        return self._verb("status", None, _check_nothing, lambda _: self._do_status())

    @final
    def settings(self) -> CoreSettings:
        """Read the settings in force, every field filled that the core has."""
        return self._verb("settings", None, _check_nothing, lambda _: self._do_settings())

    @final
    def wait(self, seconds: float) -> float:
        """Let `seconds` >= 0 of the core's time pass; return the device time after it, s.

        A day on the bench, a millisecond in the simulator. All cores of a chip share the clock.
        """
        return self._verb("wait", float(seconds), _check_wait, self._do_wait)

    @final
    def now_s(self) -> float:
        """Device time, s; never runs back. Not reported to observers."""
        self._require_open()
        return self._do_now_s()

    @final
    def safe_state(self) -> None:
        """Idle all drivers. Never touches a cell; accepted at any time; twice is fine."""
        self._verb("safe_state", None, _check_nothing, lambda _: self._do_safe_state())

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
    """

    info: ChipInfo
    cores: tuple[Core, ...]
    _release: Callable[[], None] = field(default=lambda: None, repr=False)
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


def _as_codes(name: str, value: npt.ArrayLike, dtype: np.dtype[Any]) -> IntArray:
    array = np.asarray(value)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise RequestError(f"{name} has dtype {array.dtype}; codes are integers", name=name)
    limit = np.iinfo(dtype)
    _check_range(name, array, int(limit.min), int(limit.max), f"{dtype}")
    if array.ndim > 1:
        raise RequestError(f"{name} has shape {array.shape}; give one entry per device, (n,)")
    return array.astype(dtype)


def _check_range(name: str, array: IntArray, low: int, high: int, source: str) -> None:
    """Check low <= array <= high with two bounds (abs of the lowest int16 is itself)."""
    if array.size == 0:
        return
    least, most = int(array.min()), int(array.max())
    bad = least if least < low else most if most > high else None
    if bad is not None:
        raise RequestError(
            f"{name} {bad} is outside {low}...{high} ({source})",
            name=name,
            value=bad,
            low=low,
            high=high,
        )


def _check_integer(name: str, array: object, shape: tuple[int | None, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise RequestError(f"{name} is {kind}; give a numpy integer array", name=name)
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        wanted = "(" + ", ".join("n" if s is None else str(s) for s in shape) + ")"
        raise RequestError(f"{name} has shape {array.shape}; {wanted} is needed", name=name)


def _check_places(info: CoreInfo, device: IntArray, rows: IntArray, cols: IntArray) -> None:
    _check_integer("device", device, (None,))
    n = device.shape[0]
    _check_integer("rows", rows, (n,))
    _check_integer("cols", cols, (n,))
    _check_range("device", device, 0, info.devices_per_cell - 1, "info.devices_per_cell")
    _check_range("row", rows, 0, info.rows - 1, "info.rows")
    _check_range("col", cols, 0, info.cols - 1, "info.cols")


def _check_scale(name: str, codes: IntArray, scale: CodeScale, source: str) -> None:
    _check_range(name, codes, scale.min_code, scale.max_code, f"{source}, {scale.bits} bits")


def _check_pulse(info: CoreInfo, pulse: Pulse) -> None:
    limits = info.limits(pulse.family)
    if limits is None:
        known = ", ".join(p.family.value for p in info.pulses)
        raise RequestError(
            f"pulse family {pulse.family.value} is not offered by {info.model} (it has: {known})"
        )
    _check_places(info, pulse.device, pulse.rows, pulse.cols)
    n = len(pulse)
    if n > info.max_pulses:
        raise RequestError(f"{n} pulse entries are more than info.max_pulses {info.max_pulses}")
    for name in ("amplitude", "width", "count"):
        _check_integer(name, getattr(pulse, name), (n,))
    _check_scale("amplitude_code", pulse.amplitude, limits.amplitude, "info.pulses amplitude")
    _check_scale("width_code", pulse.width, limits.width, "info.pulses width")
    _check_range("pulse count", pulse.count, 1, limits.max_count, "info.pulses max_count")
    place = (pulse.device.astype(np.int64) * info.rows + pulse.rows) * info.cols + pulse.cols
    if np.unique(place).size != n:
        raise RequestError(
            "a device is listed twice in one pulse request; use count, or two requests"
        )


def _check_read(info: CoreInfo, request: CellRead) -> None:
    if Capability.CELL_READ not in info.capabilities:
        raise RequestError(f"{info.model} cannot read single cells; program by MVM (method gdp)")
    _check_places(info, request.device, request.rows, request.cols)
    if not 1 <= request.averages <= 4096:
        raise RequestError(f"averages {request.averages} is outside 1...4096")


def _check_window(info: CoreInfo, window: Window | None) -> tuple[int, int]:
    if window is None:
        return info.rows, info.cols
    for name, start, size, limit in (
        ("rows", window.row, window.rows, info.rows),
        ("cols", window.col, window.cols, info.cols),
    ):
        if start < 0 or size < 1 or start + size > limit:
            raise RequestError(
                f"window {name} {start}...{start + size - 1} are outside 0...{limit - 1} (info.{name})"
            )
    return window.rows, window.cols


def _check_mvm(info: CoreInfo, request: MvmRequest) -> None:
    rows, cols = _check_window(info, request.window)
    if request.direction is Direction.TRANSPOSED:
        if Capability.TRANSPOSED_MVM not in info.capabilities:
            raise RequestError(f"{info.model} has no transposed MVM (info.capabilities)")
        rows, cols = cols, rows
    if request.mode is not None and request.mode not in info.mvm_s:
        known = ", ".join(m.value for m in info.mvm_s)
        raise RequestError(f"MVM mode {request.mode.value} is not offered (it has: {known})")
    _check_integer("input_codes", request.input_codes, (None, rows))
    batch = request.input_codes.shape[0]
    if batch > info.max_batch:
        raise RequestError(
            f"batch {batch} is more than info.max_batch {info.max_batch}; send it in parts"
        )
    _check_scale("input_code", request.input_codes, info.input, "info.input")


def _check_settings(info: CoreInfo, settings: CoreSettings) -> None:
    if settings.output_range is not None and not (
        0 <= settings.output_range < len(info.output_ranges_siemens)
    ):
        raise RequestError(
            f"output_range {settings.output_range} is outside "
            f"0...{len(info.output_ranges_siemens) - 1} (info.output_ranges_siemens)"
        )
    for name, codes, scale in (
        ("gain_trim", settings.gain_trim, info.gain_trim),
        ("offset_trim", settings.offset_trim, info.offset_trim),
    ):
        if codes is None:
            continue
        if scale is None:
            raise RequestError(f"{info.model} has no {name} register")
        _check_integer(name, codes, (info.cols,))
        _check_scale(name, codes, scale, f"info.{name}")
    kelvin = settings.temperature_kelvin
    if kelvin is not None:
        if Capability.TEMPERATURE_CONTROL not in info.capabilities:
            raise RequestError(f"{info.model} cannot set its temperature")
        if not 250.0 <= kelvin <= 400.0:
            raise RequestError(f"temperature_kelvin {kelvin} is outside 250...400")


def _check_wait(_info: CoreInfo, seconds: float) -> None:
    if not 0.0 <= seconds <= 1e10:
        raise RequestError(f"wait of {seconds} s is outside 0...1e10")


def _check_nothing(_info: CoreInfo, _request: None) -> None:
    """Nothing to check: the verb takes no request."""
