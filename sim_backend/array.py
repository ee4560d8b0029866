"""A physical array: devices, wires and converters joined into a few matrix products per batch.

The effective matrix (conductances, wire transfer, converter gain, output step) and the matrix of
read-noise variances are made once per state and reused until a pulse, a setting or ageing changes
them. Read noise that a device keeps for a millisecond or longer is in the matrix. Faster noise is
output-referred: its variance per output is x^2 @ sigma^2, computed, not sampled per device. Knows
no clock and no verbs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from hil.core import CoreSettings, Window
from hil.info import Direction, MvmMode, PulseFamily
from sim_backend.circuit_mvm import CircuitMvm
from sim_backend.converters import Codes, Mask, OutputConverter
from sim_backend.flicker import MATRIX_HOLD_S
from sim_backend.snapshot import Snapshot
from sim_backend.thermal import KELVIN_REFERENCE

if TYPE_CHECKING:
    from hil.core import CellRead, MvmRequest, Pulse
    from hil.info import CoreInfo
    from sim_backend.circuit import Wire
    from sim_backend.circuit.readout import CircuitReadout
    from sim_backend.device_array import DeviceArray, HoldTimes, Place
    from sim_backend.effects import Effects
    from sim_backend.params import ConverterParams
    from sim_backend.streams import Streams

__all__ = ["PhysicalArray"]

IntArray = npt.NDArray[np.integer[Any]]
T = TypeVar("T")

AGE_REFRESH_LN = 1e-3
"""Conductances are aged anew when ln(age + t_r) of the youngest device has grown by this much: a
relative change below 1e-4 at the largest drift exponent."""

MOST_INT16 = 32767


@dataclass(frozen=True, kw_only=True, eq=False)
class _Aged:
    """Conductances at one age without read noise, and what noise they have, relative to g_max.

    Attributes:
        unit: Unit of read noise of every device.
        hold_times: ln of the longest time for which noise is held, of every device.
        share: Transfer of the wires.
        variance: Of the noise that is fresh for every vector.
        polarity_variance: The same before the wires, of the devices of either polarity.
    """

    at_s: float
    log_age: float
    g: Float[Tensor, "devices rows cols"]
    unit: Float[Tensor, "devices rows cols"]
    hold_times: HoldTimes
    share: Float[Tensor, "rows cols"]
    variance: Float[Tensor, "rows cols"]
    variance_before_wire: Float[Tensor, "rows cols"]
    polarity_variance: Float[Tensor, "polarities rows cols"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Net:
    """Net conductances within one millisecond, with the read noise they keep for so long."""

    step: int
    net: Float[Tensor, "rows cols"]
    net_before_wire: Float[Tensor, "rows cols"]
    polarities: Float[Tensor, "polarities rows cols"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Product:
    """Input codes to output codes for one window, range and direction."""

    matrix: Float[Tensor, "n_in n_out"]
    variance: Tensor
    offset: Float[Tensor, " n_out"]


class PhysicalArray:
    """Devices, wires and converters of one core.

    Args:
        info: What the core says of itself.
        pcm: The devices.
        wire: The bit-line model.
        converters: Converter parameters.
        streams: Named random streams.
        device: Where tensors live.
        effects: Which effects are on.
        readout: Circuit by which forward MVMs are solved; None is the wire's effective matrix.
            Transposed and reference MVMs never go through it.
    """

    def __init__(
        self,
        *,
        info: CoreInfo,
        pcm: DeviceArray,
        wire: Wire,
        converters: ConverterParams,
        streams: Streams,
        device: torch.device,
        effects: Effects,
        readout: CircuitReadout | None = None,
    ) -> None:
        self._info = info
        self._pcm = pcm
        self._wire = wire
        self._streams = streams
        self._device = device
        self._effects = effects
        self._cols = OutputConverter(converters, info.cols, streams, device, effects)
        self._rows = OutputConverter(
            converters, info.rows, streams, device, effects, name="row_converter_fabrication"
        )
        self._readout = None if readout is None else CircuitMvm(readout, info, self._cols, streams)
        self._unit_siemens = info.device.device_g_max_siemens
        self._settings = CoreSettings(
            output_range=len(info.output_ranges_siemens) // 2,
            gain_trim=np.zeros(info.cols, np.int16),
            offset_trim=np.zeros(info.cols, np.int16),
            temperature_kelvin=KELVIN_REFERENCE,
        )
        self._aged: _Aged | None = None
        self._net: _Net | None = None
        self._products: dict[tuple[Window | None, Direction], _Product] = {}
        self._variances: dict[tuple[Window | None, Direction], Tensor] = {}
        # bfloat16 keeps variances within 0.4 %, far inside their published uncertainty, and is
        # several times faster where the processor multiplies it natively.
        self._variance_dtype = torch.bfloat16 if _fast_bfloat16(device) else torch.float32

    @property
    def pcm(self) -> DeviceArray:
        """The devices: what only a simulator can show."""
        return self._pcm

    def conductance_siemens(self, now_s: float) -> Float[Tensor, "devices rows cols"]:
        """True conductance of every device now, S: for statistics, never part of a result."""
        return self._pcm.conductance(now_s, self._kelvin) * self._unit_siemens

    @property
    def settings(self) -> CoreSettings:
        """Settings in force; arrays are copies."""
        s = self._settings
        assert s.gain_trim is not None and s.offset_trim is not None  # noqa: S101, PT018 - set at once
        return CoreSettings(
            output_range=s.output_range,
            gain_trim=s.gain_trim.copy(),
            offset_trim=s.offset_trim.copy(),
            temperature_kelvin=s.temperature_kelvin,
        )

    def configure(self, new: CoreSettings) -> None:
        """Take the fields that are given."""
        old = self._settings
        self._cols.trim(self._tensor(new.gain_trim), self._tensor(new.offset_trim))
        self._settings = CoreSettings(
            output_range=_given_or(new.output_range, old.output_range),
            gain_trim=_copy_or(new.gain_trim, old.gain_trim),
            offset_trim=_copy_or(new.offset_trim, old.offset_trim),
            temperature_kelvin=_given_or(new.temperature_kelvin, old.temperature_kelvin),
        )
        self._products.clear()
        self._variances.clear()
        if new.temperature_kelvin not in (None, old.temperature_kelvin):
            self._aged = None

    def snapshot(self) -> Snapshot:
        """Devices, streams, settings, and when conductances were last aged."""
        settings = self.settings
        assert settings.gain_trim is not None and settings.offset_trim is not None  # noqa: S101, PT018 - set at once
        own = Snapshot(
            values={
                "output_range": settings.output_range,
                "temperature_kelvin": settings.temperature_kelvin,
                "aged_at_s": None if self._aged is None else self._aged.at_s,
            },
            tensors={
                "gain_trim": torch.from_numpy(settings.gain_trim),
                "offset_trim": torch.from_numpy(settings.offset_trim),
            },
        )
        return own.with_parts(pcm=self._pcm.snapshot(), streams=self._streams.snapshot())

    def restore(self, kept: Snapshot) -> None:
        """Take over the state of such an array, freshly fabricated from the same seed.

        Raises:
            RecordError: It is the state of another kind of array.
        """
        trims = torch.zeros(self._info.cols, dtype=torch.int16)
        self._pcm.restore(kept.part("pcm"))
        self._streams.restore(kept.part("streams"))
        self.configure(
            CoreSettings(
                output_range=kept.integer("output_range"),
                gain_trim=kept.tensor("gain_trim", trims).numpy(),
                offset_trim=kept.tensor("offset_trim", trims).numpy(),
                temperature_kelvin=kept.number("temperature_kelvin"),
            )
        )
        at_s = kept.number_or_none("aged_at_s")
        self._aged = None if at_s is None else self._age(at_s)
        self._net = None

    def program(self, pulse: Pulse, at_s: npt.NDArray[np.float64]) -> None:
        """Apply pulses; `at_s` is when each entry's last pulse ends."""
        limits = self._info.limits(pulse.family)
        assert limits is not None  # noqa: S101 - checked by the public verb
        place = self._place(pulse)
        count = torch.from_numpy(pulse.count.astype(np.int64)).to(self._device)
        when = torch.from_numpy(at_s).to(self._device)
        if pulse.family is PulseFamily.RESET:
            ampere = limits.amplitude.to_si(pulse.amplitude).astype(np.float32)
            self._pcm.reset(place, torch.from_numpy(ampere).to(self._device), count, when)
        else:
            self._set(place, pulse, limits.full_width_code, count, when)
        self._aged = None
        self._products.clear()

    def read(self, request: CellRead, now_s: float) -> tuple[Codes, Mask]:
        """Read devices through their cols' converters; fast noise falls with averaging."""
        place = self._place(request)
        z = torch.randn((2, len(request)), generator=self._streams["read"], device=self._device)
        per_g_max = self._unit_siemens / self._info.read.step
        lines = place[2]
        noisy = self._pcm.read(
            place,
            now_s,
            z[0],
            kelvin=self._kelvin,
            samples=request.averages,
            slot_s=self._info.read_slot_s,
        )
        codes = noisy * self._cols.gain[lines] * per_g_max + self._cols.read_offset_codes[lines]
        codes = codes + self._cols.read_noise_codes * z[1] / math.sqrt(request.averages)
        given, saturated = self._cols.convert(codes, 0, self._info.read.max_code)
        return given, saturated & (given > 0)

    def mvm(self, request: MvmRequest, now_s: float) -> tuple[Codes, Mask]:
        """Multiply a batch: two products, one draw per output, one conversion."""
        x = torch.from_numpy(request.input_codes.astype(np.float32)).to(self._device)
        forward = request.direction is Direction.FORWARD
        if self._readout is not None and forward and request.mode is not MvmMode.REFERENCE:
            aged = self._conductances(now_s)
            shown = self._nets(aged, now_s).polarities
            output_range = self._settings.output_range or 0
            solved = self._readout.codes(request, x, output_range, shown, aged.polarity_variance)
            return self._clipped(self._cols, solved)
        converter = self._cols if request.direction is Direction.FORWARD else self._rows
        product = self._product(request, now_s)
        out = torch.addmm(product.offset, x, product.matrix)
        z = self._streams.normal("mvm").draw(*out.shape)
        if request.mode is MvmMode.REFERENCE or not self._effects.read_noise:
            out.add_(z, alpha=converter.noise_codes)
        else:
            read = self._squares(request.input_codes, x) @ product.variance
            out.addcmul_(torch.add(read, converter.noise_variance).sqrt_(), z)
        if self._readout is not None:
            out.trunc_()  # the converters of a circuit lose what they have not counted whole
        return self._clipped(converter, out)

    def _clipped(
        self, converter: OutputConverter, codes: Float[Tensor, "n n_out"]
    ) -> tuple[Codes, Mask]:
        limits = self._info.output_codes
        return converter.convert(codes, limits.min_code, limits.max_code)

    def _squares(self, input_codes: IntArray, x: Float[Tensor, "n n_in"]) -> Tensor:
        """Squares of input codes, (n, n_in), in the type of variances."""
        if self._info.input.max_code**2 <= MOST_INT16:
            squares = torch.from_numpy(np.square(input_codes, dtype=np.int16))
            return squares.to(self._device, self._variance_dtype)  # in half the time of floats
        return torch.square(x.to(self._variance_dtype))

    @property
    def _kelvin(self) -> float:
        return self._settings.temperature_kelvin or KELVIN_REFERENCE

    def _place(self, request: Pulse | CellRead) -> Place:
        return self._index(request.device), self._index(request.rows), self._index(request.cols)

    def _index(self, places: IntArray) -> Tensor:
        return torch.from_numpy(places.astype(np.int64)).to(self._device)

    def _tensor(self, codes: IntArray | None) -> Tensor | None:
        if codes is None:
            return None
        return torch.from_numpy(codes.astype(np.float32)).to(self._device)

    def _set(
        self,
        place: Place,
        pulse: Pulse,
        full_width: int | None,
        count: Tensor,
        when: Tensor,
    ) -> None:
        widths = torch.from_numpy(pulse.width.astype(np.int64)).to(self._device)
        full = widths >= (full_width if full_width is not None else 1 << 30)
        for chosen, fully in ((full, True), (~full, False)):
            if not bool(chosen.any()):
                continue
            device, rows, cols = place
            part = (device[chosen], rows[chosen], cols[chosen])
            if fully:
                self._pcm.set_fully(part, count[chosen], when[chosen])
            else:
                self._pcm.set_step(part, count[chosen], when[chosen], float(when.min()))

    def _conductances(self, now_s: float) -> _Aged:
        """Return aged conductances, made anew only when they have moved."""
        log_age = self._pcm.log_age(now_s)
        if self._aged is None or abs(log_age - self._aged.log_age) > AGE_REFRESH_LN:
            self._aged = self._age(now_s)
            self._net = None
            self._variances.clear()
        return self._aged

    def _nets(self, aged: _Aged, now_s: float) -> _Net:
        """Return net conductances with their read noise, made anew once a millisecond."""
        step = math.floor(now_s / MATRIX_HOLD_S) if self._effects.read_noise else 0
        if self._net is None or step != self._net.step:
            noise = self._pcm.held_noise(now_s, aged.hold_times)
            g = aged.g if noise is None else (aged.unit * noise).add_(aged.g).clamp_(min=0.0)
            half = self._info.devices_per_polarity
            polarities = torch.stack([g[:half].sum(0), g[half:].sum(0)])
            net = polarities[0] - polarities[1]
            self._net = _Net(
                step=step, net=net * aged.share, net_before_wire=net, polarities=polarities
            )
            self._products.clear()
        return self._net

    def _age(self, now_s: float) -> _Aged:
        g = self._pcm.conductance(now_s, self._kelvin)
        unit = self._pcm.noise_amplitude(g)
        half = self._info.devices_per_polarity
        each = self._pcm.fresh_variance() * torch.square(unit)
        polarity_variance = torch.stack([each[:half].sum(0), each[half:].sum(0)])
        variance = polarity_variance.sum(0)
        share = self._wire.transfer(g.sum(0) * self._unit_siemens)
        return _Aged(
            at_s=now_s,
            log_age=self._pcm.log_age(now_s),
            g=g,
            unit=unit,
            hold_times=self._pcm.hold_times(now_s),
            share=share,
            variance=variance * share**2,
            variance_before_wire=variance,
            polarity_variance=polarity_variance,
        )

    def _product(self, request: MvmRequest, now_s: float) -> _Product:
        aged = self._conductances(now_s)
        nets = self._nets(aged, now_s)
        key = (request.window, request.direction)
        if request.mode is MvmMode.REFERENCE:
            return self._reference(request)
        if key not in self._products:
            w = request.window or Window(row=0, col=0, rows=self._info.rows, cols=self._info.cols)
            rows, cols = slice(w.row, w.row + w.rows), slice(w.col, w.col + w.cols)
            forward = request.direction is Direction.FORWARD
            converter, lines = (self._cols, cols) if forward else (self._rows, rows)
            scale = converter.gain[lines] * self._codes_per_unit()
            net = nets.net[rows, cols] if forward else nets.net_before_wire[rows, cols].T
            if key not in self._variances:
                own = aged.variance if forward else aged.variance_before_wire
                part = own[rows, cols] if forward else own[rows, cols].T
                self._variances[key] = (part * scale**2).to(self._variance_dtype).contiguous()
            self._products[key] = _Product(
                matrix=(net * scale).contiguous(),
                variance=self._variances[key],
                offset=converter.offset_codes[lines].contiguous(),
            )
        return self._products[key]

    def _reference(self, request: MvmRequest) -> _Product:
        """The reference conductance g_max (per polarity) in every cell of the window."""
        w = request.window or Window(row=0, col=0, rows=self._info.rows, cols=self._info.cols)
        converter, inputs, lines = self._cols, w.rows, slice(w.col, w.col + w.cols)
        if request.direction is Direction.TRANSPOSED:
            converter, inputs, lines = self._rows, w.cols, slice(w.row, w.row + w.rows)
        unit = self._info.devices_per_polarity * self._codes_per_unit()
        matrix = (converter.gain[lines] * unit).expand(inputs, -1).contiguous()
        return _Product(
            matrix=matrix, variance=matrix, offset=converter.offset_codes[lines].contiguous()
        )

    def _codes_per_unit(self) -> float:
        """Output codes per (relative conductance x input code)."""
        step = self._info.output_step_siemens(self._settings.output_range or 0)
        return self._unit_siemens * self._info.input.step / step


def _copy_or(new: IntArray | None, old: IntArray | None) -> IntArray | None:
    """A copy of what was given: its owner may write into it later."""
    return old if new is None else new.copy()


def _given_or(new: T | None, old: T | None) -> T | None:
    return old if new is None else new


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return True
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(has_amx and has_amx())
