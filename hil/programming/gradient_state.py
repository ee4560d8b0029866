"""State of gradient-descent programming, and which device answers for a cell. Sees no core.

Where a polarity has several devices, they are brought in one after another: each takes its equal
share and what those before it left wrong. A device that can do no more hands over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.programming.amplitude_search import AmplitudeSearch
from hil.programming.pulses import reset_pulses

if TYPE_CHECKING:
    from hil.core import Pulse
    from hil.info import CoreInfo
    from hil.programming.base import MvmProbe
    from hil.programming.gradient import CellErrors
    from hil.programming.pulses import ResetCurve

__all__ = [
    "GradientDescentState",
    "bring_in",
    "hand_over",
    "later_devices",
    "share_of_target",
    "turn_zeros",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientDescentState:
    """What gradient-descent programming remembers.

    Attributes:
        info, curve: The core and its nominal RESET curve.
        target_siemens: Signed aim of each cell, S, (rows, cols).
        asked_siemens: Conductance asked of each device, S, (devices, rows, cols).
        amplitude: Amplitude code of each device, not rounded, same shape.
        pulses: Pulses of the block so far.
        active: Device that answers for each cell, (rows, cols); -1 if none is left that can.
        retired: Devices that answered for their cell and no longer can, (devices, rows, cols).
        stage: Devices of a polarity brought in so far, less one.
        search: Progress of the active devices' search, (rows, cols).
        errors: What is believed of the cells' errors and the cols' gains.
        pulsed: Cells pulsed before the last probe, (rows, cols).
        probe: Inputs just sent: programming batch, then the held-out batch.
        history: Held-out errors since the coarse iterations, or since the finish began.
        finishing: Good cells are left alone from here on.
        iteration: Probes observed.
        rng: Generator state of the inputs.
    """

    info: CoreInfo
    curve: ResetCurve
    target_siemens: Array
    asked_siemens: Array
    amplitude: Array
    pulses: int
    active: npt.NDArray[np.int8]
    retired: BoolArray
    stage: int
    search: AmplitudeSearch
    errors: CellErrors
    pulsed: BoolArray
    probe: MvmProbe
    history: tuple[float, ...]
    finishing: bool
    iteration: int
    rng: dict[str, Any]


def turn_zeros(state: GradientDescentState) -> GradientDescentState:
    """Make the polarity that is too high answer for cells of target zero: to be RESET once more."""
    half = state.info.devices_per_polarity
    peer = state.iteration % half
    device = np.where(state.errors.siemens > 0, peer, half + peer)
    free = (state.target_siemens == 0) & ~state.retired.any(axis=0)
    return replace(state, active=np.where(free, device, state.active).astype(np.int8))


def later_devices(info: CoreInfo) -> IntArray:
    """Every device but the first of each polarity."""
    index = np.arange(info.devices_per_cell)
    return np.asarray(index[index % info.devices_per_polarity != 0])


def share_of_target(state: GradientDescentState) -> Array:
    """What the devices brought in so far hold together: their part of the target."""
    return state.target_siemens * ((state.stage + 1) / state.info.devices_per_polarity)


def bring_in(state: GradientDescentState) -> tuple[GradientDescentState, tuple[Pulse, ...]]:
    """Bring in the next device of each polarity: its share less the error found so far."""
    info = state.info
    half, n = info.devices_per_polarity, state.stage + 1
    first = np.where(state.target_siemens < 0, half, 0)
    rows, cols = np.nonzero((state.target_siemens != 0) & (state.active >= 0))
    place = (first[rows, cols] + n, rows, cols)
    sign = np.where(place[0] < half, 1.0, -1.0)
    wanted = (
        np.abs(state.target_siemens[rows, cols]) / half - sign * state.errors.siemens[rows, cols]
    )
    asked, amplitude = state.asked_siemens.copy(), state.amplitude.copy()
    asked[place] = np.maximum(wanted, 0.0)
    amplitude[place] = state.curve.first_amplitude(asked[place])
    active, pulsed = state.active.copy(), np.zeros(state.pulsed.shape, np.bool_)
    active[rows, cols] = place[0]
    pulsed[rows, cols] = True
    flat = np.ravel_multi_index(place, amplitude.shape)
    return replace(
        state,
        stage=n,
        asked_siemens=asked,
        amplitude=amplitude,
        active=active,
        search=AmplitudeSearch.fresh(pulsed.shape),
        pulsed=pulsed,
        pulses=state.pulses + flat.size,
    ), (reset_pulses(info, amplitude.shape, flat, amplitude[place]),)


def hand_over(state: GradientDescentState, rows: IntArray, cols: IntArray) -> GradientDescentState:
    """Give cells whose active device cannot mend them to another one that may.

    A peer of the same polarity comes first; else, for a cell too far in its own direction, a
    device of the other polarity. Cells with no such device are given up (active -1).
    """
    half = state.info.devices_per_polarity
    active, asked = state.active.copy(), state.asked_siemens.copy()
    amplitude, retired = state.amplitude.copy(), state.retired.copy()
    old = active[rows, cols].astype(np.int64)
    retired[old, rows, cols] = True
    error = state.errors.siemens[rows, cols]
    new = np.full(old.shape, -1)
    own = old // half
    too_far = np.where(own == 0, error > 0, error < 0)
    for device in reversed(range(state.info.devices_per_cell)):  # the lowest index wins
        brought_in = device % half <= state.stage
        can = ~retired[device, rows, cols] & brought_in
        mends = (device // half == own) | (too_far & (new < 0))
        prefer = (device // half == own) | (new < 0)
        new = np.where(can & mends & prefer, device, new)
    active[rows, cols] = new
    ok = new >= 0
    place = (new[ok], rows[ok], cols[ok])
    sign = np.where(new[ok] < half, 1.0, -1.0)
    before = asked[place]
    asked[place] = np.maximum(before - sign * error[ok], 0.0)
    curve = state.curve
    first = curve.first_amplitude(asked[place])
    learned = amplitude[place] + curve.amplitude(asked[place]) - curve.amplitude(before)
    learned = np.where(asked[place] > 0, learned, curve.max_code)
    amplitude[place] = np.clip(np.where(before > 0, learned, first), curve.min_code, curve.max_code)
    search = state.search.restart((rows[ok], cols[ok]))
    return replace(
        state,
        active=active,
        retired=retired,
        asked_siemens=asked,
        amplitude=amplitude,
        search=search,
    )
