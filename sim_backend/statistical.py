"""PCM devices by their published statistics: target conductance in, programmed one out. No pulses.

The amplitude code of a RESET pulse is the target, so the method `open_loop` programs every device
once. What lands is drawn from the programming error that the references state for age t0 (that is,
after their own program-and-verify); from t0 on it drifts and reads scatter by the same references.
A method that reads and programs again selects among such draws and ends below the published error:
use pulse fidelity to try methods.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hil.errors import RequestError
from hil.info import CoreInfo, DeviceNominal, PulseFamily, PulseLimits
from hil.units import AMPERE, CodeScale
from sim_backend.device_array import HoldTimes, Index, Place
from sim_backend.laws import HERMES_ONE_DEVICE, HERMES_TWO_DEVICES, StatisticalLaw
from sim_backend.pcm import AGE_AT_DELIVERY_S
from sim_backend.read_noise import ReadNoise
from sim_backend.snapshot import Snapshot
from sim_backend.thermal import KELVIN_REFERENCE, conductance_factor
from sim_backend.touched import restore_touched, snapshot_of_touched

if TYPE_CHECKING:
    from sim_backend.effects import Effects
    from sim_backend.params import DeviceParams
    from sim_backend.streams import Streams

__all__ = ["StatisticalArray", "lumped_devices", "statistical_info"]

LEVELS = 1024
"""Targets from g_max (code 0) to 0 (highest code): steps of 0.1 % of g_max, a tenth of the smallest
published programming error."""
AMPERE_PER_CODE = 1e-6
"""Nominal only, so that codes have a unit: no current is modelled."""
FULL_SCALE_AMPERE = (LEVELS - 1) * AMPERE_PER_CODE
CURVE_CODES = tuple(range(0, LEVELS, 11))
"""Points of the nominal curve, which is a straight line."""

PAIR_LAWS: dict[StatisticalLaw, StatisticalLaw] = {HERMES_ONE_DEVICE: HERMES_TWO_DEVICES}
"""Published statistics of two devices of one polarity taken together, by those of one."""

Devices = Float[Tensor, "devices rows cols"]


class StatisticalArray:
    """The devices of one core.

    No device is stuck and none relaxes: the published statistics are those of devices that
    converged, at t0. Effects that are off: `cycle` lands on the target, `spread` gives every device
    the mean drift exponent.

    Args:
        params: The law, g_max and the activation energy; the rest is not used.
        shape: (devices per cell, rows, cols).
        streams: Named random streams; states at delivery are drawn on the CPU whatever computes.
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
        self._shape = shape
        drawn = torch.randn((2, *shape), generator=streams.on_cpu("fabrication")).to(device)
        self._g: Devices
        self._nu: Devices
        self._g, self._nu = self._landed(torch.zeros(shape, device=device), drawn[0], drawn[1])
        self._q: Devices = self._law.read_noise_q(self._g)
        self._noise = ReadNoise(params.law, shape, streams, device)
        self._pulsed_at_s: Tensor = torch.full(
            shape, -AGE_AT_DELIVERY_S, dtype=torch.float64, device=device
        )
        self._youngest_s = -AGE_AT_DELIVERY_S
        self.pulses: Int[Tensor, "devices rows cols"] = torch.zeros(
            shape, dtype=torch.int64, device=device
        )
        self.stuck: Bool[Tensor, "devices rows cols"] = torch.zeros(
            shape, dtype=torch.bool, device=device
        )

    def snapshot(self) -> Snapshot:
        """State of every device that was ever programmed, (n,) each."""
        return snapshot_of_touched(self._changing(), self.pulses, self._youngest_s)

    def restore(self, kept: Snapshot) -> None:
        """Take over the state of such an array, freshly fabricated from the same seed.

        Raises:
            RecordError: It is the state of another kind of array.
        """
        touched, self._youngest_s = restore_touched(kept, self._changing(), self.stuck)
        if self._effects.read_noise:
            device, rows, cols = torch.nonzero(touched, as_tuple=True)
            self._noise.begin((device, rows, cols), self.pulses[touched])

    def _changing(self) -> dict[str, Tensor]:
        return {
            "g": self._g,
            "nu": self._nu,
            "q": self._q,
            "pulsed_at_s": self._pulsed_at_s,
            "pulses": self.pulses,
        }

    def log_age(self, now_s: float) -> float:
        """Return ln(age + t_read) of the device programmed last."""
        return math.log(max(now_s - self._youngest_s, 0.0) + self._law.t_read_s)

    def reset(
        self,
        place: Place,
        amplitude_ampere: Float[Tensor, " n"],
        count: Index,
        at_s: Float[Tensor, " n"],
    ) -> None:
        """Program each listed device, none twice, to the target that its amplitude stands for."""
        self._program(place, 1.0 - amplitude_ampere / FULL_SCALE_AMPERE, count, at_s)

    def set_fully(self, place: Place, count: Index, at_s: Float[Tensor, " n"]) -> None:
        """Program each listed device, none twice, to g_max."""
        self._program(place, torch.ones_like(at_s, dtype=torch.float32), count, at_s)

    def set_step(self, place: Place, count: Index, at_s: Float[Tensor, " n"], now_s: float) -> None:
        """Refuse: statistics of programmed states say nothing of single steps."""
        raise RequestError("statistical fidelity has no incremental SET; open fidelity=pulse")

    def conductance(self, now_s: float, kelvin: float = KELVIN_REFERENCE) -> Devices:
        """Return the conductance of every device at `now_s`, without read noise, over g_max.

        Up to age t0 it is the programmed one, from there on it falls as (T / t0)^-nu.
        """
        g = self._g
        if self._effects.drift:
            g = g * torch.exp(-self._nu * self._law.log_drift(self._ages(now_s)))
        if kelvin != KELVIN_REFERENCE:
            set_share = self._g / self._params.set_median
            g = g * conductance_factor(set_share, kelvin, activation_ev=self._params.activation_ev)
        return g

    def read_sigma(self, g: Devices, now_s: float) -> Devices:
        """Return the standard deviation of one read: g Q sqrt(ln((T + t_r) / (2 t_r))), over g_max.

        Q belongs to the programmed conductance; `g` is the conductance at `now_s`.
        """
        return self.noise_amplitude(g) * torch.sqrt(self._law.log_law(self._ages(now_s)))

    def noise_amplitude(self, g: Devices) -> Devices:
        """Return the unit of read noise of every device at conductance `g`: g Q, over g_max."""
        return g * self._q if self._effects.read_noise else torch.zeros_like(g)

    def hold_times(self, now_s: float) -> HoldTimes:
        """Return ln of the longest time, s, for which noise of every device is held at its age."""
        return self._noise.hold_times(now_s - self._pulsed_at_s)

    def held_noise(self, now_s: float, hold_times: HoldTimes) -> Devices | None:
        """Return noise that every device keeps for a millisecond or longer, in its units."""
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

        Relative to g_max, with a deviate `z` each.
        """
        g = self.conductance(now_s, kelvin)
        if not self._effects.read_noise:
            return g[place]
        noise = self._noise.read(
            place, now_s, z, hold_times=self.hold_times(now_s), samples=samples, slot_s=slot_s
        )
        return (g[place] + self.noise_amplitude(g)[place] * noise).clamp(min=0.0)

    def _ages(self, now_s: float) -> Devices:
        return (now_s - self._pulsed_at_s).to(torch.float32)

    def _program(
        self, place: Place, target: Float[Tensor, " n"], count: Index, at_s: Float[Tensor, " n"]
    ) -> None:
        z = torch.randn(
            (2, target.shape[0]), generator=self._streams["programming"], device=target.device
        )
        landed, nu = self._landed(target.clamp(0.0, 1.0), z[0], z[1])
        flat = (place[0] * self._shape[1] + place[1]) * self._shape[2] + place[2]
        new = {"g": landed, "nu": nu, "q": self._law.read_noise_q(landed), "pulsed_at_s": at_s}
        for name, values in new.items():
            self._changing()[name].view(-1).index_copy_(0, flat, values)
        self.pulses.view(-1).index_add_(0, flat, count)
        if self._effects.read_noise:
            self._noise.begin(place, self.pulses[place])
        self._youngest_s = max(self._youngest_s, float(at_s.max()))

    def _landed(
        self, target: Float[Tensor, "*s"], z_g: Float[Tensor, "*s"], z_nu: Float[Tensor, "*s"]
    ) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
        """Programmed conductance and drift exponent; the exponent goes by the target."""
        g = target + self._law.programming_sigma(target) * z_g if self._effects.cycle else target
        nu = self._law.drift_exponent(target, z_nu if self._effects.spread else 0 * z_nu)
        return g.clamp(min=0.0), nu


def lumped_devices(params: DeviceParams, devices_per_polarity: int) -> DeviceParams:
    """Return the device that stands for all devices of one polarity.

    Raises:
        RequestError: There are no published statistics of that many devices together.
    """
    if devices_per_polarity == 1:
        return params
    pair = PAIR_LAWS.get(params.law)
    if devices_per_polarity != 2 or pair is None:
        raise RequestError(
            f"no statistics of {devices_per_polarity} such devices taken together are published; "
            "open it with devices=1, or with fidelity=pulse"
        )
    return replace(params, law=pair, g_max_microsiemens=pair.g_ref_microsiemens)


def statistical_info(physical: CoreInfo, devices_per_polarity: int) -> CoreInfo:
    """Describe the core that takes targets, from the description of the same array of devices.

    RESET amplitude codes are targets, g_max at code 0 and 0 at the highest; every SET pulse is
    full, so that no code asks for an incremental one. The model says how many devices of a
    polarity are one here.

    Args:
        physical: The core with `lumped_devices`, one per polarity.
        devices_per_polarity: How many devices each of them stands for.
    """
    amplitude = CodeScale(min_code=0, max_code=LEVELS - 1, step=AMPERE_PER_CODE, unit=AMPERE)
    pulses = []
    for limits in physical.pulses:
        full = limits.width.min_code if limits.family is PulseFamily.SET else None
        pulses.append(
            PulseLimits(
                family=limits.family,
                amplitude=amplitude,
                width=limits.width,
                max_count=1,
                slot_s=limits.slot_s,
                full_width_code=full,
            )
        )
    unit, top = physical.device.device_g_max_siemens, LEVELS - 1
    device = DeviceNominal.model_validate(
        physical.device.model_dump()
        | {
            "reset_amplitude_codes": CURVE_CODES,
            "reset_siemens": tuple(unit * (top - code) / top for code in CURVE_CODES),
        }
    )
    name = "statistical" if devices_per_polarity == 1 else f"statistical-{devices_per_polarity}"
    changes = {"model": f"{physical.model}-{name}", "pulses": tuple(pulses), "device": device}
    return physical.model_copy(update=changes)
