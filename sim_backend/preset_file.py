"""Preset files and presets: a file's values in place of a built-in preset's, and the way back.

Knows both documents; opens no chip. The law's curves are checked over their whole range.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hil.chip_preset import (
    ArraySection,
    ChipPreset,
    ConverterSection,
    DeviceSection,
    LawSection,
    TimingSection,
    load_chip_preset,
)
from hil.errors import RecordError, RequestError
from hil.preset_values import (
    CurveEntry,
    LogClipForm,
    PiecewiseLinearForm,
    PolynomialForm,
    PowerClipForm,
    Quantity,
    SplitForm,
)
from sim_backend.laws import (
    Curve,
    LogClip,
    PiecewiseLinear,
    Polynomial,
    PowerClip,
    Split,
    StatisticalLaw,
)
from sim_backend.params import Preset, WireParams

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hil.preset_values import Form
    from sim_backend.params import DeviceParams

__all__ = ["document_of", "preset_from_file", "preset_of"]

CURVES = ("sigma", "mu", "sd", "q")
"""Curves of a law, by name."""
GRID = 1001
"""Points over r at which a curve is checked."""
EXPONENT_MOST = 1.0
"""Largest drift exponent or spread of one that is taken for physics."""
_UNITS = {
    "g_max_microsiemens": "µS",
    "set_ceiling_microsiemens": "µS",
    "g_ref_microsiemens": "µS",
    "i50_ampere": "A",
    "slope_ampere": "A",
    "activation_ev": "eV",
    "t0_s": "s",
    "t_read_s": "s",
    "longest_age_s": "s",
    "offset_sigma": "code",
    "offset_trim_step": "code",
    "output_noise": "code",
    "ohm_per_cell": "Ω",
}


def preset_from_file(path: Path, base: Preset) -> Preset:
    """Return `base` with what a preset file gives in its place.

    Raises:
        RecordError: The file is missing, damaged, of another version, or a value is out of range.
        RequestError: It stands on another built-in preset.
    """
    try:
        return preset_of(load_chip_preset(path), base)
    except (RecordError, RequestError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"preset file {path}: {error}", **error.fields) from error


def preset_of(document: ChipPreset, base: Preset) -> Preset:
    """Return `base` with the values of a document in their place.

    Raises:
        RequestError: The document stands on another preset, or on one without physics.
        RecordError: A curve takes a value that is no physics.
    """
    if document.base != base.name:
        raise RequestError(
            f"it stands on the preset {document.base!r}, the address names {base.name!r}; open it "
            f"as sim:{document.base}?params=FILE",
            base=document.base,
        )
    if base.device is None or base.converters is None:
        raise RequestError(f"preset {base.name!r} has no physics to take the values of a file")
    array, timing = document.array, document.timing
    ohm = array.ohm_per_cell
    per_polarity = base.devices_per_polarity
    if array.devices_per_polarity is not None:
        first = array.devices_per_polarity
        per_polarity = (first, *(n for n in per_polarity if n != first))
    return replace(
        base,
        rows=array.rows or base.rows,
        cols=array.cols or base.cols,
        devices_per_polarity=per_polarity,
        device=_device(document.device, base.device),
        converters=_replaced(base.converters, document.converters),
        wire=base.wire if ohm is None else WireParams(ohm_per_cell=ohm.value),
        mvm_s=timing.mvm_s or base.mvm_s,
        pulse_slot_s=timing.pulse_slot_s or base.pulse_slot_s,
        read_slot_s=timing.read_slot_s or base.read_slot_s,
    )


def document_of(preset: Preset, *, source: str | None = None) -> ChipPreset:
    """Return every value of a preset as a document; its curves in their own closed forms.

    Raises:
        RequestError: The preset has no physics.
    """
    device, converters = preset.device, preset.converters
    if device is None or converters is None:
        raise RequestError(f"preset {preset.name!r} has no physics to write into a file")
    law = device.law
    of_law = source or law.source
    source = source or f"built-in preset {preset.name}"
    curves = {name: _entry(getattr(law, name), of_law) for name in CURVES}
    r, values = zip(*device.relaxation, strict=True)
    relaxation = CurveEntry(form=PiecewiseLinearForm(r=r, values=values), source=source)
    ohm = None if preset.wire is None else preset.wire.ohm_per_cell
    return ChipPreset(
        base=preset.name,
        title=f"all values of the built-in preset {preset.name}",
        device=DeviceSection.model_validate(
            {
                **_quantities(device, DeviceSection, source),
                "relaxation": relaxation,
                "law": {**_quantities(law, LawSection, source), **curves},
            }
        ),
        converters=ConverterSection.model_validate(
            _quantities(converters, ConverterSection, source)
        ),
        array=ArraySection(
            rows=preset.rows,
            cols=preset.cols,
            devices_per_polarity=preset.devices_per_polarity[0],
            ohm_per_cell=None if ohm is None else Quantity(value=ohm, unit="Ω", source=source),
        ),
        timing=TimingSection(
            mvm_s=preset.mvm_s, pulse_slot_s=preset.pulse_slot_s, read_slot_s=preset.read_slot_s
        ),
    )


def _device(section: DeviceSection, base: DeviceParams) -> DeviceParams:
    relaxation = base.relaxation
    if section.relaxation is not None:
        form = section.relaxation.form
        assert isinstance(form, PiecewiseLinearForm)  # noqa: S101 - checked by the document
        if len(form.r) < 2 or min(form.values) < 0:
            raise RecordError("device.relaxation needs two knots or more, none below 0")
        relaxation = tuple(zip(form.r, form.values, strict=True))
    law: StatisticalLaw = _replaced(base.law, section.law)
    given = [getattr(section.law, name) for name in CURVES]
    sources = list(dict.fromkeys(curve.source for curve in given if curve is not None))
    if sources:
        law = replace(law, source="; ".join(sources))
    _check_law(law)
    device: DeviceParams = _replaced(base, section)
    return replace(device, relaxation=relaxation, law=law)


def _replaced(base: Any, section: BaseModel) -> Any:  # noqa: ANN401 - any of the parameter classes
    """Take the numbers and curves that a section gives; those that are None stay."""
    given: dict[str, Any] = {}
    lacking = [
        name
        for name in type(section).model_fields
        if getattr(section, name) is not None and not hasattr(base, name)
    ]
    if lacking:
        raise RequestError(
            f"this simulator has no parameter {lacking[0]!r}; take it out of the file"
        )
    known = {field.name for field in fields(base)} - {"law", "relaxation"}
    for name in known & set(type(section).model_fields):
        value = getattr(section, name)
        if isinstance(value, Quantity):
            given[name] = value.value
        elif isinstance(value, CurveEntry):
            given[name] = _curve(value.form)
        elif value is not None:
            given[name] = value
    return replace(base, **given)


def _check_law(law: StatisticalLaw) -> None:
    """Refuse curves that are no physics anywhere in 0...1."""
    r = torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
    bounds = {
        "sigma": (0.0, 10 * law.g_ref_microsiemens),
        "mu": (-EXPONENT_MOST, EXPONENT_MOST),
        "sd": (0.0, EXPONENT_MOST),
        "q": (0.0, 1.0),
    }
    for name, (low, high) in bounds.items():
        values = getattr(law, name)(r)
        bad = ~((values >= low) & (values <= high))
        if bool(bad.any()):
            k = int(bad.nonzero()[0])
            raise RecordError(
                f"device.law.{name} is {float(values[k]):.6g} at r = {float(r[k]):.3g}, outside "
                f"{low:g}...{high:g}; correct the curve",
                name=name,
                value=float(values[k]),
            )


def _curve(form: Form) -> Curve:
    values = form.model_dump(exclude={"kind"})
    match form:
        case LogClipForm():
            return LogClip(**values)
        case PowerClipForm():
            return PowerClip(**values)
        case PolynomialForm():
            return Polynomial(form.c)
        case SplitForm():
            low = LogClip(**form.low.model_dump(exclude={"kind"}))
            return Split(at=form.at, low=low, high=Polynomial(form.high.c))
        case PiecewiseLinearForm():
            return PiecewiseLinear(r=form.r, values=form.values)


def _entry(curve: Curve, source: str) -> CurveEntry:
    form: Form
    match curve:
        case LogClip():
            form = LogClipForm(**vars(curve))
        case PowerClip():
            form = PowerClipForm(**vars(curve))
        case Polynomial():
            form = PolynomialForm(c=curve.c)
        case Split():
            low = LogClipForm(**vars(curve.low))
            form = SplitForm(at=curve.at, low=low, high=PolynomialForm(c=curve.high.c))
        case PiecewiseLinear():
            form = PiecewiseLinearForm(r=curve.r, values=curve.values)
    return CurveEntry(form=form, source=source)


def _quantities(values: object, section: type[BaseModel], source: str) -> dict[str, object]:
    """Those numbers of a parameter class that a section holds."""
    found: dict[str, object] = {}
    for name in section.model_fields:
        value = getattr(values, name, None)
        if isinstance(value, float):
            unit = _UNITS.get(name, "1")
            found[name] = Quantity(value=value, unit=unit, source=source)
        elif isinstance(value, int | tuple) and name not in ("relaxation", "law"):
            found[name] = value
    return found
