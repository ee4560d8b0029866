"""The bench of a fit: the only part that touches a core. Pulses, reads and MVMs of a block.

Amplitudes are in A and codes are codes; what they mean is for the fits to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.calibration.adc_gain import AdcGain
from hil.calibration.base import Setup
from hil.core import CellRead, CoreSettings, Pulse
from hil.errors import DeviceFaultError, RequestError
from hil.fitting.converters import LevelData
from hil.info import Capability, MvmMode, PulseFamily
from hil.measure import measure_codes
from hil.requests import Outcome

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import CoreInfo, PulseLimits

__all__ = ["Bench", "Reads", "require_measurable"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reads:
    """Codes of a read of all devices of the block, (n,), where clipped, and when it ended, s."""

    codes: IntArray
    saturated: npt.NDArray[np.bool_]
    at_s: float


def require_measurable(info: CoreInfo) -> None:
    """Refuse a core that cannot be fitted.

    Raises:
        RequestError: It has no cell reads, no RESET pulses, or no SET pulse of full width.
    """
    if Capability.CELL_READ not in info.capabilities:
        raise RequestError(
            f"{info.model} cannot read single cells (info.capabilities); its devices cannot be "
            "fitted"
        )
    crystallise = info.limits(PulseFamily.SET)
    if info.limits(PulseFamily.RESET) is None or crystallise is None:
        raise RequestError(
            f"{info.model} has no RESET and SET pulses; its devices cannot be fitted"
        )
    if crystallise.full_width_code is None:
        raise RequestError(
            f"{info.model} offers no SET pulse of full width (full_width_code), so SET states "
            "cannot be measured"
        )


class Bench:
    """A block of a core: rows 0...rows-1, cols 0...cols-1, all devices of its cells.

    Args:
        core: The core; its cells are pulsed, its settings changed.
        rows, cols: Size of the block.
        most_code: Highest amplitude code to use of either family.
        settle_s: Time from a pulse to its read, s.
    """

    def __init__(
        self, core: Core, *, rows: int, cols: int, most_code: int, settle_s: float
    ) -> None:
        self.core = core
        self.info = core.info
        self.most_code = most_code
        self.settle_s = settle_s
        shape = (self.info.devices_per_cell, rows, cols)
        self.device, self.rows, self.cols = (axis.ravel() for axis in np.indices(shape))
        self.pulsed_at_s = 0.0

    def __len__(self) -> int:
        return int(self.device.size)

    def set_fully(self) -> None:
        """Crystallise every device."""
        limits = self._limits(PulseFamily.SET)
        self._pulse(PulseFamily.SET, self.most_code, limits.full_width_code or 0)

    def set_step(self, chosen: IntArray) -> None:
        """Send one incremental SET pulse, the shortest there is, to the chosen devices."""
        width = self._limits(PulseFamily.SET).width.min_code
        self._pulse(PulseFamily.SET, self.most_code, width, chosen)

    def reset(self, amplitude: npt.ArrayLike, chosen: IntArray | None = None) -> None:
        """Send one RESET pulse; amplitude codes are rounded, one for all or one per device."""
        limits = self._limits(PulseFamily.RESET)
        codes = np.clip(np.rint(amplitude), limits.amplitude.min_code, self.most_code)
        self._pulse(PulseFamily.RESET, codes.astype(np.int64), limits.width.max_code, chosen)

    def ampere(self, amplitude: npt.ArrayLike) -> Array:
        """RESET amplitude codes in A."""
        return self._limits(PulseFamily.RESET).amplitude.to_si(amplitude)

    def code_of(self, ampere: Array) -> Array:
        """RESET amplitude in codes, not rounded."""
        scale = self._limits(PulseFamily.RESET).amplitude
        return np.asarray((ampere - scale.offset) / scale.step)

    def settle(self) -> None:
        """Wait until the read after a pulse is due."""
        self.core.wait(self.settle_s)

    def read(self, chosen: IntArray | None = None) -> Reads:
        """Read the devices once."""
        where = slice(None) if chosen is None else chosen
        result = self.core.read(
            CellRead.of(device=self.device[where], rows=self.rows[where], cols=self.cols[where])
        )
        return Reads(codes=result.codes, saturated=result.saturated, at_s=result.at_s)

    def trim(self, offset_trim: IntArray) -> None:
        """Set the offset trims."""
        self.core.configure(CoreSettings(offset_trim=offset_trim.astype(np.int16)))

    def zero(self, vectors: int) -> LevelData:
        """Outputs of all cols at zero input, by the reference mode where the core has it."""
        info = self.info
        mode = MvmMode.REFERENCE if Capability.REFERENCE_MVM in info.capabilities else None
        inputs = np.zeros((vectors, info.rows), info.input.dtype)
        seen = measure_codes(self.core, inputs, mode=mode)
        return LevelData(levels=np.zeros(vectors), codes=seen.codes, saturated=seen.saturated)

    def levels(self, vectors: int, rng: np.random.Generator) -> LevelData | None:
        """Outputs of the reference conductance at many levels; None where there is none."""
        info = self.info
        if Capability.REFERENCE_MVM not in info.capabilities:
            return None
        chosen = self.core.settings().output_range or 0
        setup = Setup(info=info, output_range=chosen)
        inputs = AdcGain(vectors=vectors).stimulus(setup, rng).input_codes
        seen = measure_codes(self.core, inputs, mode=MvmMode.REFERENCE)
        total = info.device.g_max_siemens * info.input.to_si(inputs).sum(axis=1)
        return LevelData(
            levels=total / seen.step_siemens, codes=seen.codes, saturated=seen.saturated
        )

    def _pulse(
        self,
        family: PulseFamily,
        amplitude: npt.ArrayLike,
        width: int,
        chosen: IntArray | None = None,
    ) -> None:
        where = np.arange(len(self)) if chosen is None else chosen
        whole = Pulse.of(
            family,
            device=self.device[where],
            rows=self.rows[where],
            cols=self.cols[where],
            amplitude=amplitude,
            width=width,
        )
        most = self.info.max_pulses
        for start in range(0, len(whole), most):
            result = self.core.program(whole.part(slice(start, start + most)))
            if result.outcome is not Outcome.DONE:
                raise DeviceFaultError(
                    f"core {self.info.core} of chip {self.info.chip_serial}: a {family.value} "
                    f"request of the fit {result.outcome.value}; the fit ends here"
                )
            self.pulsed_at_s = result.at_s

    def _limits(self, family: PulseFamily) -> PulseLimits:
        limits = self.info.limits(family)
        assert limits is not None  # noqa: S101 - require_measurable
        return limits
