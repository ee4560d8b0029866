"""Checks of requests against what a core says of itself: before any I/O, everywhere in equal words.

Knows requests and info; touches no core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from hil.info import Capability, Direction
from hil.requests import check_range

if TYPE_CHECKING:
    from hil.info import CoreInfo
    from hil.requests import CellRead, CoreSettings, MvmRequest, Pulse, Window
    from hil.units import CodeScale

__all__ = [
    "check_mvm",
    "check_nothing",
    "check_pulse",
    "check_read",
    "check_settings",
    "check_wait",
]

IntArray = npt.NDArray[np.integer[Any]]


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
    check_range("device", device, 0, info.devices_per_cell - 1, "info.devices_per_cell")
    check_range("row", rows, 0, info.rows - 1, "info.rows")
    check_range("col", cols, 0, info.cols - 1, "info.cols")


def _check_scale(name: str, codes: IntArray, scale: CodeScale, source: str) -> None:
    check_range(name, codes, scale.min_code, scale.max_code, f"{source}, {scale.bits} bits")


def check_pulse(info: CoreInfo, pulse: Pulse) -> None:
    """Check family, addresses, codes and counts of a pulse list."""
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
    check_range("pulse count", pulse.count, 1, limits.max_count, "info.pulses max_count")
    place = (pulse.device.astype(np.int64) * info.rows + pulse.rows) * info.cols + pulse.cols
    place.sort()  # many times faster than looking for unique values
    if (place[1:] == place[:-1]).any():
        raise RequestError(
            "a device is listed twice in one pulse request; use count, or two requests"
        )


def check_read(info: CoreInfo, request: CellRead) -> None:
    """Check that cells can be read, and where."""
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
                f"window {name} {start}...{start + size - 1} are outside "
                f"0...{limit - 1} (info.{name})"
            )
    return window.rows, window.cols


def check_mvm(info: CoreInfo, request: MvmRequest) -> None:
    """Check window, direction, mode, shape and codes of an MVM batch."""
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


def check_settings(info: CoreInfo, settings: CoreSettings) -> None:
    """Check range index, trim codes and temperature."""
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


def check_wait(_info: CoreInfo, seconds: float) -> None:
    """Check a waiting time: 0...1e10 s."""
    if not 0.0 <= seconds <= 1e10:
        raise RequestError(f"wait of {seconds} s is outside 0...1e10")


def check_nothing(_info: CoreInfo, _request: None) -> None:
    """Nothing to check: the verb takes no request."""
