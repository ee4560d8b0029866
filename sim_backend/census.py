"""How many devices of a chip cannot be programmed, and why: counted, and as expected. No state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim_backend.params import DeviceParams
    from sim_backend.pcm import PcmArray

__all__ = ["Census", "count", "expected_shares"]


@dataclass(frozen=True, kw_only=True)
class Census:
    """Devices, or shares of them, that no pulse or not every pulse moves.

    Attributes:
        stuck_set, stuck_reset: Stuck from the beginning, at SET and at RESET.
        worn_set, worn_reset: Stuck since they wore out.
        unreachable: Devices that work, but whose SET state is below g_max: they hold no full
            weight. On the HERMES chip 0.1-1.6 % of the cells were not programmable [pub2].
    """

    stuck_set: float
    stuck_reset: float
    worn_set: float
    worn_reset: float
    unreachable: float


def count(pcm: PcmArray) -> Census:
    """Count the devices of one core as they are now."""
    at_set, worn, stuck = pcm.ends_set, pcm.worn, pcm.stuck
    first = stuck & ~worn
    return Census(
        stuck_set=float((first & at_set).sum()),
        stuck_reset=float((first & ~at_set).sum()),
        worn_set=float((worn & at_set).sum()),
        worn_reset=float((worn & ~at_set).sum()),
        unreachable=float(((pcm.set_state < 1.0) & ~stuck).sum()),
    )


def expected_shares(params: DeviceParams) -> Census:
    """Shares of the devices of a type that was never pulsed."""
    below = math.log(1.0 / params.set_median) / params.set_sigma_ln
    working = 1.0 - params.stuck_set - params.stuck_reset
    return Census(
        stuck_set=params.stuck_set,
        stuck_reset=params.stuck_reset,
        worn_set=0.0,
        worn_reset=0.0,
        unreachable=working * 0.5 * math.erfc(-below / math.sqrt(2.0)),
    )
