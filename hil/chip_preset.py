"""Preset files: what a simulated chip is to be made of, value by value, each with its interval.

A file names a built-in preset and the values that differ from it: measured by `hil fit`, or
written by hand. Knows the document and its ranges; no simulator, no fit.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from hil.errors import RecordError
from hil.preset_values import CurveEntry, Quantity, Section
from hil.run_folder import write_atomically

__all__ = [
    "ArraySection",
    "ChipPreset",
    "ConverterSection",
    "DeviceSection",
    "LawSection",
    "OriginSection",
    "TimingSection",
    "load_chip_preset",
    "save_chip_preset",
]

MOST_BYTES = 4 << 20
"""No preset file is larger, bytes."""
NEXT_STEP = "correct the file, or write one with hil fit"
Positive = Annotated[float, Field(gt=0.0, le=1e3, allow_inf_nan=False)]


class LawSection(Section):
    """Statistics of one device against r; None keeps what the built-in preset has.

    Attributes:
        g_ref_microsiemens: Conductance at r = 1 for which `sigma` is given.
        t0_s, t_read_s: Age at which programmed conductances are defined; read time of the noise.
        longest_age_s: Oldest age that the laws have data for.
        sigma: Cycle noise of a RESET pulse, µS at g_ref.
        mu, sd: Mean and spread of the drift exponent.
        q: Read-noise coefficient Q.
    """

    g_ref_microsiemens: Quantity | None = None
    t0_s: Quantity | None = None
    t_read_s: Quantity | None = None
    longest_age_s: Quantity | None = None
    sigma: CurveEntry | None = None
    mu: CurveEntry | None = None
    sd: CurveEntry | None = None
    q: CurveEntry | None = None


class DeviceSection(Section):
    """One PCM device; names and units are those of the simulator's device parameters.

    Conductances are relative to g_max of one device unless named otherwise. None keeps what the
    built-in preset has.
    """

    g_max_microsiemens: Quantity | None = None
    set_median: Quantity | None = None
    set_sigma_ln: Quantity | None = None
    set_cycle_sigma: Quantity | None = None
    set_ceiling_microsiemens: Quantity | None = None
    reset_floor: Quantity | None = None
    i50_ampere: Quantity | None = None
    i50_sigma: Quantity | None = None
    slope_ampere: Quantity | None = None
    slope_sigma: Quantity | None = None
    stuck_set: Quantity | None = None
    stuck_reset: Quantity | None = None
    verify_margin: Quantity | None = None
    activation_ev: Quantity | None = None
    endurance_median_pulses: Quantity | None = None
    endurance_sigma_ln: Quantity | None = None
    endurance_set_share: Quantity | None = None
    relaxation: CurveEntry | None = None
    law: LawSection = LawSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.relaxation is not None and self.relaxation.form.kind != "piecewise_linear":
            raise ValueError("relaxation is given by knots: form.kind must be piecewise_linear")
        return self


class ConverterSection(Section):
    """Converters of a core; offsets and noise in codes of an 8-bit converter."""

    input_max: Annotated[int, Field(ge=1, le=32_767)] | None = None
    adc_bits: Annotated[int, Field(ge=2, le=12)] | None = None
    read_counts_at_g_max: Quantity | None = None
    output_ranges: tuple[Positive, ...] | None = Field(default=None, min_length=1, max_length=256)
    gain_spread: Quantity | None = None
    gain_trim_step: Quantity | None = None
    gain_trim_max: Annotated[int, Field(ge=1, le=32_767)] | None = None
    offset_sigma: Quantity | None = None
    offset_trim_step: Quantity | None = None
    offset_trim_max: Annotated[int, Field(ge=1, le=32_767)] | None = None
    output_noise: Quantity | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        ranges = self.output_ranges or ()
        if any(b <= a for a, b in pairwise(ranges)):
            raise ValueError("output_ranges must rise")
        return self


class ArraySection(Section):
    """Size of a core's array."""

    rows: Annotated[int, Field(ge=1, le=4096)] | None = None
    cols: Annotated[int, Field(ge=1, le=4096)] | None = None
    devices_per_polarity: Annotated[int, Field(ge=1, le=16)] | None = None
    ohm_per_cell: Quantity | None = None


class TimingSection(Section):
    """Times of verbs, s."""

    mvm_s: tuple[Positive, Positive] | None = None
    pulse_slot_s: Positive | None = None
    read_slot_s: Positive | None = None


class OriginSection(Section):
    """The chip that was measured: serial, model, kind of back-end, when (UTC, ISO 8601)."""

    serial: str
    model: str
    backend: str
    measured_at: str


_RANGES: dict[str, tuple[str, float, float]] = {
    "g_max_microsiemens": ("µS", 1e-3, 1e4),
    "set_median": ("1", 0.01, 100.0),
    "set_sigma_ln": ("1", 0.0, 3.0),
    "set_cycle_sigma": ("1", 0.0, 1.0),
    "set_ceiling_microsiemens": ("µS", 1e-3, 1e4),
    "reset_floor": ("1", 0.0, 1.0),
    "i50_ampere": ("A", 1e-7, 0.1),
    "i50_sigma": ("1", 0.0, 0.5),
    "slope_ampere": ("A", 1e-8, 0.1),
    "slope_sigma": ("1", 0.0, 1.0),
    "stuck_set": ("1", 0.0, 0.5),
    "stuck_reset": ("1", 0.0, 0.5),
    "verify_margin": ("1", 1e-6, 1.0),
    "activation_ev": ("eV", 0.0, 2.0),
    "endurance_median_pulses": ("1", 1.0, 1e15),
    "endurance_sigma_ln": ("1", 0.0, 10.0),
    "endurance_set_share": ("1", 0.0, 1.0),
    "g_ref_microsiemens": ("µS", 1e-3, 1e4),
    "t0_s": ("s", 1e-6, 1e9),
    "t_read_s": ("s", 1e-10, 1.0),
    "longest_age_s": ("s", 1e-3, 1e12),
    "read_counts_at_g_max": ("1", 1.0, 1e4),
    "gain_spread": ("1", 0.0, 0.95),
    "gain_trim_step": ("1", 1e-6, 0.5),
    "offset_sigma": ("code", 0.0, 100.0),
    "offset_trim_step": ("code", 1e-6, 100.0),
    "output_noise": ("code", 0.0, 100.0),
    "ohm_per_cell": ("Ω", 0.0, 1e4),
}
"""Unit and allowed range of every quantity of a preset file, by name."""


class ChipPreset(Section):
    """A preset file.

    Attributes:
        base: Built-in preset that the rest of the values comes from.
        title: One line for people.
        origin: The chip that was measured; None where the file was written by hand.
        device, converters, array, timing: Values that take the place of the built-in ones.
    """

    schema_version: Literal[1] = 1
    base: Annotated[str, Field(min_length=1, max_length=128)]
    title: Annotated[str, Field(min_length=1, max_length=400)]
    origin: OriginSection | None = None
    device: DeviceSection = DeviceSection()
    converters: ConverterSection = ConverterSection()
    array: ArraySection = ArraySection()
    timing: TimingSection = TimingSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        sections = {
            "device": self.device,
            "device.law": self.device.law,
            "converters": self.converters,
            "array": self.array,
        }
        for place, section in sections.items():
            for name, (unit, low, high) in _RANGES.items():
                quantity = getattr(section, name, None)
                if quantity is None:
                    continue
                if quantity.unit != unit:
                    raise ValueError(f"{place}.{name} is in {quantity.unit!r}; give it in {unit!r}")
                if not low <= quantity.value <= high:
                    raise ValueError(
                        f"{place}.{name} {quantity.value} is outside {low}...{high} ({unit})"
                    )
        return self


def load_chip_preset(path: Path) -> ChipPreset:
    """Read a preset file.

    Raises:
        RecordError: It is missing, too large, no preset file of this version, or a value is out of
            range; the sentence names the value.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RecordError(
            f"preset file {path} cannot be read: {error.strerror}; write one with hil fit",
            path=str(path),
        ) from error
    if len(content) > MOST_BYTES:
        raise RecordError(f"preset file {path} is larger than {MOST_BYTES} bytes; {NEXT_STEP}")
    try:
        return ChipPreset.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(
            f"preset file {path}: {_sentence(error)}; {NEXT_STEP}", path=str(path)
        ) from error


def save_chip_preset(preset: ChipPreset, path: Path) -> None:
    """Write a preset file; values that are not given are left out.

    Raises:
        RecordError: It cannot be written.
    """
    text = preset.model_dump_json(indent=1, exclude_none=True)
    write_atomically(path, (text + "\n").encode())


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    if first["type"] in ("value_error", "json_invalid"):
        return f"{key + ': ' if key else ''}{message}"
    return f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}"
