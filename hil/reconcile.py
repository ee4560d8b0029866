"""What became of a pulse request in doubt: by its device's word, its counts, its cells read back.

A RESET pulse overwrites a device, so a device that holds what another amplitude would have given
was not reached. Whoever cannot be told apart is left alone: programming measures it next and mends
it if need be. Nothing is ever sent again without such evidence. Knows no journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.core import Core
from hil.info import Capability, CoreInfo, PulseFamily
from hil.requests import CellRead, Pulse

__all__ = [
    "LEAST_AGREEMENT",
    "Evidence",
    "Found",
    "agreement",
    "misfits",
    "nominal_siemens",
    "read_back",
    "reconcile",
]

BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

MISFIT = 0.5
"""A device this far from what its pulse gives typically was not reached by it, in g_max of a
device: pulses of the modelled chips spread by 0.1...0.2 (one standard deviation)."""

LEAST_AGREEMENT = 0.5
"""Correlation between what devices hold and what their last pulses give typically, below which they
hold something else; programmed ones show 0.9 and more."""

LEAST_DEVICES = 16
"""Fewer devices have no correlation worth the name."""


class Evidence(StrEnum):
    """How an answer was found; the value is the sentence to show."""

    TOLD_NONE = "the board tells that it has applied none of its pulses"
    TOLD_ALL = "the board tells that it has applied all of its pulses"
    TOLD_SOME = "the board tells that it has applied some of its pulses; its cells were read back"
    COUNTED_NONE = "the core has counted none of its pulses"
    COUNTED_ALL = "the core has counted all of its pulses"
    COUNTED_SOME = "the core has counted some of its pulses; its cells were read back"
    READ_BACK = "the core's counts do not tell; its cells were read back"
    READ_NONE = "the core's counts do not tell; its cells hold nothing of it"
    LEFT = "neither counts nor reads tell; its cells are left to the next measurement"


_TOLD = (Evidence.TOLD_NONE, Evidence.TOLD_ALL, Evidence.TOLD_SOME)
_COUNTED = (Evidence.COUNTED_NONE, Evidence.COUNTED_ALL, Evidence.COUNTED_SOME)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What became of a request.

    Attributes:
        evidence: How it was found.
        missing: Entries that were not applied and are to be sent again, (n,).
        pulses: Pulses that are counted as applied.
        misfit_share: Share of its devices that do not hold what their pulses give; None unread.
    """

    evidence: Evidence
    missing: BoolArray
    pulses: int
    misfit_share: float | None


def reconcile(
    core: Core,
    pulse: Pulse,
    counted: int | None,
    *,
    mended: BoolArray | None = None,
    first: bool = False,
    told: int | None = None,
) -> Found:
    """Find out which entries of a pulse request in doubt were not applied; sends no pulse.

    Args:
        core: The core it was sent to.
        pulse: The request.
        counted: Pulses that the core has counted beyond those that are known; None if its counts
            do not tell (it was restarted).
        mended: Entries that a later request has written already, (n,).
        first: The run had written none of its devices before.
        told: Pulses that the device says it has applied of this very request; goes before counts.
    """
    none, all_, some = _COUNTED if told is None else _TOLD
    counted = counted if told is None else told
    free = np.ones(len(pulse), np.bool_) if mended is None else ~mended
    seen = read_back(core, pulse)
    wrong = None if seen is None else misfits(core.info, pulse, seen)
    share = None if wrong is None else float(wrong.mean()) if len(pulse) else 0.0
    if counted == 0:
        evidence, missing = none, free
    elif counted is not None and counted >= pulse.total:
        evidence, missing = all_, np.zeros(len(pulse), np.bool_)
    elif seen is None or wrong is None:
        evidence, missing = Evidence.LEFT, np.zeros(len(pulse), np.bool_)
    elif counted is None and first and _holds_nothing(core.info, pulse, seen):
        evidence, missing = Evidence.READ_NONE, free
    else:
        evidence = Evidence.READ_BACK if counted is None else some
        missing = wrong & free
    pulses = counted
    if pulses is None:
        pulses = pulse.total - pulse.part(missing).total
    return Found(evidence=evidence, missing=missing, pulses=pulses, misfit_share=share)


def read_back(core: Core, pulse: Pulse) -> Array | None:
    """Read the devices of a pulse request, S, (n,); None where single cells cannot be read."""
    if Capability.CELL_READ not in core.info.capabilities:
        return None
    if len(pulse) == 0:
        return np.zeros(0)
    request = CellRead.of(device=pulse.device, rows=pulse.rows, cols=pulse.cols)
    return np.asarray(core.info.read.to_si(core.read(request).codes), np.float64)


def misfits(info: CoreInfo, pulse: Pulse, found_siemens: Array) -> BoolArray:
    """Say which devices (n,) surely do not hold what their pulse gives typically."""
    unit = info.device.device_g_max_siemens
    if pulse.family is PulseFamily.RESET:
        wanted = nominal_siemens(info, pulse.amplitude)
        return np.asarray(np.abs(found_siemens - wanted) > MISFIT * unit)
    limits = info.limits(pulse.family)
    full = None if limits is None else limits.full_width_code
    # A partial SET adds to what was there: what it was is not known, so it is left alone.
    return np.asarray((found_siemens < MISFIT * unit) & (pulse.width == full))


def agreement(found_siemens: Array, wanted_siemens: Array) -> float | None:
    """Correlate what devices hold with what they should; None where all should hold the same."""
    if found_siemens.size < LEAST_DEVICES or np.ptp(wanted_siemens) == 0.0:
        return None
    if np.ptp(found_siemens) == 0.0:
        return 0.0
    return float(np.corrcoef(wanted_siemens, found_siemens)[0, 1])


def nominal_siemens(info: CoreInfo, amplitude: npt.NDArray[Any]) -> Array:
    """Return what RESET pulses of these amplitudes give typically, S."""
    codes, siemens = info.device.reset_amplitude_codes, info.device.reset_siemens
    nominal = np.interp(amplitude, codes, siemens)
    return np.asarray(np.minimum(nominal, info.device.device_g_max_siemens), np.float64)


def _holds_nothing(info: CoreInfo, pulse: Pulse, found_siemens: Array) -> bool:
    """Say whether a whole request has surely left no trace: a first write that never came."""
    if pulse.family is not PulseFamily.RESET:
        return False
    found = agreement(found_siemens, nominal_siemens(info, pulse.amplitude))
    return found is not None and found < LEAST_AGREEMENT
