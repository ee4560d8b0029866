"""What a fit will do: block, pulses of each kind, ages, and what that costs. Knows no core."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hil.errors import RequestError
from hil.fitting.trajectory_laws import LADDER
from hil.info import PulseFamily

if TYPE_CHECKING:
    import numpy.typing as npt

    from hil.info import CoreInfo

__all__ = ["Effort", "FitPlan"]

DEVICES = 8192
"""Devices that a fit uses where the block is not given."""
QUICK_DEVICES = 2048
BLOCK_COLS = 64
SETTLE_S = 0.01
"""Time from a pulse to its read, s: a hundred times the time in which a block is pulsed."""
LONGEST_OVER_T0 = 500.0
"""Drift is followed up to this many reference ages where the time is not given."""
FEWEST_DEVICES = 256


class Effort(StrEnum):
    """How much is measured."""

    FULL = "full"
    QUICK = "quick"
    """A quarter of the devices, fewer amplitudes and ages: wider intervals."""


class FitPlan(BaseModel):
    """What is measured on one core.

    Attributes:
        core: Index of the core.
        rows, cols: Block, from row 0 and col 0; all devices of its cells are used.
        devices: Devices in it.
        most_code: Highest amplitude code that is used.
        vectors: Reference and zero vectors for the converters.
        set_cycles: Full SET pulses per device.
        coarse, fine, repeats: Amplitudes of the first sweep; of the second, and how often.
        step_devices, step_pulses: Incremental SET: devices, pulses each.
        settle_s: Time from a pulse to its read, s.
        ages_s: Ages at which the ladder is read, s.
        ladder: Lowest and highest conductance aimed at in the ladder, over g_max.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=1)]
    cols: Annotated[int, Field(ge=1)]
    devices: int
    most_code: int
    vectors: int
    set_cycles: int
    coarse: int
    fine: int
    repeats: int
    step_devices: int
    step_pulses: int
    settle_s: float
    ages_s: tuple[float, ...]
    ladder: tuple[float, float] = (0.6 * LADDER[0], 1.3 * LADDER[1])

    @classmethod
    def of(
        cls,
        info: CoreInfo,
        *,
        effort: Effort = Effort.FULL,
        rows: int | None = None,
        cols: int | None = None,
        longest_s: float | None = None,
        most_code: int | None = None,
    ) -> Self:
        """Plan a fit of a core.

        Args:
            info: The core.
            effort: How much to measure.
            rows, cols: Block; None takes as many cells as give enough devices.
            longest_s: Age up to which drift is followed, s; None is 500 reference ages.
            most_code: Highest amplitude code allowed; None is the core's.

        Raises:
            RequestError: The block is larger than the core, or too small; the age is too short.
        """
        quick, t0 = effort is Effort.QUICK, info.device.reference_age_s
        width = cols or min(info.cols, BLOCK_COLS)
        wanted = (QUICK_DEVICES if quick else DEVICES) / (width * info.devices_per_cell)
        height = rows or min(info.rows, max(1, round(wanted)))
        if width > info.cols or height > info.rows:
            raise RequestError(
                f"block {height} x {width} is larger than the core's {info.rows} x {info.cols} "
                "(info.rows, info.cols)"
            )
        devices = height * width * info.devices_per_cell
        if devices < FEWEST_DEVICES:
            raise RequestError(
                f"block {height} x {width} has {devices} devices; statistics need "
                f"{FEWEST_DEVICES} or more: give a larger block"
            )
        longest = LONGEST_OVER_T0 * t0 if longest_s is None else longest_s
        if not 10 * t0 <= longest <= 1e9:
            raise RequestError(
                f"longest age {longest:g} s is outside {10 * t0:g}...1e9 s: drift needs ten "
                f"reference ages ({t0:g} s) or more to be told from noise"
            )
        late = np.geomspace(1.8 * t0, longest, 8 if quick else 12)
        early = np.geomspace(SETTLE_S, t0, 8 if quick else 12)
        limits = info.limits(PulseFamily.RESET)
        highest = 0 if limits is None else limits.amplitude.max_code
        return cls(
            core=info.core,
            rows=height,
            cols=width,
            devices=devices,
            most_code=highest if most_code is None else min(most_code, highest),
            vectors=512 if quick else 1024,
            set_cycles=4,
            coarse=10 if quick else 12,
            fine=10,
            repeats=2 if quick else 3,
            step_devices=min(devices, 1024 if quick else 2048),
            step_pulses=10,
            settle_s=SETTLE_S,
            ages_s=(*map(float, early), *map(float, late)),
        )

    @property
    def pulses(self) -> int:
        """Pulses of the whole fit."""
        each = self.set_cycles + self.coarse + self.fine * self.repeats + 1
        return each * self.devices + (self.step_pulses + 1) * self.step_devices

    @property
    def most_per_device(self) -> int:
        """Most pulses that one device gets."""
        each = self.set_cycles + self.coarse + self.fine * self.repeats + 1
        return each + self.step_pulses + 1

    @property
    def reads(self) -> int:
        """Device reads of the whole fit."""
        each = self.set_cycles + self.coarse + self.fine * self.repeats + 2 + len(self.ages_s)
        return each * self.devices + (self.step_pulses + 1) * self.step_devices

    def chip_s(self, info: CoreInfo) -> float:
        """Time that the fit takes on the chip, s; nearly all of it is waiting for drift."""
        lines = self.rows + self.cols - 1
        groups = info.devices_per_cell * min(lines, max(info.rows, info.cols))
        slots = max((p.slot_s for p in info.pulses), default=0.0) + info.read_slot_s
        rounds = self.most_per_device + len(self.ages_s)
        waits = self.settle_s * self.most_per_device + self.ages_s[-1]
        return rounds * groups * slots + waits

    def coarse_codes(self, lowest: int) -> npt.NDArray[np.float64]:
        """Amplitudes of the first sweep, rising: a device may be pulsed in bounded steps only."""
        return np.rint(np.linspace(lowest, self.most_code, self.coarse))
