"""Aim between now and later: bend targets so that drift's distortion is shared. Knows no chip.

Small conductances drift faster than large ones, so a matrix that is exact at t0 is bent a day
later, and no factor per col straightens it. The bend is known from the nominal drift exponent, so
part of it can be put in beforehand, the other way. What is common to a col is left to drift
compensation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hil.info import DeviceNominal

__all__ = ["aim_for_retention"]

Array = npt.NDArray[np.float64]


def aim_for_retention(
    device: DeviceNominal, target_siemens: Array, share: float, age_s: float
) -> Array:
    """Return targets bent by `share` of the distortion that drift brings between t0 and `age_s`.

    G_aim = c G (T / t0)^(share nu(G)), with c per col such that the aim's projection on the target
    is the target; nu is the nominal exponent of a device that holds its part of G.

    Args:
        device: Nominal characteristics; without drift exponents nothing is bent.
        target_siemens: Signed targets, S, (rows, cols).
        share: 0 leaves them, 1 makes them exact (up to a factor per col) at `age_s`.
        age_s: The later age, s; at or before t0 nothing is bent.
    """
    later = np.log(max(age_s / device.reference_age_s, 1.0))
    if share == 0.0 or later == 0.0 or not device.drift_exponents:
        return target_siemens
    limit = device.g_max_siemens
    nu = np.interp(np.abs(target_siemens) / limit, device.drift_relative, device.drift_exponents)
    bent = target_siemens * np.exp(share * later * nu)
    power = np.einsum("rc,rc->c", bent, bent)
    scale = np.einsum("rc,rc->c", bent, target_siemens) / np.where(power > 0, power, 1.0)
    return np.asarray(np.clip(bent * scale, -limit, limit), np.float64)
