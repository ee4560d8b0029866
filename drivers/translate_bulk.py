"""Translation of bulk forms: regions, pulse maps, seeded batches <-> requests of a core. No I/O.

A region says in a few bytes what a list says entry by entry. The order of the entries is that of
the list it stands for, so that a core cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.packing import unpack_codes
from drivers.seeded_inputs import seeded_batch
from drivers.translate import (
    direction_from_wire,
    direction_to_wire,
    family_from_wire,
    family_to_wire,
    mode_from_wire,
    mode_to_wire,
    window_of,
)
from hil.core import CellRead, MvmRequest, Pulse, Window
from hil.info import CoreInfo, Direction, MvmMode
from hil.stimulus import InputKind
from hil.units import CodeScale
from protocols.wire import messages as wire
from protocols.wire.errors import RemoteProtocolError

__all__ = [
    "SeededMvm",
    "map_from_wire",
    "map_to_wire",
    "region_from_wire",
    "region_to_wire",
    "seeded_from_wire",
    "seeded_to_wire",
]

IntArray = npt.NDArray[np.integer[Any]]

_SIGNS = CodeScale(min_code=0, max_code=3, step=1.0, unit="1")
_MAX_SEEDED_CODE = 32_767
_LEAST_MAP = 8  # entries; a list of fewer is as short

_DISTRIBUTIONS = {
    InputKind.UNIFORM: wire.Distribution.UNIFORM,
    InputKind.UNIFORM_SPARSE: wire.Distribution.UNIFORM_SPARSE,
    InputKind.GAUSSIAN: wire.Distribution.GAUSSIAN,
    InputKind.RELU: wire.Distribution.RELU,
    InputKind.HADAMARD: wire.Distribution.HADAMARD,
}


@dataclass(frozen=True, kw_only=True)
class SeededMvm:
    """A batch whose inputs the device draws itself.

    Attributes:
        kind: Distribution of the inputs.
        seed: 64 bits: names the stream.
        first: Index of the first vector in the stream.
        batch: Vectors.
        window, direction, mode: As in `MvmRequest`.
    """

    kind: InputKind
    seed: int
    batch: int
    first: int = 0
    window: Window | None = None
    direction: Direction = Direction.FORWARD
    mode: MvmMode | None = None

    def drawn(self, info: CoreInfo) -> MvmRequest:
        """Return the same batch with its codes, as the device draws them."""
        window = window_of(info, self.window)
        inputs = window.rows if self.direction is Direction.FORWARD else window.cols
        codes = seeded_batch(
            _DISTRIBUTIONS[self.kind],
            seed=self.seed,
            first=self.first,
            batch=self.batch,
            inputs=inputs,
            full=min(info.input.max_code, _MAX_SEEDED_CODE),
        )
        return MvmRequest(
            input_codes=codes.astype(info.input.dtype),
            window=self.window,
            direction=self.direction,
            mode=self.mode,
        )


def seeded_to_wire(info: CoreInfo, request: SeededMvm) -> wire.MvmSeededRequest:
    """Return the message of a seeded batch."""
    window = window_of(info, request.window)
    forward = request.direction is Direction.FORWARD
    return wire.MvmSeededRequest(
        batch=request.batch,
        inputs=window.rows if forward else window.cols,
        row=window.row,
        col=window.col,
        rows=window.rows,
        cols=window.cols,
        direction=direction_to_wire(request.direction),
        mode=mode_to_wire(request.mode),
        distribution=_DISTRIBUTIONS[request.kind],
        seed=request.seed,
        first=request.first,
    )


def seeded_from_wire(info: CoreInfo, message: wire.MvmSeededRequest) -> MvmRequest:
    """Draw the batch that a message stands for; sizes are bounded before anything is drawn.

    Raises:
        RemoteProtocolError: More vectors or inputs than the core has.
    """
    if message.batch > info.max_batch or message.inputs > max(info.rows, info.cols):
        raise RemoteProtocolError(
            f"{message.batch} x {message.inputs} seeded inputs are more than the core takes"
        )
    codes = seeded_batch(
        message.distribution,
        seed=message.seed,
        first=message.first,
        batch=message.batch,
        inputs=message.inputs,
        full=min(info.input.max_code, _MAX_SEEDED_CODE),
    )
    window = Window(row=message.row, col=message.col, rows=message.rows, cols=message.cols)
    return MvmRequest(
        input_codes=codes.astype(info.input.dtype),
        window=None if window == window_of(info, None) else window,
        direction=direction_from_wire(message.direction),
        mode=mode_from_wire(message.mode),
    )


def region_to_wire(request: CellRead) -> wire.ReadRegionRequest | None:
    """Return the message of a list that is one device of a whole region, row-major; else None."""
    rows, cols, n = request.rows, request.cols, len(request)
    if n < 2 or (request.device != request.device[0]).any():
        return None
    row, col = int(rows[0]), int(cols[0])
    height, width = int(rows[-1]) - row + 1, int(cols[-1]) - col + 1
    if height < 1 or width < 1 or height * width != n:
        return None
    down, across = rows.reshape(height, width) - row, cols.reshape(height, width) - col
    if (down != np.arange(height)[:, None]).any() or (across != np.arange(width)).any():
        return None
    return wire.ReadRegionRequest(
        averages=request.averages,
        device=int(request.device[0]),
        row=row,
        col=col,
        rows=height,
        cols=width,
    )


def region_from_wire(info: CoreInfo, message: wire.ReadRegionRequest) -> CellRead:
    """Undo `region_to_wire`.

    Raises:
        RemoteProtocolError: The region is outside the array.
    """
    _check_region(info, message)
    down = np.arange(message.row, message.row + message.rows)
    across = np.arange(message.col, message.col + message.cols)
    return CellRead.of(
        device=message.device,
        rows=np.repeat(down, message.cols),
        cols=np.tile(across, message.rows),
        averages=message.averages,
    )


def map_to_wire(
    info: CoreInfo, pulse: Pulse, *, token: int, mutation: int
) -> wire.ProgramMapRequest | None:
    """Return the message of pulses that are equal for each of at most two devices; else None.

    The entries must stand row-major, device by device within a cell, as a map is executed.
    """
    n = len(pulse)
    if n < _LEAST_MAP or (pulse.count != pulse.count[0]).any():
        return None
    devices = np.unique(pulse.device)
    if devices.size > 2:
        return None
    plus, minus = int(devices[0]), int(devices[-1])
    if plus == minus:
        minus = (plus + 1) % info.devices_per_cell
    order = (pulse.rows.astype(np.int64) * info.cols + pulse.cols) * 2 + (pulse.device != plus)
    if (np.diff(order) <= 0).any():
        return None
    kinds = {}
    for device in (plus, minus):
        chosen = pulse.device == device
        amplitude, width = pulse.amplitude[chosen], pulse.width[chosen]
        if amplitude.size and ((amplitude != amplitude[0]).any() or (width != width[0]).any()):
            return None
        first = np.flatnonzero(chosen)[:1] if amplitude.size else np.array([0])
        kinds[device] = (int(pulse.amplitude[first][0]), int(pulse.width[first][0]))
    row, col = int(pulse.rows.min()), int(pulse.cols.min())
    rows, cols = int(pulse.rows.max()) - row + 1, int(pulse.cols.max()) - col + 1
    if rows * cols > 32 * n:
        return None  # a list of so few is shorter
    signs = np.zeros((rows, cols), np.uint8)
    bits = np.where(pulse.device == plus, 1, 2).astype(np.uint8)
    np.bitwise_or.at(signs, (pulse.rows - row, pulse.cols - col), bits)
    packed = np.packbits(np.stack([signs & 1, signs >> 1], axis=-1).ravel(), bitorder="little")
    return wire.ProgramMapRequest(
        token=token,
        mutation=mutation,
        family=family_to_wire(pulse.family),
        row=row,
        col=col,
        rows=rows,
        cols=cols,
        plus_device=plus,
        plus_amplitude=kinds[plus][0],
        plus_width=kinds[plus][1],
        minus_device=minus,
        minus_amplitude=kinds[minus][0],
        minus_width=kinds[minus][1],
        count=int(pulse.count[0]),
        signs=packed.tobytes(),
    )


def map_from_wire(info: CoreInfo, message: wire.ProgramMapRequest) -> Pulse:
    """Return the list that a map stands for.

    Raises:
        RemoteProtocolError: The region is outside the array, or the map is not its size.
    """
    _check_region(info, message)
    size = message.rows * message.cols
    signs = unpack_codes(2, message.signs, _SIGNS, size)
    both = np.stack([signs & 1, signs >> 1], axis=-1).astype(np.bool_)
    cell, polarity = np.nonzero(both)
    plus = polarity == 0
    return Pulse.of(
        family_from_wire(message.family),
        device=np.where(plus, message.plus_device, message.minus_device),
        rows=message.row + cell // message.cols,
        cols=message.col + cell % message.cols,
        amplitude=np.where(plus, message.plus_amplitude, message.minus_amplitude),
        width=np.where(plus, message.plus_width, message.minus_width),
        count=np.full(cell.shape, message.count),
    )


def _check_region(info: CoreInfo, place: wire.ReadRegionRequest | wire.ProgramMapRequest) -> None:
    if place.row + place.rows > info.rows or place.col + place.cols > info.cols:
        raise RemoteProtocolError(
            f"rows {place.row}...{place.row + place.rows - 1} and cols {place.col}..."
            f"{place.col + place.cols - 1} are outside {info.rows} x {info.cols}"
        )
    if not place.rows or not place.cols:
        raise RemoteProtocolError("an empty region")
