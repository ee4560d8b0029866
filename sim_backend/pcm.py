"""PCM elements at pulse level: pulses and time in, conductance out. Knows no converter, no circuit.

State tensors are (devices, rows, cols); conductance is relative to one device's g_max. A RESET
pulse (amplitude-coded melt-quench) overwrites the state along the device's own curve; a short SET
pulse adds an increment (Nandakumar et al., J. Appl. Phys. 124, 152135, 2018); a long one sets
fully. After a pulse the state relaxes in log time up to t0 and drifts by the published law from
there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sim_backend.device_array import HoldTimes, Index, Place
from sim_backend.effects import Effects
from sim_backend.endurance import Endurance
from sim_backend.incremental_set import SET_DECAY, SET_FLOOR_MICROSIEMENS, set_increment
from sim_backend.read_noise import ReadNoise
from sim_backend.reset_curve import melt_quench
from sim_backend.snapshot import Snapshot
from sim_backend.thermal import KELVIN_REFERENCE, conductance_factor
from sim_backend.touched import restore_touched, snapshot_of_touched

if TYPE_CHECKING:
    from sim_backend.params import DeviceParams
    from sim_backend.streams import Streams

__all__ = ["KELVIN_REFERENCE", "Effects", "PcmArray", "Place"]

AGE_AT_DELIVERY_S = 1e6
"""Devices come in the RESET state, last pulsed this long before the chip was opened [asm]."""

Devices = Float[Tensor, "devices rows cols"]


class PcmArray:
    """The devices of one core.

    Args:
        params: Device physics and spreads.
        shape: (devices per cell, rows, cols).
        streams: Named random streams; fabrication is drawn on the CPU whatever computes.
        device: Where the tensors live.
        effects: Which effects are on.
    """

    def __init__(
        self,
        params: DeviceParams,
        shape: tuple[int, int, int],
        streams: Streams,
        device: torch.device,
        effects: Effects,
    ) -> None:
        self._params = params
        self._law = params.law
        self._streams = streams
        self._effects = effects
        made = streams.on_cpu("fabrication")

        def normal() -> Devices:
            drawn = torch.randn(shape, generator=made)
            return drawn.to(device) if effects.spread else torch.zeros(shape, device=device)

        self._g_set: Devices = params.set_median * torch.exp(params.set_sigma_ln * normal())
        self._i50: Devices = params.i50_ampere * (1 + params.i50_sigma * normal())
        slope = params.slope_ampere * (1 + params.slope_sigma * normal())
        self._slope: Devices = slope.clamp(min=0.2 * params.slope_ampere)
        self._z_nu: Devices = normal()
        chance = torch.rand(shape, generator=made).to(device)
        dead = effects.stuck
        stuck_set = (chance < params.stuck_set) & dead
        stuck_reset = (chance > 1 - params.stuck_reset) & dead
        self.stuck: Bool[Tensor, "devices rows cols"] = stuck_set | stuck_reset
        self._stuck_set, self._moved = stuck_set, ~self.stuck
        self._endurance = Endurance(params, shape, streams, device) if effects.wear else None
        at_reset = params.law.programming_sigma(torch.zeros((), dtype=torch.float64))
        spread = float(at_reset) * normal()
        reset_state = (params.reset_floor + spread).clamp(min=0.0)
        self._g: Devices = torch.where(stuck_set, self._g_set, reset_state)
        self._delta: Devices = torch.zeros_like(self._g)
        self._set_p: Devices = torch.ones_like(self._g)
        self._pulsed_at_s: Tensor = torch.full(
            shape, -AGE_AT_DELIVERY_S, dtype=torch.float64, device=device
        )
        self._nu: Devices = self._law.drift_exponent(self._g, self._z_nu)
        self._q: Devices = self._law.read_noise_q(self._g)
        self.pulses: Int[Tensor, "devices rows cols"] = torch.zeros(
            shape, dtype=torch.int64, device=device
        )
        self._youngest_s = -AGE_AT_DELIVERY_S
        self._noise = ReadNoise(params.law, shape, streams, device)
        knots = torch.tensor(params.relaxation, device=device)
        self._relax_r, self._relax_sigma = knots[:, 0].contiguous(), knots[:, 1].contiguous()

    def snapshot(self) -> Snapshot:
        """State of every device that was ever pulsed, (n,) each; the others are as fabricated."""
        return snapshot_of_touched(self._changing(), self.pulses, self._youngest_s)

    def restore(self, kept: Snapshot) -> None:
        """Take over the state of such an array, freshly fabricated from the same seed.

        Raises:
            RecordError: It is the state of another kind of array.
        """
        touched, self._youngest_s = restore_touched(kept, self._changing(), self.stuck)
        device, rows, cols = torch.nonzero(touched & ~self.stuck, as_tuple=True)
        self._begin_trajectories((device, rows, cols))
        if self._endurance is not None:
            self.stuck = self.stuck | self._endurance.has_ended(self.pulses)

    def _changing(self) -> dict[str, Tensor]:
        """What pulses change, all (devices, rows, cols)."""
        return {
            "g": self._g,
            "delta": self._delta,
            "set_p": self._set_p,
            "pulsed_at_s": self._pulsed_at_s,
            "nu": self._nu,
            "q": self._q,
            "pulses": self.pulses,
        }

    @property
    def worn(self) -> Bool[Tensor, "devices rows cols"]:
        """Devices that are stuck since they had more pulses than they survive."""
        if self._endurance is None:
            return torch.zeros_like(self.stuck)
        return self._endurance.has_ended(self.pulses) & self._moved

    @property
    def ends_set(self) -> Bool[Tensor, "devices rows cols"]:
        """Where stuck devices are: at SET, else at RESET."""
        if self._endurance is None:
            return self._stuck_set
        return torch.where(self.worn, self._endurance.ends_set, self._stuck_set)

    @property
    def set_state(self) -> Devices:
        """Conductance of every device after a long SET pulse, over g_max, without cycle noise."""
        return self._g_set

    def log_age(self, now_s: float) -> float:
        """Return ln(age + t_read) of the device pulsed last: it grows fastest of all ages."""
        return math.log(max(now_s - self._youngest_s, 0.0) + self._law.t_read_s)

    def reset(
        self,
        place: Place,
        amplitude_ampere: Float[Tensor, " n"],
        count: Index,
        at_s: Float[Tensor, " n"],
    ) -> None:
        """Melt-quench: overwrite the state of each listed device along its own curve.

        Only the last of `count` pulses matters to the state. Cycle noise is the published
        programming error (assumed, no public statistics of G against RESET amplitude exist).
        Devices that are stuck stay as they are; their pulses count all the same. One that has had
        all that it survives is stuck from then on.

        Args:
            place: Which devices; none twice.
            amplitude_ampere: Pulse amplitude, A.
            count: Pulses per entry; the wear counter grows by it.
            at_s: Device time at which each entry's last pulse ends, s.
        """
        aimed = melt_quench(
            amplitude_ampere,
            g_set=self._g_set[place],
            i50=self._i50[place],
            slope=self._slope[place],
            floor=self._params.reset_floor,
        )
        z, z_relax = self._draws("programming", aimed.shape[0])
        landed = aimed + self._law.programming_sigma(aimed) * z if self._effects.cycle else aimed
        self._write(place, landed.clamp(min=0.0), z_relax, count, at_s)
        self._set_p[place] = 1.0

    def set_fully(self, place: Place, count: Index, at_s: Float[Tensor, " n"]) -> None:
        """Crystallise each listed device to its own SET conductance; no relaxation follows.

        Args:
            place: Which devices; none twice.
            count: Pulses per entry; the wear counter grows by it.
            at_s: Device time at which each entry's last pulse ends, s.
        """
        g_set = self._g_set[place]
        z, _ = self._draws("programming", g_set.shape[0])
        if self._effects.cycle:
            g_set = g_set * (1 + self._params.set_cycle_sigma * z)
        self._write(place, g_set.clamp(min=0.0), None, count, at_s)
        self._set_p[place] = 0.0

    def set_step(
        self,
        place: Place,
        count: Index,
        at_s: Float[Tensor, " n"],
        now_s: float,
    ) -> None:
        """Add `count` incremental SET pulses to each listed device (Nandakumar JAP 2018).

        G is clipped to 0.1...12 µS or the SET state. A device above that ceiling is not lowered to
        it. The steps (see `incremental_set`) start from the conductance the
        device has at `now_s`; those of one entry follow each other at once.

        Args:
            place: Which devices; none twice.
            count: Pulses per entry, 1 or more.
            at_s: Device time at which each entry's last pulse ends, s.
            now_s: Device time before the first pulse, s.
        """
        unit = self._params.g_max_microsiemens
        g = self.conductance(now_s)[place] * unit
        p = self._set_p[place]
        ceiling = torch.clamp(self._g_set[place] * unit, max=self._params.set_ceiling_microsiemens)
        for pulse in range(int(count.max())):  # at most info.pulses max_count rounds
            active = count > pulse
            z, _ = self._draws("programming", g.shape[0])
            p = torch.where(active, p * SET_DECAY, p)
            step, sigma = set_increment(g, p)
            if self._effects.cycle:
                step = step + sigma * z
            moved = torch.minimum(g + step, torch.maximum(ceiling, g))
            moved = moved.clamp(min=SET_FLOOR_MICROSIEMENS)
            g = torch.where(active, moved, g)
        alive = ~self.stuck[place]
        self._set_p[place] = torch.where(alive, p, self._set_p[place])
        self._write(place, g / unit, None, count, at_s)

    def conductance(self, now_s: float, kelvin: float = KELVIN_REFERENCE) -> Devices:
        """Return the conductance of every device at `now_s`, without read noise, over g_max.

        Between pulse and t0 a RESET state relaxes by a deviate of its own in log time
        [asm; fitted, see decision 0009]; from t0 on it falls as (T / t0)^-nu.
        """
        age = (now_s - self._pulsed_at_s).to(torch.float32).clamp(min=0.0)
        g = self._g
        if self._effects.relaxation:
            tau, t0 = self._law.t_read_s, self._law.t0_s
            progress = torch.log1p(age / tau) / math.log1p(t0 / tau)
            g = g + self._delta * progress.clamp(max=1.0)
        g = g.clamp(min=0.0)
        if self._effects.drift:
            g = g * torch.exp(-self._nu * self._law.log_drift(age))
        if kelvin != KELVIN_REFERENCE:
            energy = self._params.activation_ev
            g = g * conductance_factor(self._g / self._g_set, kelvin, activation_ev=energy)
        return g

    def read_sigma(self, g: Devices, now_s: float) -> Devices:
        """Return the standard deviation of one read: g Q sqrt(ln((T + t_r) / (2 t_r))), over g_max.

        The law is that of the published statistics (`laws`); `g` is the conductance at `now_s`.
        """
        age = (now_s - self._pulsed_at_s).to(torch.float32)
        return self.noise_amplitude(g) * torch.sqrt(self._law.log_law(age))

    def noise_amplitude(self, g: Devices) -> Devices:
        """Return the unit of read noise of every device at conductance `g`: g Q, over g_max."""
        return g * self._q if self._effects.read_noise else torch.zeros_like(g)

    def hold_times(self, now_s: float) -> HoldTimes:
        """Return ln of the longest time, s, for which noise of every device is held at its age."""
        return self._noise.hold_times(now_s - self._pulsed_at_s)

    def held_noise(self, now_s: float, hold_times: HoldTimes) -> Devices | None:
        """Return noise that every device keeps for a millisecond or longer, in its units.

        It is the same within one millisecond of the clock. None where read noise is off.
        """
        return self._noise.held(now_s, hold_times) if self._effects.read_noise else None

    def fresh_variance(self) -> float:
        """Variance of the noise that changes within a millisecond, in squared units of a device."""
        return self._noise.fresh_variance()

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
        """Read the listed devices: mean of `samples` reads a slot apart, the last one at `now_s`.

        Relative to g_max, with a deviate `z` each. Averaging takes away only the noise that changes
        meanwhile.
        """
        g = self.conductance(now_s, kelvin)
        if not self._effects.read_noise:
            return g[place]
        noise = self._noise.read(
            place, now_s, z, hold_times=self.hold_times(now_s), samples=samples, slot_s=slot_s
        )
        return (g[place] + self.noise_amplitude(g)[place] * noise).clamp(min=0.0)

    def _begin_trajectories(self, place: Place) -> None:
        """Give each listed device the noise that belongs to the pulses that have moved it."""
        if self._effects.read_noise:
            lives = self.pulses[place]
            if self._endurance is not None:
                last = self._endurance.pulses[place].to(torch.int64) + 1
                lives = torch.minimum(lives, last)
            self._noise.begin(place, lives)

    def _draws(self, name: str, n: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Two deviates per entry, always drawn, so that no effect moves another's stream."""
        z = torch.randn((2, n), generator=self._streams[name], device=self._g.device)
        return z[0], z[1]

    def _write(
        self,
        place: Place,
        landed: Float[Tensor, " n"],
        z_relax: Float[Tensor, " n"] | None,
        count: Index,
        at_s: Float[Tensor, " n"],
    ) -> None:
        alive = ~self.stuck[place]
        self.pulses[place] += count
        self._youngest_s = max(self._youngest_s, float(at_s.max()))
        if z_relax is None:
            delta = torch.zeros_like(landed)
        else:
            delta = self._relaxation_sigma(landed) * z_relax
        if self._endurance is not None:
            failed = alive & (self.pulses[place] > self._endurance.pulses[place])
            if bool(failed.any()):
                ends_set, floor = self._endurance.ends_set[place], self._params.reset_floor
                landed = torch.where(
                    failed, torch.where(ends_set, self._g_set[place], floor), landed
                )
                delta = torch.where(failed, 0.0, delta)
                self.stuck[place] |= failed
        device, rows, cols = place
        place = (device[alive], rows[alive], cols[alive])
        landed, delta = landed[alive], delta[alive]
        self._g[place] = landed
        self._delta[place] = delta
        self._pulsed_at_s[place] = at_s[alive]
        self._nu[place] = self._law.drift_exponent(landed, self._z_nu[place])
        self._q[place] = self._law.read_noise_q(landed)
        self._begin_trajectories(place)

    def _relaxation_sigma(self, r: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Interpolate the relaxation knots linearly; the last one holds beyond."""
        x, y = self._relax_r, self._relax_sigma
        high = torch.searchsorted(x, r.contiguous()).clamp(1, x.shape[0] - 1)
        low = high - 1
        share = ((r - x[low]) / (x[high] - x[low])).clamp(0.0, 1.0)
        return y[low] + share * (y[high] - y[low])
