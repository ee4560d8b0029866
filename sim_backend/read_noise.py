"""1/f read noise of the devices of one core: what a read adds, and what an MVM finds held.

In units of a device (its conductance times Q). The trajectories are `flicker`'s; here they meet
device numbers, ages and reads. Knows no conductance and no pulse.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.flicker import HOLD_TIMES_FREQUENCY, MATRIX_HOLD_S, Band, FlickerNoise

if TYPE_CHECKING:
    from sim_backend.device_array import HoldTimes, Index, Place
    from sim_backend.laws import StatisticalLaw
    from sim_backend.streams import Streams

__all__ = ["ReadNoise"]

HOLD_TIME_STEPS = 256
"""Steps per e-fold of age in which noise takes in slower components."""


class ReadNoise:
    """Trajectories of the devices of one core.

    Args:
        law: Gives read time, t0 and what an age counts as.
        shape: (devices per cell, rows, cols).
        streams: Give the key of the trajectories.
        device: Where tensors live.
    """

    def __init__(
        self,
        law: StatisticalLaw,
        shape: tuple[int, int, int],
        streams: Streams,
        device: torch.device,
    ) -> None:
        self._law, self._shape, self._device = law, shape, device
        self._band = Band(t_read_s=law.t_read_s)
        self._flicker = FlickerNoise(shape=shape, band=self._band, key=streams.key("flicker"))

    def begin(self, place: Place, lives: Index) -> None:
        """Give each listed device the trajectory of a device that so many pulses have moved."""
        self._flicker.begin(self._numbers(place), lives.cpu().numpy())

    def hold_times(self, ages_s: Float[Tensor, "devices rows cols"]) -> HoldTimes:
        """Return ln of the longest time, s, for which noise of devices of these ages is held.

        In steps of 1/256: by them the variance grows, a fiftieth of a percent of it at most.
        """
        total_s = self._law.noise_age(ages_s.to(torch.float32)) + self._law.t_read_s
        logs = torch.log(HOLD_TIMES_FREQUENCY * total_s)
        return np.asarray((torch.round(logs * HOLD_TIME_STEPS) / HOLD_TIME_STEPS).cpu().numpy())

    def held(self, now_s: float, hold_times: HoldTimes) -> Float[Tensor, "devices rows cols"]:
        """Return what every device keeps for a millisecond or longer.

        It is the same within one millisecond of the clock.
        """
        moment_s = (math.floor(now_s / MATRIX_HOLD_S) + 0.5) * MATRIX_HOLD_S
        return torch.from_numpy(self._flicker.held(moment_s, hold_times)).to(self._device)

    def fresh_variance(self) -> float:
        """Variance of what changes within a millisecond."""
        return self._band.variance(self._law.t0_s, faster_than_s=MATRIX_HOLD_S / 2)

    def read(
        self,
        place: Place,
        now_s: float,
        z: Float[Tensor, " n"],
        *,
        hold_times: HoldTimes,
        samples: int,
        slot_s: float,
    ) -> Float[Tensor, " n"]:
        """Return what the mean of `samples` reads of each device, the last one now, adds to it.

        Args:
            place: Which devices.
            now_s: Time of the last sample, s.
            z: Standard normal deviates, one each.
            hold_times: Of every device of the core, (devices, rows, cols).
            samples: Samples of each device.
            slot_s: Time from sample to sample, s.
        """
        number = self._numbers(place)
        holds = hold_times.reshape(-1)[number]
        noise = self._flicker.read(number, now_s, samples=samples, slot_s=slot_s, ln_longest=holds)
        held, fresh = (torch.from_numpy(part).to(z) for part in (noise.held, noise.fresh_variance))
        return held + torch.sqrt(fresh) * z

    def _numbers(self, place: Place) -> npt.NDArray[np.int64]:
        """Flat numbers of devices, (n,)."""
        _, rows, cols = self._shape
        device, row, col = (index.cpu().numpy() for index in place)
        return np.asarray((device * rows + row) * cols + col)
