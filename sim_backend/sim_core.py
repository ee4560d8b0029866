"""`sim:` addresses: the simulated chip. Verbs, clock and counters; physics lives in the arrays."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from typing_extensions import override

from hil.core import (
    CellRead,
    Chip,
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
from hil.errors import RequestError
from hil.info import (
    BackendKind,
    Capability,
    ChipInfo,
    CoreInfo,
    DeviceNominal,
    MvmMode,
    PulseFamily,
    PulseLimits,
)
from hil.units import AMPERE, DIMENSIONLESS, MICROSIEMENS, SECOND, SIEMENS, CodeScale
from sim_backend.array import PhysicalArray
from sim_backend.circuit import IdealWire, LadderWire
from sim_backend.clock import Clock
from sim_backend.ideal import LEVELS, IdealArray
from sim_backend.params import PRESETS, ConverterParams, DeviceParams, Preset
from sim_backend.pcm import Effects, PcmArray
from sim_backend.streams import Streams

if TYPE_CHECKING:
    from hil.address import Address

__all__ = ["SimCore", "open_sim"]

OPTIONS = (
    "adc_bits",
    "compute",
    "cores",
    "cols",
    "devices",
    "noise",
    "off",
    "rows",
    "seed",
    "serial",
)
AMPLITUDE_MAX_CODE = 1023
AMPLITUDE_STEP_AMPERE = 0.6e-6
"""RESET amplitude 0...614 uA in 10 bits [asm; reported range 45-700 uA]."""
WIDTH_STEP_S = 50e-9
"""One width code is the 50 ns characterisation pulse (Nandakumar JAP 2018)."""
FULL_SET_WIDTH_CODE = 20
"""A SET pulse of 1 us crystallises fully [asm]."""
MAX_BATCH = 1024
CURVE_POINTS = 129
DRIFT_POINTS = tuple(k / 20 for k in range(21))


@runtime_checkable
class Array(Protocol):
    """What stands behind a simulated core's verbs."""

    @property
    def settings(self) -> CoreSettings: ...
    def configure(self, new: CoreSettings) -> None: ...
    def program(self, pulse: Pulse, at_s: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None: ...
    def read(self, request: CellRead, now_s: float) -> tuple[_Codes, _Mask]: ...
    def mvm(self, request: MvmRequest, now_s: float) -> tuple[_Codes, _Mask]: ...


_Codes = np.ndarray[tuple[int, ...], np.dtype[np.signedinteger]]
_Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class SimCore(Core):
    """One simulated core. Its array holds the physics; its chip's clock holds the time."""

    def __init__(self, info: CoreInfo, array: Array, clock: Clock) -> None:
        super().__init__(info)
        self.array = array
        self._clock = clock
        self._pulses = self._reads = self._mvms = self._generation = 0
        self._last_pulse_s: float | None = None
        self._safe = False

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        limits = self.info.limits(pulse.family)
        assert limits is not None  # noqa: S101 - checked by the public verb
        if len(pulse):
            group, groups = self._groups(pulse.device, pulse.rows, pulse.cols)
            slot = limits.slot_s * int(pulse.count.max())
            at_s = self._clock.now_s + slot * (group + 1.0)
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
        self, device: _Codes, rows: _Codes, cols: _Codes
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], int]:
        """Parallel groups: one device index on one array diagonal at a time (HERMES)."""
        side = max(self.info.rows, self.info.cols)
        key = device.astype(np.int64) * side + (cols.astype(np.int64) - rows) % side
        unique, group = np.unique(key, return_inverse=True)
        return group, int(unique.size)


def open_sim(address: Address) -> Chip:
    """Open "sim:PRESET?key=value&...".

    Options: cores, rows, cols, devices (per polarity), seed, adc_bits (2...12), compute (cpu|cuda),
    serial, noise=off (no read and no converter noise), off=EFFECT+EFFECT (any of the effects).

    Raises:
        RequestError: Unknown preset, option or value.
    """
    preset = PRESETS.get(address.target)
    if preset is None:
        raise RequestError(
            f"address {address.text!r}: unknown preset {address.target!r}; known: {', '.join(PRESETS)}"
        )
    address.refuse_unknown(OPTIONS)
    seed = address.integer("seed", 0, 0, 2**62)
    cores = address.integer("cores", 1, 1, 64)
    rows = address.integer("rows", preset.rows, 1, 4096)
    cols = address.integer("cols", preset.cols, 1, 4096)
    allowed = tuple(str(n) for n in preset.devices_per_polarity)
    devices = int(address.choice("devices", allowed[0], allowed))
    bits = address.integer("adc_bits", 8, 2, 12)
    serial = address.options.get("serial", f"SIM-{preset.name.upper()}-{seed:07d}")
    compute = _compute(address)
    effects = _effects(address)
    clock = Clock()
    made: list[Core] = []
    for index in range(cores):
        streams = Streams(seed, index, compute)
        shape = (2 * devices, rows, cols)
        if preset.device is None or preset.converters is None:
            info = _ideal_info(preset, serial, index, shape)
            made.append(SimCore(info, IdealArray(info), clock))
            continue
        converters = ConverterParams(**{**preset.converters.__dict__, "adc_bits": bits})
        pcm = PcmArray(preset.device, shape, streams, compute, effects)
        info = _info(preset, preset.device, converters, pcm, serial, index, shape)
        wire = (
            LadderWire(ohm_per_cell=preset.wire.ohm_per_cell)
            if preset.wire is not None and effects.wire
            else IdealWire()
        )
        array = PhysicalArray(
            info=info,
            pcm=pcm,
            wire=wire,
            converters=converters,
            streams=streams,
            device=compute,
            effects=effects,
        )
        made.append(SimCore(info, array, clock))
    chip_info = ChipInfo(
        serial=serial,
        backend=BackendKind.SIM,
        model=preset.name,
        address=address.text,
        cores=tuple(core.info for core in made),
    )
    return Chip(info=chip_info, cores=tuple(made))


def _compute(address: Address) -> torch.device:
    name = address.choice("compute", "cpu", ("cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            f"address {address.text!r}: compute=cuda, but torch sees no CUDA device; use compute=cpu"
        )
    return torch.device(name)


def _effects(address: Address) -> Effects:
    noise = address.choice("noise", "on", ("on", "off"))
    names = tuple(Effects.__dataclass_fields__)
    off = set(filter(None, address.options.get("off", "").split("+")))
    if noise == "off":
        off |= {"read_noise", "output_noise"}
    unknown = sorted(off.difference(names))
    if unknown:
        raise RequestError(
            f"address {address.text!r}: off={unknown[0]!r} is no effect; known: {', '.join(names)}"
        )
    return Effects(**dict.fromkeys(off, False))


def _versions() -> dict[str, str]:
    return {"aimc-hil": version("aimc-hil"), "torch": str(torch.__version__)}


def _info(
    preset: Preset,
    device: DeviceParams,
    converters: ConverterParams,
    pcm: PcmArray,
    serial: str,
    index: int,
    shape: tuple[int, int, int],
) -> CoreInfo:
    half = shape[0] // 2
    unit = device.g_max_microsiemens * MICROSIEMENS
    g_max = half * unit
    amplitude = CodeScale(
        min_code=0, max_code=AMPLITUDE_MAX_CODE, step=AMPLITUDE_STEP_AMPERE, unit=AMPERE
    )
    width = CodeScale(min_code=1, max_code=FULL_SET_WIDTH_CODE, step=WIDTH_STEP_S, unit=SECOND)
    codes = np.unique(np.linspace(0, AMPLITUDE_MAX_CODE, CURVE_POINTS).astype(int))
    ampere = torch.from_numpy(amplitude.to_si(codes))
    curve = (pcm.nominal_reset_curve(ampere) * unit).tolist()
    bits = converters.adc_bits
    read_max = (1 << bits) - 1
    trim_g, trim_o = converters.gain_trim_max, converters.offset_trim_max
    out_max = (1 << (bits - 1)) - 1
    return CoreInfo(
        chip_serial=serial,
        core=index,
        backend=BackendKind.SIM,
        model=preset.name,
        rows=shape[1],
        cols=shape[2],
        devices_per_polarity=half,
        input=CodeScale(
            min_code=-converters.input_max,
            max_code=converters.input_max,
            step=1 / converters.input_max,
            unit=DIMENSIONLESS,
        ),
        output_codes=CodeScale(min_code=-out_max, max_code=out_max, step=1.0, unit=DIMENSIONLESS),
        output_ranges_siemens=tuple(k * g_max for k in converters.output_ranges),
        read=CodeScale(
            min_code=0,
            max_code=read_max,
            step=255 / read_max * unit / converters.read_counts_at_g_max,
            unit=SIEMENS,
        ),
        gain_trim=CodeScale(
            min_code=-trim_g, max_code=trim_g, step=converters.gain_trim_step, unit=DIMENSIONLESS
        ),
        offset_trim=CodeScale(
            min_code=-trim_o,
            max_code=trim_o,
            step=converters.offset_trim_step * out_max / 127,
            unit=DIMENSIONLESS,
        ),
        pulses=(
            PulseLimits(
                family=PulseFamily.RESET,
                amplitude=amplitude,
                width=width,
                max_count=1,
                slot_s=preset.pulse_slot_s,
            ),
            PulseLimits(
                family=PulseFamily.SET,
                amplitude=amplitude,
                width=width,
                max_count=31,
                slot_s=preset.pulse_slot_s,
                full_width_code=FULL_SET_WIDTH_CODE,
            ),
        ),
        mvm_s={
            MvmMode.ONE_PHASE: preset.mvm_s[0],
            MvmMode.FOUR_PHASE: preset.mvm_s[1],
            MvmMode.REFERENCE: preset.mvm_s[1],
        },
        read_slot_s=preset.read_slot_s,
        max_batch=MAX_BATCH,
        max_pulses=shape[0] * shape[1] * shape[2],
        capabilities=frozenset(Capability),
        device=DeviceNominal(
            g_max_siemens=g_max,
            device_g_max_siemens=unit,
            reference_age_s=device.law.t0_s,
            verify_margin_siemens=device.verify_margin * unit,
            drift_relative=DRIFT_POINTS,
            drift_exponents=tuple(
                device.law.drift_exponent(
                    torch.tensor(DRIFT_POINTS), torch.zeros(len(DRIFT_POINTS))
                ).tolist()
            ),
            reset_amplitude_codes=tuple(int(c) for c in codes),
            reset_siemens=tuple(float(v) for v in curve),
        ),
        versions=_versions(),
    )


def _ideal_info(preset: Preset, serial: str, index: int, shape: tuple[int, int, int]) -> CoreInfo:
    half = shape[0] // 2
    unit = 10 * MICROSIEMENS
    high = 2**31 - 1
    step = unit / LEVELS
    amplitude = CodeScale(min_code=0, max_code=LEVELS, step=1e-6, unit=AMPERE)
    width = CodeScale(min_code=1, max_code=FULL_SET_WIDTH_CODE, step=WIDTH_STEP_S, unit=SECOND)
    limits = {"amplitude": amplitude, "width": width, "max_count": LEVELS}
    return CoreInfo(
        chip_serial=serial,
        core=index,
        backend=BackendKind.SIM,
        model=preset.name,
        rows=shape[1],
        cols=shape[2],
        devices_per_polarity=half,
        input=CodeScale(min_code=-127, max_code=127, step=1 / 127, unit=DIMENSIONLESS),
        output_codes=CodeScale(min_code=-high, max_code=high, step=1.0, unit=DIMENSIONLESS),
        output_ranges_siemens=(step / 127 * high,),
        read=CodeScale(min_code=0, max_code=LEVELS, step=step, unit=SIEMENS),
        gain_trim=None,
        offset_trim=None,
        pulses=(
            PulseLimits(family=PulseFamily.RESET, slot_s=preset.pulse_slot_s, **limits),
            PulseLimits(
                family=PulseFamily.SET,
                slot_s=preset.pulse_slot_s,
                full_width_code=FULL_SET_WIDTH_CODE,
                **limits,
            ),
        ),
        mvm_s={MvmMode.ONE_PHASE: preset.mvm_s[0], MvmMode.REFERENCE: preset.mvm_s[1]},
        read_slot_s=preset.read_slot_s,
        max_batch=MAX_BATCH,
        max_pulses=shape[0] * shape[1] * shape[2],
        capabilities=frozenset(
            {Capability.CELL_READ, Capability.TRANSPOSED_MVM, Capability.REFERENCE_MVM}
        ),
        device=DeviceNominal(
            g_max_siemens=half * unit,
            device_g_max_siemens=unit,
            reference_age_s=1.0,
            verify_margin_siemens=step,
            drift_relative=(),
            drift_exponents=(),
            reset_amplitude_codes=tuple(range(LEVELS + 1)),
            reset_siemens=tuple((LEVELS - a) * step for a in range(LEVELS + 1)),
        ),
        versions=_versions(),
    )
