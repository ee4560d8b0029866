"""When a calibration record holds: compares it with a core as it is now, and applies it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from hil.calibration.record import CalibrationRecord, SettingName, sha256_of
from hil.core import CoreSettings
from hil.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil.core import Core
    from hil.info import CoreInfo

__all__ = ["apply_record", "require_valid", "settings_digest", "settings_of", "software_revision"]

PACKAGE = "aimc-hil"
TRIMS = ("gain_trim", "offset_trim")
"""Parameters that are registers of the core: fields of `CoreSettings`."""
DIGITS = 16
"""Hexadecimal digits shown of a digest."""
INFO_FIELDS = (
    "model",
    "rows",
    "cols",
    "devices_per_polarity",
    "input",
    "output_codes",
    "output_ranges_siemens",
    "gain_trim",
    "offset_trim",
    "device",
)
"""What of CoreInfo changes the meaning of a code, and so of a record."""


def software_revision(info: CoreInfo) -> dict[str, str]:
    """Return versions by component: this software's and those the core reports."""
    return {**info.versions, PACKAGE: _own_version()}


def settings_of(settings: CoreSettings, names: Iterable[SettingName]) -> dict[SettingName, str]:
    """Return the named settings as short text; arrays as a digest of their codes."""
    return {name: _as_text(getattr(settings, name)) for name in names}


def settings_digest(info: CoreInfo, settings: dict[SettingName, str]) -> str:
    """Return sha256 over the settings and what of `info` gives codes their meaning."""
    document = {
        "info": info.model_dump(mode="json", include=set(INFO_FIELDS)),
        "settings": settings,
    }
    return sha256_of(document)


def require_valid(record: CalibrationRecord, core: Core) -> None:
    """Refuse a record that does not hold for `core` as it is now.

    Raises:
        RecordError: With fields `field`, `value` (the core's) and `wanted` (the record's).
    """
    info = core.info
    for field, value, wanted in (
        ("backend", info.backend.value, record.backend.value),
        ("chip_serial", info.chip_serial, record.chip_serial),
        ("core", info.core, record.core),
    ):
        _require(record, field, value, wanted, "calibrate this core")
    _require_software(record, info)
    settings = settings_of(core.settings(), record.settings)
    for name, wanted_text in record.settings.items():
        _require(record, name, settings[name], wanted_text, "configure it so, or calibrate again")
    _require(
        record,
        "settings_digest",
        settings_digest(info, settings)[:DIGITS],
        record.settings_digest[:DIGITS],
        "the core's scales or limits have changed; calibrate again",
    )
    status = core.status()
    away = abs(status.temperature_kelvin - record.temperature_kelvin)
    if not away <= record.temperature_band_kelvin:
        raise RecordError(
            f"{record.kind} record: temperature is {status.temperature_kelvin:.2f} K, the record "
            f"holds within {record.temperature_kelvin:.2f} ± {record.temperature_band_kelvin:g} K; "
            "calibrate again at this temperature",
            field="temperature_kelvin",
            value=status.temperature_kelvin,
            wanted=record.temperature_kelvin,
        )
    if record.generation is not None:
        _require(
            record,
            "generation",
            status.generation,
            record.generation,
            "cells were pulsed since; calibrate again",
        )


def apply_record(record: CalibrationRecord, core: Core) -> None:
    """Set the trim registers that a valid record holds; the cells are not touched.

    Raises:
        RecordError: The record does not hold for this core, or holds no trim codes.
    """
    trims = {
        name: record.array(name).astype(np.int16) for name in TRIMS if name in record.parameters
    }
    if not trims:
        raise RecordError(
            f"a {record.kind} record sets no register; use its parameters: "
            f"{', '.join(record.parameters)}"
        )
    require_valid(record, core)
    core.configure(CoreSettings(**trims))  # type: ignore[arg-type]  # names are TRIMS


def _require(
    record: CalibrationRecord, field: str, value: object, wanted: object, next_step: str
) -> None:
    if value != wanted:
        raise RecordError(
            f"{record.kind} record: {field} is {value}, the record was made for {wanted}; "
            f"{next_step}",
            field=field,
            value=value,
            wanted=wanted,
        )


def _require_software(record: CalibrationRecord, info: CoreInfo) -> None:
    now = software_revision(info)
    for name, made_with in record.software.items():
        have = now.get(name, "none")
        if _major(have) != _major(made_with):
            raise RecordError(
                f"{record.kind} record: {name} is {have}, the record was made with {made_with}; "
                "calibrate again",
                field="software",
                value=have,
                wanted=made_with,
            )


@cache  # read from the disk: a third of the time of one sample through a network
def _own_version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "0+unknown"


def _major(text: str) -> str:
    return text.split(".", maxsplit=1)[0].split("+", maxsplit=1)[0]


def _as_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        codes = np.ascontiguousarray(value, dtype="<i4")
        return f"sha256:{hashlib.sha256(codes.tobytes()).hexdigest()[:DIGITS]}"
    return str(value)
