"""Several devices per polarity: which stay at SET, which is programmed. Pure; knows no pulses.

SET and RESET are the stable states of a PCM element, so as many devices as possible stay in one of
them and at most one per polarity is analog: the two-device rule of Vasilopoulos et al. (IEEE TED
2023), written for any number of devices (US 12,254,222).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SetDivision", "divide_over_set_devices"]

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class SetDivision:
    """What becomes of devices that are all at SET.

    Attributes:
        keep: Leave at SET, (devices, cells).
        target_siemens: Conductance of each device, S, (devices, cells): as read where it is kept,
            the remainder for the one to program, 0 for those to RESET.
        fits: The devices together reach the target, (cells,).
    """

    keep: BoolArray
    target_siemens: Array
    fits: BoolArray


def divide_over_set_devices(
    set_siemens: Array, saturated: BoolArray, target_siemens: Array
) -> SetDivision:
    """Divide a target over devices at SET, largest first; for two devices G, g_max, g_min.

    1. g_min + g_max < G: does not fit; both stay at SET.
    2. else g_max < G: the larger stays at SET, the smaller is programmed to G - g_max.
    3. else: the larger is programmed to G, the smaller is RESET.

    What a device above the read range would add if it stayed at SET is not known. Where G needs
    one to stay, those in range stay instead, and those above share the remainder equally.

    Args:
        set_siemens: Measured conductance of each device at SET, S, (devices, cells).
        saturated: The measurement is above the read range, (devices, cells).
        target_siemens: Target of the polarity, S, (cells,).
    """
    seen = np.maximum(set_siemens, 0.0)
    division = _largest_first(seen, -seen, target_siemens)
    unknown = (division.keep & saturated).any(axis=0)
    if not unknown.any():
        return division
    known_first = _largest_first(seen, np.where(saturated, np.inf, -seen), target_siemens)
    kept = known_first.keep & ~saturated
    remainder = target_siemens - np.where(kept, seen, 0.0).sum(axis=0)
    shared = (known_first.keep & saturated).any(axis=0)
    part = np.where(saturated, remainder / np.maximum(saturated.sum(axis=0), 1), 0.0)
    target = np.where(shared & ~kept, part, known_first.target_siemens)
    return SetDivision(
        keep=np.where(unknown, kept, division.keep),
        target_siemens=np.where(unknown, target, division.target_siemens),
        fits=division.fits | unknown,
    )


def _largest_first(seen: Array, key: Array, target_siemens: Array) -> SetDivision:
    """Keep devices in rising order of `key` while they stay below the target together."""
    order = np.argsort(key, axis=0, kind="stable")
    ranked = np.take_along_axis(seen, order, axis=0)
    upto = np.cumsum(ranked, axis=0)
    before = np.concatenate([np.zeros_like(upto[:1]), upto[:-1]])
    fits = upto[-1] >= target_siemens
    keep = upto < target_siemens
    target = np.where(keep, ranked, np.maximum(target_siemens - before, 0.0))
    back = np.argsort(order, axis=0, kind="stable")
    return SetDivision(
        keep=np.take_along_axis(keep, back, axis=0),
        target_siemens=np.take_along_axis(target, back, axis=0),
        fits=fits,
    )
