"""Requests and results of a core's verbs: integer codes in numpy arrays. Knows no core."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from hil.info import Direction, MvmMode, PulseFamily

__all__ = [
    "CellRead",
    "CoreSettings",
    "CoreStatus",
    "MutationId",
    "MutationReport",
    "MvmRequest",
    "MvmResult",
    "Outcome",
    "ProgramResult",
    "Pulse",
    "ReadResult",
    "Window",
    "check_range",
]

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


class Outcome(StrEnum):
    """What became of a mutation; the value is the sentence to show."""

    DONE = "done"
    REJECTED = "rejected, nothing has changed"
    FAILED = "failed, the effect is described"
    UNKNOWN = "effect unknown, read the cells back"


@dataclass(frozen=True, kw_only=True)
class MutationId:
    """A request that changes cells or settings, as its device names it.

    Attributes:
        boot: Start of the device; numbers of another one may mean other requests.
        number: One counter of the device, in steps of 1.
    """

    boot: int
    number: int


@dataclass(frozen=True, kw_only=True)
class MutationReport:
    """What a device knows of a mutation; outcome None: it never came there."""

    mutation: int
    outcome: Outcome | None
    pulses: int
    at_s: float


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

    def part(self, chosen: slice | npt.NDArray[Any]) -> Self:
        """Return some of the entries; `chosen` is a slice, a mask or indices."""
        arrays = {name: codes[chosen] for name, codes in vars(self).items() if name != "family"}
        return type(self)(family=self.family, **arrays)

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


def _as_codes(name: str, value: npt.ArrayLike, dtype: np.dtype[Any]) -> IntArray:
    array = np.asarray(value)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise RequestError(f"{name} has dtype {array.dtype}; codes are integers", name=name)
    limit = np.iinfo(dtype)
    check_range(name, array, int(limit.min), int(limit.max), f"{dtype}")
    if array.ndim > 1:
        raise RequestError(f"{name} has shape {array.shape}; give one entry per device, (n,)")
    return array.astype(dtype)


def check_range(name: str, array: IntArray, low: int, high: int, source: str) -> None:
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
