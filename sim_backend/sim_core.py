"""A simulated core: verbs, clock and counters. Physics lives in the array behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.core import (
    CellRead,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
)
from sim_backend.snapshot import Snapshot

if TYPE_CHECKING:
    from hil.info import CoreInfo
    from sim_backend.clock import Clock

__all__ = ["Array", "SimCore"]

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


@runtime_checkable
class Array(Protocol):
    """What stands behind a simulated core's verbs. Requests are checked before they come here."""

    @property
    def settings(self) -> CoreSettings:
        """Settings in force."""
        ...

    def configure(self, new: CoreSettings) -> None:
        """Take the fields that are given."""
        ...

    def program(self, pulse: Pulse, at_s: npt.NDArray[np.float64]) -> None:
        """Apply pulses; `at_s` (n,) is the device time at which each entry's last pulse ends, s."""
        ...

    def read(self, request: CellRead, now_s: float) -> tuple[IntArray, BoolArray]:
        """Return codes and saturation of the listed devices, (n,) each."""
        ...

    def mvm(self, request: MvmRequest, now_s: float) -> tuple[IntArray, BoolArray]:
        """Return output codes and saturation, (batch, outputs) each."""
        ...

    def snapshot(self) -> Snapshot:
        """Return all that verbs have changed since fabrication."""
        ...

    def restore(self, kept: Snapshot) -> None:
        """Take over a snapshot of such an array; RecordError if it is of another kind."""
        ...


class SimCore(Core):
    """One simulated core. Its array holds the physics; its chip's clock holds the time."""

    def __init__(self, info: CoreInfo, array: Array, clock: Clock) -> None:
        super().__init__(info)
        self.array = array
        self._clock = clock
        self._pulses = self._reads = self._mvms = self._generation = 0
        self._last_pulse_s: float | None = None
        self._safe = False

    def snapshot(self) -> Snapshot:
        """Return all that verbs have changed since fabrication, but for the chip's clock."""
        counters = {
            "pulses": self._pulses,
            "reads": self._reads,
            "mvms": self._mvms,
            "generation": self._generation,
            "last_pulse_at_s": self._last_pulse_s,
            "safe": int(self._safe),
        }
        return Snapshot(values=counters).with_parts(array=self.array.snapshot())

    def restore(self, kept: Snapshot) -> None:
        """Take over a snapshot of such a core; RecordError if it is of another kind."""
        self.array.restore(kept.part("array"))
        self._pulses, self._reads = kept.integer("pulses"), kept.integer("reads")
        self._mvms, self._generation = kept.integer("mvms"), kept.integer("generation")
        self._last_pulse_s = kept.number_or_none("last_pulse_at_s")
        self._safe = bool(kept.integer("safe"))

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        limits = self.info.limits(pulse.family)
        assert limits is not None  # noqa: S101 - checked by the public verb
        if len(pulse):
            group, groups = self._groups(pulse.device, pulse.rows, pulse.cols)
            slot = limits.slot_s * int(pulse.count.max())
            at_s = self._clock.now_s + slot * (group.astype(np.float64) + 1.0)
            self.array.program(pulse, at_s)
            self._last_pulse_s = self._clock.advance(slot * groups)
            self._generation += 1
        self._pulses += pulse.total
        return ProgramResult(outcome=Outcome.DONE, pulses=pulse.total, at_s=self._clock.now_s)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        _, groups = self._groups(request.device, request.rows, request.cols)
        now = self._clock.advance(self.info.read_slot_s * groups * request.averages)
        codes, saturated = self.array.read(request, now)
        self._reads += len(request) * request.averages
        return ReadResult(
            codes=codes, saturated=saturated, temperature_kelvin=self._kelvin, at_s=now
        )

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        batch = request.input_codes.shape[0]
        mode = request.mode or min(self.info.mvm_s, key=self.info.mvm_s.__getitem__)
        now = self._clock.advance(self.info.mvm_s[mode] * batch)
        codes, saturated = self.array.mvm(request, now)
        self._mvms += batch
        return MvmResult(
            output_codes=codes, saturated=saturated, temperature_kelvin=self._kelvin, at_s=now
        )

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self.array.configure(settings)
        self._safe = False

    @override
    def _do_settings(self) -> CoreSettings:
        return self.array.settings

    @override
    def _do_status(self) -> CoreStatus:
        return CoreStatus(
            now_s=self._clock.now_s,
            temperature_kelvin=self._kelvin,
            pulses=self._pulses,
            reads=self._reads,
            mvms=self._mvms,
            last_pulse_at_s=self._last_pulse_s,
            generation=self._generation,
            safe=self._safe,
        )

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._clock.advance(seconds)

    @override
    def _do_now_s(self) -> float:
        return self._clock.now_s

    @override
    def _do_safe_state(self) -> None:
        self._safe = True

    @property
    def _kelvin(self) -> float:
        kelvin = self.array.settings.temperature_kelvin
        assert kelvin is not None  # noqa: S101 - every array has a temperature
        return kelvin

    def _groups(
        self, device: IntArray, rows: IntArray, cols: IntArray
    ) -> tuple[npt.NDArray[np.intp], int]:
        """Parallel groups: one device index on one array diagonal at a time (HERMES)."""
        side = max(self.info.rows, self.info.cols)
        key = device.astype(np.int64) * side + (cols.astype(np.int64) - rows) % side
        used = np.zeros(self.info.devices_per_cell * side, np.bool_)
        used[key] = True
        rank = np.cumsum(used) - 1
        return rank[key], int(used.sum())
