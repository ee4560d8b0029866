"""Requests that the suite makes of any chip: inputs, pulses, places. Draws from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.core import Core, CoreStatus, Pulse
from hil.info import CoreInfo, PulseFamily

__all__ = [
    "BLOCK_SIDE",
    "FEW",
    "PulseMaker",
    "array_places",
    "block_places",
    "counters",
    "inputs",
    "one_pulse",
    "some_pulses",
]

BLOCK_SIDE = 4
"""The suite's pulses to silicon stay in the last BLOCK_SIDE rows and cols of a core."""
FEW = 16
"""Most pulses of one request to silicon."""
_MANY = 200
_SEED = 11

Codes = npt.NDArray[np.integer[Any]]
PulseMaker = Callable[..., Pulse]
"""Called with the info of a core, and with a pulse family if it matters."""


def counters(core: Core) -> CoreStatus:
    """Everything a request could have changed; time and temperature move by themselves."""
    return replace(core.status(), now_s=0.0, temperature_kelvin=0.0)


def inputs(info: CoreInfo, batch: int, lines: int | None = None) -> Codes:
    """Input codes over the whole range, (batch, rows) or (batch, lines), int16."""
    rng = np.random.default_rng(_SEED)
    size = (batch, info.rows if lines is None else lines)
    return rng.integers(info.input.min_code, info.input.max_code + 1, size).astype(np.int16)


def array_places(info: CoreInfo) -> tuple[Codes, Codes, Codes]:
    """Device, row, col of every device of a core, (n,) each."""
    grid = np.indices((info.devices_per_cell, info.rows, info.cols)).reshape(3, -1)
    return grid[0], grid[1], grid[2]


def block_places(info: CoreInfo) -> tuple[Codes, Codes, Codes]:
    """Device, row, col of every device in the block that may be pulsed, (n,) each."""
    rows, cols = min(BLOCK_SIDE, info.rows), min(BLOCK_SIDE, info.cols)
    device, row, col = np.indices((info.devices_per_cell, rows, cols)).reshape(3, -1)
    return device, row + info.rows - rows, col + info.cols - cols


def some_pulses(info: CoreInfo, family: PulseFamily | None = None, *, few: bool) -> Pulse:
    """One pulse each to devices drawn at random, of random amplitude.

    Args:
        info: The core.
        family: Pulse family; None is the first that the core offers.
        few: At most FEW devices, of the block; else up to 200 anywhere.
    """
    rng = np.random.default_rng(_SEED)
    limits = info.pulses[0] if family is None else info.limits(family)
    assert limits is not None  # noqa: S101 - asked for by a test that has looked
    every = block_places(info) if few else array_places(info)
    count = min(FEW if few else _MANY, info.max_pulses, every[0].size)
    chosen = rng.choice(every[0].size, count, replace=False)
    device, rows, cols = (place[chosen] for place in every)
    scale = limits.amplitude
    return Pulse.of(
        limits.family,
        device=device,
        rows=rows,
        cols=cols,
        amplitude=rng.integers(scale.min_code, scale.max_code + 1, count),
        width=limits.width.min_code,
    )


def one_pulse(info: CoreInfo, **changes: npt.ArrayLike) -> Pulse:
    """One weakest pulse to the last cell; `changes` replace arguments of `Pulse.of`."""
    limits = info.pulses[0]
    given: dict[str, npt.ArrayLike] = {
        "device": 0,
        "rows": info.rows - 1,
        "cols": info.cols - 1,
        "amplitude": limits.amplitude.min_code,
        "width": limits.width.min_code,
        "count": 1,
    }
    return Pulse.of(limits.family, **{**given, **changes})
