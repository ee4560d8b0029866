"""What a chip says of itself: CoreInfo, ChipInfo, capabilities, limits. Data only, no behaviour.

These are documents: a board sends them as JSON, so they are pydantic models with strict bounds.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hil.units import CodeScale

__all__ = [
    "BackendKind",
    "Capability",
    "ChipInfo",
    "CoreInfo",
    "DeviceNominal",
    "Direction",
    "MvmMode",
    "PulseFamily",
    "PulseLimits",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class BackendKind(StrEnum):
    """What answers behind a core. Carried by every result; nothing ever falls back to SIM."""

    SIM = "sim"
    SILICON = "silicon"
    REPLAY = "replay"


class Capability(StrEnum):
    """What a core can do beyond forward MVM and pulses."""

    CELL_READ = "cell_read"
    TRANSPOSED_MVM = "transposed_mvm"
    REFERENCE_MVM = "reference_mvm"
    """Inputs drive the on-chip reference conductance of each column instead of the cells."""
    GAIN_TRIM = "gain_trim"
    OFFSET_TRIM = "offset_trim"
    TEMPERATURE_CONTROL = "temperature_control"


class PulseFamily(StrEnum):
    """How a pulse acts on a PCM element.

    RESET is amplitude-coded melt-quench: it overwrites the state. SET crystallises: a short pulse
    adds an increment, one of full width (`PulseLimits.full_width_code` or longer) sets fully.
    """

    SET = "set"
    RESET = "reset"


class Direction(StrEnum):
    """Which lines carry the inputs of an MVM: rows (forward) or cols (transposed)."""

    FORWARD = "forward"
    TRANSPOSED = "transposed"


class MvmMode(StrEnum):
    """How an MVM is executed; `CoreInfo.mvm_s` lists the modes a core has with their time."""

    ONE_PHASE = "one_phase"
    FOUR_PHASE = "four_phase"
    REFERENCE = "reference"


class PulseLimits(BaseModel):
    """What a core accepts for one pulse family.

    Attributes:
        amplitude: Amplitude codes, in A.
        width: Width codes, in s.
        max_count: Most pulses per entry of a request.
        slot_s: Time one parallel group of pulses takes.
        full_width_code: SET only: widths from here on crystallise fully; None if not offered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: PulseFamily
    amplitude: CodeScale
    width: CodeScale
    max_count: Count
    slot_s: Positive
    full_width_code: int | None = None


class DeviceNominal(BaseModel):
    """What the maker's characterisation says of a typical device: a starting point, not a promise.

    Attributes:
        g_max_siemens: Largest conductance per polarity that a weight is mapped to, S.
        device_g_max_siemens: The same for one device, S.
        reference_age_s: Age t0 at which programmed conductances are specified, s.
        verify_margin_siemens: Acceptance margin of the chip's published program-and-verify, S.
        drift_relative, drift_exponents: Nominal drift exponent nu (G falls as (T / t0)^-nu) against
            conductance relative to g_max, rising; both empty where not known.
        reset_amplitude_codes: RESET amplitude codes of the nominal programming curve, rising.
        reset_siemens: Conductance after such a pulse, S, not rising.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    g_max_siemens: Positive
    device_g_max_siemens: Positive
    reference_age_s: Positive
    verify_margin_siemens: Positive
    drift_relative: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(max_length=4096)
    drift_exponents: tuple[Annotated[float, Field(ge=-1, le=1)], ...] = Field(max_length=4096)
    reset_amplitude_codes: tuple[int, ...] = Field(min_length=2, max_length=4096)
    reset_siemens: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.drift_relative) != len(self.drift_exponents) or any(
            b <= a for a, b in pairwise(self.drift_relative)
        ):
            raise ValueError("drift_relative must rise and pair with drift_exponents")
        codes, values = self.reset_amplitude_codes, self.reset_siemens
        if len(codes) != len(values):
            raise ValueError(f"{len(codes)} amplitude codes but {len(values)} conductances")
        if any(b <= a for a, b in pairwise(codes)):
            raise ValueError("reset_amplitude_codes must rise")
        if any(b > a for a, b in pairwise(values)):
            raise ValueError("reset_siemens must not rise with amplitude")
        return self


class CoreInfo(BaseModel):
    """Everything a caller needs to form valid requests to one core. Never changes while open.

    Attributes:
        chip_serial: Serial number read from the device.
        core: Index of this core on its chip.
        backend: What answers: simulator, silicon or a replay.
        rows, cols: Input and output lines. A *cell* is a place (row, col).
        devices_per_polarity: PCM devices per cell and polarity: device indices 0..n-1 add,
            n..2n-1 subtract.
        input: Input codes as a fraction of full scale (1 = input on for the whole window).
        output_codes: Output code limits; one code is `output_ranges_siemens[k] / max_code`
            siemens-times-full-scale-input in range k.
        output_ranges_siemens: Selectable output ranges (|sum G x| at the highest code), rising, S.
        read: Codes of a cell read, S.
        gain_trim, offset_trim: Trim register codes: relative gain step per code; offset in output
            codes per trim code. None where there is no such register.
        pulses: Accepted pulse families with their limits.
        mvm_s: Execution time of one vector per mode, s.
        read_slot_s: Time of one parallel group of cell reads, s.
        max_batch: Most vectors per MVM request.
        max_pulses: Most entries per pulse request.
        capabilities: What the core can do beyond the basics.
        device: Nominal device characteristics.
        model: Name of the chip type or preset.
        versions: Software or firmware versions by component.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chip_serial: str = Field(min_length=1, max_length=128)
    core: int = Field(ge=0, lt=4096)
    backend: BackendKind
    model: str
    rows: Annotated[int, Field(ge=1, le=65_536)]
    cols: Annotated[int, Field(ge=1, le=65_536)]
    devices_per_polarity: Annotated[int, Field(ge=1, le=16)]
    input: CodeScale
    output_codes: CodeScale
    output_ranges_siemens: tuple[Positive, ...] = Field(min_length=1, max_length=256)
    read: CodeScale
    gain_trim: CodeScale | None
    offset_trim: CodeScale | None
    pulses: tuple[PulseLimits, ...] = Field(min_length=1)
    mvm_s: dict[MvmMode, Positive]
    read_slot_s: Positive
    max_batch: Count
    max_pulses: Annotated[int, Field(ge=1, le=100_000_000)]
    capabilities: frozenset[Capability]
    device: DeviceNominal
    versions: dict[str, str]

    @property
    def devices_per_cell(self) -> int:
        """PCM devices in one cell, both polarities."""
        return 2 * self.devices_per_polarity

    def limits(self, family: PulseFamily) -> PulseLimits | None:
        """Limits of a pulse family; None if the core does not have it."""
        return next((p for p in self.pulses if p.family is family), None)

    def output_step_siemens(self, output_range: int) -> float:
        """Siemens (times full-scale input) per output code in range `output_range`."""
        return self.output_ranges_siemens[output_range] / self.output_codes.max_code


class ChipInfo(BaseModel):
    """What an opened address says of itself: serial, backend kind, cores.

    Attributes:
        serial: Serial number read from the device.
        backend: Simulator, silicon or replay.
        model: Name of the chip type or preset.
        address: The address it was opened by.
        cores: One CoreInfo per core, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: str
    backend: BackendKind
    model: str
    address: str
    cores: tuple[CoreInfo, ...] = Field(min_length=1)
