"""Presets: every coefficient of the simulated chips, with its source. Data only.

Evidence marks in comments: [pub] published, [pub2] published but read off a figure or a secondary
account, [asm] assumed here, [fit] fitted so that program-and-verify lands on the published curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim_backend.laws import HERMES_ONE_DEVICE, PCM_90NM, StatisticalLaw

__all__ = ["PRESETS", "ConverterParams", "DeviceParams", "Preset", "WireParams"]


@dataclass(frozen=True, kw_only=True)
class DeviceParams:
    """One PCM device type. Conductances relative to g_max of one device unless named otherwise.

    Attributes:
        law: Published statistics of one device.
        g_max_microsiemens: Largest conductance of one device that a weight is mapped to.
        set_median, set_sigma_ln: Log-normal spread of the full-SET conductance.
        reset_floor: Conductance after a RESET pulse of full amplitude.
        i50_ampere, i50_sigma: RESET amplitude at half the SET conductance, relative spread.
        slope_ampere, slope_sigma: Width of the fall of the programming curve, relative spread.
        set_cycle_sigma: Relative cycle noise of a full SET.
        set_ceiling_microsiemens: Incremental SET saturates here, or at the device's SET state.
        relaxation: (r, sigma) knots of the short-term relaxation between t_read and t0.
        stuck_set, stuck_reset: Shares of devices that no pulse moves.
        verify_margin: Acceptance margin of the published program-and-verify.
        activation_ev: Activation energy of the RESET state, falling linearly to 0 at SET.
        endurance_median_pulses, endurance_sigma_ln: Log-normal number of pulses, of either family,
            that a device survives.
        endurance_set_share: Share of devices that end stuck at SET; the others end at RESET.
    """

    law: StatisticalLaw
    g_max_microsiemens: float
    set_median: float
    set_sigma_ln: float
    reset_floor: float
    i50_ampere: float
    i50_sigma: float
    slope_ampere: float
    slope_sigma: float
    set_cycle_sigma: float
    relaxation: tuple[tuple[float, float], ...]
    stuck_set: float
    stuck_reset: float
    verify_margin: float
    activation_ev: float
    set_ceiling_microsiemens: float = 12.0  # [pub Nandakumar JAP 2018] 20 replicates its figure
    endurance_median_pulses: float = 1e7  # [asm] reported: 1e6-1e12 [rec]; towards the lower end
    endurance_sigma_ln: float = 1.0  # [asm]
    endurance_set_share: float = 0.5  # [asm] both ends are reported (Kim, MRS Bulletin 2019)


@dataclass(frozen=True, kw_only=True)
class ConverterParams:
    """Input and output converters of a core.

    Attributes:
        input_max: Highest input code; codes are symmetric.
        adc_bits: Bits of an output code, sign included, and of a cell read.
        read_counts_at_g_max: Read counts of one device at its g_max, at 8 bits.
        output_ranges: Selectable output ranges in units of g_max per polarity.
        gain_spread: Raw ADC gain lies within ± this, relative.
        gain_trim_step, gain_trim_max: Relative gain per trim code, highest code.
        offset_sigma: Raw ADC offset, in 8-bit output codes.
        offset_trim_step, offset_trim_max: 8-bit output codes per trim code, highest code.
        output_noise: Additive noise before the ADC, in 8-bit output codes.
    """

    input_max: int = 127
    adc_bits: int = 8
    read_counts_at_g_max: float = 80.0
    output_ranges: tuple[float, ...] = (1.25, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
    gain_spread: float = 0.21
    gain_trim_step: float = 0.015
    gain_trim_max: int = 15
    offset_sigma: float = 2.0
    offset_trim_step: float = 0.25
    offset_trim_max: int = 31
    output_noise: float = 0.5


@dataclass(frozen=True, kw_only=True)
class WireParams:
    """Bit-line resistance per cell, ohm; even cols are read at the bottom, odd ones at the top."""

    ohm_per_cell: float


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A chip type.

    Attributes:
        name: What addresses call it.
        rows, cols: Default array size.
        devices_per_polarity: Default and allowed numbers of devices per cell and polarity.
        device: Device physics; None is the ideal, exactly linear device.
        converters: Converters; None is ideal, exact integers.
        wire: Bit-line resistance; None is ideal.
        mvm_s: Time of one vector in the fastest mode and with four read phases, s.
        pulse_slot_s, read_slot_s: Time of one parallel group of pulses, of cell reads, s.
    """

    name: str
    rows: int
    cols: int
    devices_per_polarity: tuple[int, ...]
    device: DeviceParams | None
    converters: ConverterParams | None
    wire: WireParams | None
    mvm_s: tuple[float, float] = (130e-9, 521e-9)  # [pub2 JSSC, HERMES] 130 ns; 4-phase 521 ns
    pulse_slot_s: float = 3.25e-6  # [pub2 Garofalo 2022] a write takes 20-30 MVMs of 130 ns
    read_slot_s: float = 521e-9  # [asm] a verify read is one four-phase read


HERMES_DEVICE = DeviceParams(
    law=HERMES_ONE_DEVICE,
    g_max_microsiemens=10.35,  # [code aihwkit HermesNoiseModel]
    set_median=2.25,  # [pub2 HERMES figure] SET from about 80 (1.0) towards 360 counts (4.5)
    set_sigma_ln=0.35,  # [asm] leaves 1 % of devices below r = 1, within the 0.1-1.6 % unreachable
    reset_floor=0.0097,  # [pub Nandakumar JAP 2018] 0.1 uS
    i50_ampere=250e-6,  # [rec] RESET about 45-700 uA; [asm] centre
    i50_sigma=0.08,  # [asm]
    slope_ampere=30e-6,  # [asm]
    slope_sigma=0.10,  # [asm]
    set_cycle_sigma=0.03,  # [asm] SET is the most stable state (Vasilopoulos)
    relaxation=(
        (0.0, 0.0),
        (0.1, 0.0),
        (0.3, 0.071),
        (0.5, 0.091),
        (0.7, 0.102),
        (1.0, 0.096),
    ),  # [fit]
    stuck_set=2e-5,  # [asm] 0.1 % would make verify's MVM error 29 %; published: 18.9 %
    stuck_reset=5e-4,  # [asm] 0.2 % of four-device cells; not programmable: 0.1-1.6 % [pub2]
    verify_margin=5.0 / 80.0,  # [pub2 HERMES] 5 ADC counts, 80 counts at g_max
    activation_ev=0.1,  # [rec, weak] 0.1-0.3 eV; its low end is nearest to Boybat (0024)
)

PCM90_DEVICE = DeviceParams(
    law=PCM_90NM,
    g_max_microsiemens=25.0,  # [code aihwkit PCMLikeNoiseModel]
    set_median=1.6,  # [asm] 40 uS is the largest g_max that the toolkit's converter allows
    set_sigma_ln=0.20,  # [asm] 0.9 % of devices below r = 1 (99.1 % converged [pub2 Joshi])
    reset_floor=0.004,  # [pub Nandakumar JAP 2018] 0.1 uS
    i50_ampere=350e-6,  # [rec] partial RESET 45-700 uA
    i50_sigma=0.08,  # [asm]
    slope_ampere=45e-6,  # [asm]
    slope_sigma=0.10,  # [asm]
    set_cycle_sigma=0.02,  # [asm]
    relaxation=(
        (0.0, 0.0),
        (0.1, 0.003),
        (0.3, 0.029),
        (0.5, 0.043),
        (0.7, 0.049),
        (1.0, 0.042),
    ),  # [fit]
    stuck_set=2e-5,  # [asm]
    stuck_reset=5e-4,  # [asm] likewise
    verify_margin=1.25 / 80.0,  # [asm] the 1.8 % at r = 0.1 leaves no room for 5 counts
    activation_ev=0.1,  # [rec, weak] 0.1-0.3 eV; its low end is nearest to Boybat (0024)
)

AON_DEVICE = replace(
    PCM90_DEVICE,
    g_max_microsiemens=5.0,  # [pub Rasch] the device of the standard wire ratio 0.35 ohm x 5 uS
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="hermes",
            rows=256,
            cols=256,
            devices_per_polarity=(2, 1),
            device=HERMES_DEVICE,
            converters=ConverterParams(),
            wire=WireParams(ohm_per_cell=0.15),  # [code aihwkit time-stepped tile]
        ),
        Preset(
            name="aon",
            rows=1024,
            cols=512,
            devices_per_polarity=(1,),
            device=AON_DEVICE,
            converters=ConverterParams(),
            wire=WireParams(ohm_per_cell=0.35),  # [pub Rasch]
        ),
        Preset(
            name="pcm90",
            rows=512,
            cols=512,
            devices_per_polarity=(1,),
            device=PCM90_DEVICE,
            converters=ConverterParams(),
            wire=WireParams(ohm_per_cell=0.15),  # [code aihwkit time-stepped tile]
        ),
        Preset(
            name="ideal",
            rows=256,
            cols=256,
            devices_per_polarity=(1, 2),
            device=None,
            converters=None,
            wire=None,
        ),
    )
}
