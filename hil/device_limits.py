"""The last line of the pulse limits: what a device itself refuses, whoever asks. Knows no wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hil.amplitude_ladder import AmplitudeLadder
from hil.checks import check_pulse
from hil.pulse_limits import check_limits, limits_for, load_limits

if TYPE_CHECKING:
    from hil.info import ChipInfo
    from hil.requests import Pulse

__all__ = ["device_admission"]


def device_admission(info: ChipInfo, path: Path | None = None) -> Callable[[int, Pulse], None]:
    """Return what a device calls with core and pulses before it applies them.

    It raises RequestError for what the device's own description or its limits file forbids, and
    remembers how far each device's amplitude has climbed since the device started. Budgets are the
    host's: a device does not know its chip's life.

    Args:
        info: The chip it serves.
        path: Limits file of the device; None is that of its model.

    Raises:
        RequestError: It is no limits file of this model.
    """
    limits = limits_for(info.model, info.backend) if path is None else load_limits(path, info.model)
    ladders = [AmplitudeLadder(limits, core) for core in info.cores]

    def admit(core: int, pulse: Pulse) -> None:
        check_pulse(info.cores[core], pulse)
        check_limits(limits, info.cores[core], pulse)
        ladders[core].check(pulse)
        ladders[core].note(pulse)

    return admit
