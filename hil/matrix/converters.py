"""Trim the converters of cores before anything is programmed through them. Knows no matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hil.calibration import AdcGain, AdcOffset, CalibrationRecord, Knob, run_calibration
from hil.info import Capability
from hil.matrix.seeds import mixed_seed

if TYPE_CHECKING:
    from hil.calibration import Measurement
    from hil.core import Core
    from hil.info import CoreInfo

__all__ = ["calibrate_converters", "untrimmed"]


def calibrate_converters(cores: Iterable[Core], *, seed: int = 0) -> tuple[CalibrationRecord, ...]:
    """Trim gain, then offset, of every core that can; leave the trims in force.

    Verify reads and MVMs both pass the converters, so this comes before programming. Cells are
    not touched. Cores without trim registers are left alone.

    Args:
        cores: For example `chip.cores`.
        seed: Seeds the random stimuli; each core has its own.

    Returns:
        The records made, in the order of cores.
    """
    return tuple(
        run_calibration(core, measurement, seed=mixed_seed(seed, core.info.core, index))
        for core in cores
        for index, measurement in enumerate(_trims(core.info))
    )


def untrimmed(cores: Iterable[Core]) -> tuple[Core, ...]:
    """Return the cores with trim registers that all stand at neutral: not trimmed since power-on.

    The registers themselves are asked, so trims that a record or an earlier run has set count.
    """
    return tuple(core for core in cores if _trims(core.info) and _is_neutral(core))


def _trims(info: CoreInfo) -> tuple[Measurement, ...]:
    offers = info.capabilities
    found: list[Measurement] = []
    if {Capability.GAIN_TRIM, Capability.REFERENCE_MVM} <= offers:
        found.append(AdcGain())
    if Capability.OFFSET_TRIM in offers:
        found.append(AdcOffset())
    return tuple(found)


def _is_neutral(core: Core) -> bool:
    settings = core.settings()
    return all(
        codes is None or scale is None or not np.any(codes != Knob.register(name, scale).neutral)
        for name, codes, scale in (
            ("gain_trim", settings.gain_trim, core.info.gain_trim),
            ("offset_trim", settings.offset_trim, core.info.offset_trim),
        )
    )
