"""The devices of a core behind one seam: pulses and time in, conductance out. Types only.

`PcmArray` has every pulse act on a device, `StatisticalArray` draws what programming ends in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from sim_backend.snapshot import Snapshot

__all__ = ["DeviceArray", "HoldTimes", "Index", "Place"]

Index = Int[Tensor, " n"]
Place = tuple[Index, Index, Index]
"""Which devices: device, row and col indices, (n,) each."""
HoldTimes = npt.NDArray[np.float32]
"""ln of the longest time, s, for which the read noise of each device is held."""


@runtime_checkable
class DeviceArray(Protocol):
    """Devices of one core; conductances are relative to one device's g_max.

    Attributes:
        pulses: Pulses that every device has had.
        stuck: Devices that no pulse moves.
    """

    pulses: Int[Tensor, "devices rows cols"]
    stuck: Bool[Tensor, "devices rows cols"]

    def reset(
        self,
        place: Place,
        amplitude_ampere: Float[Tensor, " n"],
        count: Index,
        at_s: Float[Tensor, " n"],
    ) -> None:
        """Overwrite the state of each listed device, none twice; `at_s` is when its pulse ends."""
        ...

    def set_fully(self, place: Place, count: Index, at_s: Float[Tensor, " n"]) -> None:
        """Crystallise each listed device, none twice; `at_s` is when its last pulse ends."""
        ...

    def set_step(self, place: Place, count: Index, at_s: Float[Tensor, " n"], now_s: float) -> None:
        """Add incremental SET pulses to each listed device, starting from its state at `now_s`."""
        ...

    def conductance(self, now_s: float, kelvin: float) -> Float[Tensor, "devices rows cols"]:
        """Return every device's conductance at `now_s`, without read noise."""
        ...

    def read_sigma(
        self, g: Float[Tensor, "devices rows cols"], now_s: float
    ) -> Float[Tensor, "devices rows cols"]:
        """Return the standard deviation of one read at `now_s` of devices that conduct `g`."""
        ...

    def noise_amplitude(
        self, g: Float[Tensor, "devices rows cols"]
    ) -> Float[Tensor, "devices rows cols"]:
        """Return the unit of read noise of every device at conductance `g`."""
        ...

    def hold_times(self, now_s: float) -> HoldTimes:
        """Return how long noise of every device is held at most at its age."""
        ...

    def held_noise(
        self, now_s: float, hold_times: HoldTimes
    ) -> Float[Tensor, "devices rows cols"] | None:
        """Return noise that devices keep for a millisecond or longer, in units; None if off."""
        ...

    def fresh_variance(self) -> float:
        """Return the variance of the noise that changes within a millisecond, in squared units."""
        ...

    def read(
        self,
        place: Place,
        now_s: float,
        z: Float[Tensor, " n"],
        *,
        kelvin: float,
        samples: int,
        slot_s: float,
    ) -> Float[Tensor, " n"]:
        """Read the listed devices: mean of `samples` reads a slot apart, the last one now."""
        ...

    def log_age(self, now_s: float) -> float:
        """Return ln(age + t_read) of the device pulsed last."""
        ...

    def snapshot(self) -> Snapshot:
        """Return what pulses have changed."""
        ...

    def restore(self, kept: Snapshot) -> None:
        """Take over the state of such an array, freshly fabricated from the same seed."""
        ...
