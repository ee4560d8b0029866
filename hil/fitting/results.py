"""A fit as documents: the report of all estimates, and the preset file that simulators open.

Knows what was found and what the chip says of itself; measures nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hil.chip_preset import (
    ArraySection,
    ChipPreset,
    ConverterSection,
    DeviceSection,
    LawSection,
    OriginSection,
    TimingSection,
)
from hil.fitting.plan import FitPlan
from hil.fitting.set_steps import NAMES, PUBLISHED_STEP
from hil.info import MvmMode, PulseFamily
from hil.preset_values import BandPoint, CurveEntry, PiecewiseLinearForm, PolynomialForm, Quantity

if TYPE_CHECKING:
    from hil.fitting.estimates import Curve, Estimate, Fitness
    from hil.fitting.measuring import Found
    from hil.info import ChipInfo, CoreInfo

__all__ = ["FitReport", "make_preset", "make_report"]

STATED = "stated by the chip"
_CONVERTERS = ("gain_spread", "offset_sigma", "output_noise")
_DEVICE = (
    "set_median",
    "set_sigma_ln",
    "set_cycle_sigma",
    "reset_floor",
    "i50_ampere",
    "i50_sigma",
    "slope_ampere",
    "slope_sigma",
    "stuck_set",
    "stuck_reset",
)


class Document(BaseModel):
    """A frozen document without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EstimateDocument(Document):
    """A parameter with its 95 % interval; `published` where there is a value to compare with."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    n: int
    published: float | None = None


class CurveDocument(Document):
    """A law against conductance over g_max at some r, with 95 % intervals."""

    name: str
    r: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str
    n: int


class FitnessDocument(Document):
    """A family of data, a statistic, and between what it is good."""

    family: str
    statistic: str
    value: float
    low: float
    high: float
    good: bool


class FitReport(Document):
    """What a fit gave.

    Attributes:
        serial, model, backend: The chip, as it says.
        measured_at: Coordinated universal time, ISO 8601.
        plan: What was measured.
        estimates, curves: Parameters and laws with their intervals.
        fitness: Goodness of fit by family.
        memory: Share of the read-noise variance that has the memory of 1/f noise: value, low, high.
        offset_ratio: Codes of a cell read per output code of an offset; None if not measured.
        unclear_devices: Devices whose cols cannot show reads near zero.
        temperature_kelvin: Chip temperature at the end.
        good: Every family is described well.
    """

    schema_version: Literal[1] = 1
    serial: str
    model: str
    backend: str
    measured_at: str
    plan: FitPlan
    estimates: tuple[EstimateDocument, ...]
    curves: tuple[CurveDocument, ...]
    fitness: tuple[FitnessDocument, ...]
    memory: tuple[float, float, float]
    offset_ratio: float | None
    unclear_devices: int
    temperature_kelvin: float
    good: bool


def make_report(found: Found, chip: ChipInfo, measured_at: str) -> FitReport:
    """Write down what was found on a chip."""
    fitness = [
        *found.converters.fitness,
        *found.set_states.fitness,
        *found.curves.fitness,
        *found.laws.fitness,
        *found.cycle.fitness,
        *found.steps.fitness,
    ]
    return FitReport(
        serial=chip.serial,
        model=chip.model,
        backend=chip.backend.value,
        measured_at=measured_at,
        plan=found.plan,
        estimates=tuple(_estimate(e) for e in _estimates(found)),
        curves=tuple(_curve(c) for c in _curves(found)),
        fitness=tuple(_fitness(f) for f in fitness),
        memory=found.laws.memory,
        offset_ratio=found.offset_ratio,
        unclear_devices=found.unclear,
        temperature_kelvin=found.temperature_kelvin,
        good=all(f.good for f in fitness),
    )


def make_preset(found: Found, chip: ChipInfo, base: str, measured_at: str) -> ChipPreset:
    """Return the preset file of a chip: what was measured, and what the chip states of itself.

    What neither tells (stuck devices aside, activation energy, wires) is that of `base`.
    """
    info = chip.cores[found.plan.core]
    origin = f"fitted on {chip.serial} at {measured_at}"
    by_name = {e.name: e for e in _estimates(found)}
    unit = info.device.device_g_max_siemens * 1e6

    def fitted(name: str) -> Quantity | None:
        e = by_name.get(name)
        if e is None:
            return None
        return Quantity(
            value=e.value, low=e.low, high=e.high, unit=e.unit, source=f"{origin}, n={e.n}"
        )

    def stated(value: float, unit: str = "1") -> Quantity:
        return Quantity(value=value, unit=unit, source=STATED)

    laws = found.laws
    return ChipPreset(
        base=base,
        title=f"{chip.model} chip {chip.serial}, fitted at {measured_at}",
        origin=OriginSection(
            serial=chip.serial,
            model=chip.model,
            backend=chip.backend.value,
            measured_at=measured_at,
        ),
        device=DeviceSection(
            **{name: fitted(name) for name in _DEVICE},
            g_max_microsiemens=stated(unit, "µS"),
            verify_margin=stated(
                info.device.verify_margin_siemens / info.device.device_g_max_siemens
            ),
            relaxation=_entry(laws.relaxation, origin, grounded=True),
            law=LawSection(
                g_ref_microsiemens=stated(unit, "µS"),
                t0_s=stated(found.axis.t0_s, "s"),
                t_read_s=stated(found.axis.t_read_s, "s"),
                longest_age_s=Quantity(
                    value=float(found.axis.age_s[-1]), unit="s", source=f"{origin}, oldest read"
                ),
                sigma=_entry(found.cycle.sigma, origin, scale=unit, unit="µS"),
                mu=_entry(laws.mu, origin),
                sd=_entry(laws.sd, origin),
                q=_entry(laws.q, origin),
            ),
        ),
        converters=_converters(info, {name: fitted(name) for name in _CONVERTERS}),
        array=ArraySection(
            rows=info.rows, cols=info.cols, devices_per_polarity=info.devices_per_polarity
        ),
        timing=_timing(info),
    )


def _converters(info: CoreInfo, fitted: dict[str, Quantity | None]) -> ConverterSection:
    """What the chip states of its converters, and the spreads that were measured."""
    bits = info.output_codes.bits
    physical = bits <= 12
    counts = info.device.device_g_max_siemens / info.read.step * 255 / info.read.max_code
    trims: dict[str, Quantity | int] = {}
    if info.gain_trim is not None:
        trims["gain_trim_step"] = Quantity(value=info.gain_trim.step, source=STATED)
        trims["gain_trim_max"] = info.gain_trim.max_code
    if info.offset_trim is not None:
        step = info.offset_trim.step * 127 / info.output_codes.max_code
        trims["offset_trim_step"] = Quantity(value=step, unit="code", source=STATED)
        trims["offset_trim_max"] = info.offset_trim.max_code
    ranges = [s / info.device.g_max_siemens for s in info.output_ranges_siemens]
    return ConverterSection.model_validate(
        {
            **{name: value for name, value in fitted.items() if value is not None},
            **trims,
            "input_max": info.input.max_code,
            "adc_bits": bits if physical else None,
            "read_counts_at_g_max": Quantity(value=counts, source=STATED),
            "output_ranges": tuple(ranges),
        }
    )


def _timing(info: CoreInfo) -> TimingSection:
    fastest = min(info.mvm_s.values())
    slot = max((p.slot_s for p in info.pulses if p.family is PulseFamily.RESET), default=None)
    return TimingSection(
        mvm_s=(fastest, info.mvm_s.get(MvmMode.FOUR_PHASE, fastest)),
        pulse_slot_s=slot,
        read_slot_s=info.read_slot_s,
    )


def _entry(
    curve: Curve, origin: str, *, scale: float = 1.0, unit: str = "1", grounded: bool = False
) -> CurveEntry:
    """A law as a preset file holds it; `grounded` adds the knot (0, 0)."""
    r = tuple(float(v) for v in curve.r)
    values = tuple(float(v) * scale for v in curve.values)
    band = tuple(
        BandPoint(r=at, value=v, low=float(low) * scale, high=float(high) * scale)
        for at, v, low, high in zip(r, values, curve.low, curve.high, strict=True)
    )
    form: PolynomialForm | PiecewiseLinearForm
    grid = np.linspace(0.0, 1.0, 1001)
    if curve.coefficients is not None and curve.at(grid).min() >= 0:
        form = PolynomialForm(c=tuple(float(c) * scale for c in curve.coefficients))
    elif grounded:
        form = PiecewiseLinearForm(r=(0.0, *r), values=(0.0, *values))
    else:
        form = PiecewiseLinearForm(r=r, values=values)
    return CurveEntry(
        form=form,
        fitted_range=(r[0], min(r[-1], 1.0)),
        band=band,
        unit=unit,
        source=f"{origin}, n={curve.n}",
    )


def _estimates(found: Found) -> list[Estimate]:
    return [
        *found.converters.estimates,
        *found.set_states.estimates,
        *found.curves.estimates,
        *found.steps.estimates,
    ]


def _curves(found: Found) -> list[Curve]:
    laws = found.laws
    return [found.cycle.sigma, laws.mu, laws.sd, laws.q, laws.relaxation]


def _estimate(e: Estimate) -> EstimateDocument:
    published = {f"set_step_{n}": v for n, v in zip(NAMES, PUBLISHED_STEP, strict=True)}
    return EstimateDocument(
        name=e.name,
        value=float(e.value),
        low=float(e.low),
        high=float(e.high),
        unit=e.unit,
        n=e.n,
        published=published.get(e.name),
    )


def _curve(c: Curve) -> CurveDocument:
    return CurveDocument(
        name=c.name,
        r=tuple(map(float, c.r)),
        values=tuple(map(float, c.values)),
        low=tuple(map(float, c.low)),
        high=tuple(map(float, c.high)),
        unit=c.unit,
        n=c.n,
    )


def _fitness(f: Fitness) -> FitnessDocument:
    return FitnessDocument(
        family=f.family,
        statistic=f.statistic,
        value=float(f.value),
        low=float(f.low),
        high=float(f.high),
        good=bool(f.good),
    )
