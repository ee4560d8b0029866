"""The amplitude ladder: from a low first pulse upwards by bounded steps. Knows no core, no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.info import CoreInfo, PulseFamily
    from hil.pulse_limits import FamilyLimits, Limits
    from hil.requests import Pulse

__all__ = ["AmplitudeLadder"]

_ROUNDING = 1 + 1e-9


@final
class AmplitudeLadder:
    """Remembers the highest amplitude of each family that each device of a core has had.

    A device may be pulsed as high as the first amplitude of its family, or as high as it was
    before plus one step. What an earlier session did is not known: the ladder begins anew.
    """

    def __init__(self, limits: Limits, info: CoreInfo) -> None:
        self._limits = limits
        self._info = info
        self._reached: dict[PulseFamily, npt.NDArray[np.float64]] = {}

    def check(self, pulse: Pulse) -> None:
        """Check that no entry leaps.

        Raises:
            RequestError: A first pulse is too high, or a step too large.
        """
        found = self._rule(pulse)
        if found is None:
            return
        allowed, amplitude, reached = found
        first = allowed.first_amplitude_max_ampere
        if first is None:
            return
        before = reached[pulse.device, pulse.rows, pulse.cols]
        step = allowed.amplitude_step_max_ampere
        stepped = np.full(before.shape, np.inf) if step is None else before + step
        most = np.where(before > 0, np.maximum(first, stepped), first)
        bad = np.flatnonzero(amplitude > most * _ROUNDING)
        if bad.size:
            k = int(bad[0])
            raise RequestError(
                f"{pulse.family.value} amplitude {amplitude[k]:.6g} A for device "
                f"{pulse.device[k]} of cell ({pulse.rows[k]}, {pulse.cols[k]}) of core "
                f"{self._info.core}: after {before[k]:.6g} A in this session "
                f"{self._limits.source} allows {most[k]:.6g} A; climb in steps",
                value=float(amplitude[k]),
                limit=float(most[k]),
            )

    def note(self, pulse: Pulse) -> None:
        """Take over a request that has been let through."""
        found = self._rule(pulse)
        if found is not None:
            _, amplitude, reached = found
            np.maximum.at(reached, (pulse.device, pulse.rows, pulse.cols), amplitude)

    def _rule(
        self, pulse: Pulse
    ) -> tuple[FamilyLimits, npt.NDArray[np.float64], npt.NDArray[Any]] | None:
        allowed = (self._limits.families or {}).get(pulse.family)
        device = self._info.limits(pulse.family)
        if allowed is None or device is None or allowed.first_amplitude_max_ampere is None:
            return None
        i = self._info
        reached = self._reached.setdefault(
            pulse.family, np.zeros((i.devices_per_cell, i.rows, i.cols))
        )
        return allowed, device.amplitude.to_si(pulse.amplitude), reached
