"""What a simulated core says of itself: CoreInfo from a preset. Knows no address and no verb."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from hil.info import (
    BackendKind,
    Capability,
    CoreInfo,
    DeviceNominal,
    MvmMode,
    PulseFamily,
    PulseLimits,
)
from hil.units import AMPERE, DIMENSIONLESS, MICROSIEMENS, SECOND, SIEMENS, CodeScale
from sim_backend.ideal import LEVELS
from sim_backend.reset_curve import nominal_reset_curve

if TYPE_CHECKING:
    from sim_backend.params import ConverterParams, DeviceParams, Preset

__all__ = ["ideal_info", "physical_info"]

AMPLITUDE_MAX_CODE = 1023
AMPLITUDE_STEP_AMPERE = 0.6e-6
"""RESET amplitude 0...614 uA in 10 bits [asm; reported range 45-700 uA]."""
WIDTH_STEP_S = 50e-9
"""One width code is the 50 ns characterisation pulse (Nandakumar JAP 2018)."""
FULL_SET_WIDTH_CODE = 20
"""A SET pulse of 1 us crystallises fully [asm]."""
RESET_MAX_COUNT = 1
"""Only the last of several RESET pulses would matter."""
SET_MAX_COUNT = 31
"""Most incremental SET pulses per entry [asm]."""
MAX_BATCH = 4096
"""Vectors per request: enough that the calls of one cost little, few enough for the cache."""
CURVE_POINTS = 129
"""Points of the nominal RESET curve: amplitude steps of 8 codes."""
DRIFT_POINTS = tuple(k / 20 for k in range(21))
"""Conductances, relative to g_max, at which nominal drift exponents are given."""
IDEAL_G_MAX_SIEMENS = 10 * MICROSIEMENS
"""Conductance of a full ideal device [asm: of the order of a real one]."""
IDEAL_OUTPUT_MAX_CODE = 2**31 - 1
"""Ideal outputs are exact integer products, never clipped in practice."""
CODES_AT_8_BITS = 127
"""Highest output code of the 8-bit converter, in which offset steps are given."""


def physical_info(
    preset: Preset,
    device: DeviceParams,
    converters: ConverterParams,
    shape: tuple[int, int, int],
    *,
    serial: str,
    index: int,
) -> CoreInfo:
    """Describe a core of PCM devices; `shape` is (devices per cell, rows, cols)."""
    half = shape[0] // 2
    unit = device.g_max_microsiemens * MICROSIEMENS
    trim_g, trim_o = converters.gain_trim_max, converters.offset_trim_max
    out_max = (1 << (converters.adc_bits - 1)) - 1
    read_max = (1 << converters.adc_bits) - 1
    read_step = (255 / read_max) * unit / converters.read_counts_at_g_max
    offset_step = converters.offset_trim_step * out_max / CODES_AT_8_BITS
    amplitude = CodeScale(
        min_code=0, max_code=AMPLITUDE_MAX_CODE, step=AMPLITUDE_STEP_AMPERE, unit=AMPERE
    )
    width = CodeScale(min_code=1, max_code=FULL_SET_WIDTH_CODE, step=WIDTH_STEP_S, unit=SECOND)
    return CoreInfo(
        chip_serial=serial,
        core=index,
        backend=BackendKind.SIM,
        model=preset.name,
        rows=shape[1],
        cols=shape[2],
        devices_per_polarity=half,
        input=_symmetric(converters.input_max, 1 / converters.input_max),
        output_codes=_symmetric(out_max, 1.0),
        output_ranges_siemens=tuple(k * half * unit for k in converters.output_ranges),
        read=CodeScale(min_code=0, max_code=read_max, step=read_step, unit=SIEMENS),
        gain_trim=_symmetric(trim_g, converters.gain_trim_step),
        offset_trim=_symmetric(trim_o, offset_step),
        pulses=_pulse_limits(
            amplitude, width, slot_s=preset.pulse_slot_s, counts=(RESET_MAX_COUNT, SET_MAX_COUNT)
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
        device=_nominal_device(device, amplitude, devices_per_polarity=half),
        versions=_versions(),
    )


def ideal_info(preset: Preset, shape: tuple[int, int, int], *, serial: str, index: int) -> CoreInfo:
    """Describe a core of ideal integer devices; `shape` is (devices per cell, rows, cols)."""
    half = shape[0] // 2
    step = IDEAL_G_MAX_SIEMENS / LEVELS
    high = IDEAL_OUTPUT_MAX_CODE
    amplitude = CodeScale(min_code=0, max_code=LEVELS, step=1e-6, unit=AMPERE)
    width = CodeScale(min_code=1, max_code=FULL_SET_WIDTH_CODE, step=WIDTH_STEP_S, unit=SECOND)
    return CoreInfo(
        chip_serial=serial,
        core=index,
        backend=BackendKind.SIM,
        model=preset.name,
        rows=shape[1],
        cols=shape[2],
        devices_per_polarity=half,
        input=_symmetric(LEVELS, 1 / LEVELS),
        output_codes=_symmetric(high, 1.0),
        output_ranges_siemens=(step / LEVELS * high,),
        read=CodeScale(min_code=0, max_code=LEVELS, step=step, unit=SIEMENS),
        gain_trim=None,
        offset_trim=None,
        pulses=_pulse_limits(amplitude, width, slot_s=preset.pulse_slot_s, counts=(LEVELS, LEVELS)),
        mvm_s={MvmMode.ONE_PHASE: preset.mvm_s[0], MvmMode.REFERENCE: preset.mvm_s[1]},
        read_slot_s=preset.read_slot_s,
        max_batch=MAX_BATCH,
        max_pulses=shape[0] * shape[1] * shape[2],
        capabilities=frozenset(
            {Capability.CELL_READ, Capability.TRANSPOSED_MVM, Capability.REFERENCE_MVM}
        ),
        device=DeviceNominal(
            g_max_siemens=half * IDEAL_G_MAX_SIEMENS,
            device_g_max_siemens=IDEAL_G_MAX_SIEMENS,
            reference_age_s=1.0,
            verify_margin_siemens=step,
            drift_relative=(),
            drift_exponents=(),
            reset_amplitude_codes=tuple(range(LEVELS + 1)),
            reset_siemens=tuple((LEVELS - a) * step for a in range(LEVELS + 1)),
        ),
        versions=_versions(),
    )


def _symmetric(max_code: int, step: float) -> CodeScale:
    return CodeScale(min_code=-max_code, max_code=max_code, step=step, unit=DIMENSIONLESS)


def _pulse_limits(
    amplitude: CodeScale, width: CodeScale, *, slot_s: float, counts: tuple[int, int]
) -> tuple[PulseLimits, PulseLimits]:
    """Limits of RESET and SET, with the most pulses per entry of each."""
    reset = PulseLimits(
        family=PulseFamily.RESET,
        amplitude=amplitude,
        width=width,
        max_count=counts[0],
        slot_s=slot_s,
    )
    crystallise = PulseLimits(
        family=PulseFamily.SET,
        amplitude=amplitude,
        width=width,
        max_count=counts[1],
        slot_s=slot_s,
        full_width_code=FULL_SET_WIDTH_CODE,
    )
    return reset, crystallise


def _nominal_device(
    device: DeviceParams, amplitude: CodeScale, *, devices_per_polarity: int
) -> DeviceNominal:
    """What a maker's characterisation of median devices would say."""
    unit = device.g_max_microsiemens * MICROSIEMENS
    codes = np.unique(np.linspace(0, amplitude.max_code, CURVE_POINTS).astype(int))
    curve = nominal_reset_curve(device, torch.from_numpy(amplitude.to_si(codes))) * unit
    drift = device.law.drift_exponent(torch.tensor(DRIFT_POINTS), torch.zeros(len(DRIFT_POINTS)))
    return DeviceNominal(
        g_max_siemens=devices_per_polarity * unit,
        device_g_max_siemens=unit,
        reference_age_s=device.law.t0_s,
        verify_margin_siemens=device.verify_margin * unit,
        drift_relative=DRIFT_POINTS,
        drift_exponents=tuple(drift.tolist()),
        reset_amplitude_codes=tuple(int(c) for c in codes),
        reset_siemens=tuple(float(v) for v in curve.tolist()),
    )


def _versions() -> dict[str, str]:
    return {"aimc-hil": version("aimc-hil"), "torch": str(torch.__version__)}
