"""Calibration records: documents that say what was found, on what, and when it no longer holds.

A record is tied to a chip, a core, the settings it depends on, the software, a temperature band
and, where it describes programmed cells, their programming generation. Knows no search.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import override

from hil.core import CoreSettings, Window
from hil.errors import RecordError
from hil.info import BackendKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil.core import Core
    from hil.info import CoreInfo

__all__ = [
    "SCHEMA_VERSION",
    "TRIMS",
    "CalibrationRecord",
    "Parameter",
    "WindowDocument",
    "apply_record",
    "load_record",
    "require_valid",
    "save_record",
    "settings_digest",
    "settings_of",
    "software_revision",
]

SCHEMA_VERSION = 1
TRIMS = ("gain_trim", "offset_trim")
"""Parameters that are registers of the core: fields of `CoreSettings`."""
PACKAGE = "aimc-hil"
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

DType = Literal["bool", "int64", "float64"]
SettingName = Literal["output_range", "gain_trim", "offset_trim", "temperature_kelvin"]
WIDENED: dict[DType, str] = {"bool": "b", "int64": "iu", "float64": "f"}
"""Kinds of numpy arrays that are stored as each dtype."""
KINDS: dict[DType, str] = {"bool": "b", "int64": "iu", "float64": "fi"}
"""Kinds that a file may hold for each dtype (JSON writes a whole float as an integer)."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Parameter(BaseModel):
    """A named array of a record: unit, shape and values in row-major order.

    A mask has unit "bool", a count or a code is "int64", everything else "float64".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    dtype: DType
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    values: tuple[bool | int | float, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if int(np.prod(self.shape)) != len(self.values):
            raise ValueError(f"shape {self.shape} does not hold {len(self.values)} values")
        given = np.asarray(self.values)
        if self.values and given.dtype.kind not in KINDS[self.dtype]:
            raise ValueError(f"values are {given.dtype}, dtype says {self.dtype}")
        if not np.isfinite(given.astype(np.float64)).all():
            raise ValueError("a value is not finite")
        return self

    @classmethod
    def of(cls, array: npt.ArrayLike, unit: str) -> Self:
        """Make a parameter of an array; its dtype is widened to bool, int64 or float64."""
        given = np.asarray(array)
        dtype: DType = next(name for name, kinds in WIDENED.items() if given.dtype.kind in kinds)
        flat = tuple(given.astype(dtype).ravel().tolist())
        return cls(unit=unit, dtype=dtype, shape=given.shape, values=flat)

    def array(self) -> npt.NDArray[Any]:
        """Return the values as a new array."""
        return np.array(self.values, dtype=self.dtype).reshape(self.shape)


class WindowDocument(BaseModel):
    """A window as it stands in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    col: int
    rows: int
    cols: int

    @classmethod
    def of(cls, window: Window) -> Self:
        """Copy a window."""
        return cls(row=window.row, col=window.col, rows=window.rows, cols=window.cols)

    def window(self) -> Window:
        """Return the window."""
        return Window(row=self.row, col=self.col, rows=self.rows, cols=self.cols)


class CalibrationRecord(BaseModel):
    """What a calibration found.

    Attributes:
        kind: Quantity, for example "adc_gain".
        backend, chip_serial, core, model: What was calibrated.
        window: Block of the array; None is the whole core or no array at all.
        settings: Settings in force that the result depends on, by name.
        settings_digest: sha256 over those and the part of CoreInfo that gives codes a meaning.
        software: Versions by component, ours under the distribution's name.
        temperature_kelvin, temperature_band_kelvin: Measured at, and valid within ± of it.
        generation: Programming generation of the core; None if the cells do not matter.
        parameters: What was found, by name.
        success: One per instance (col, channel): False where the value must not be trusted.
        residual: One per instance, in `residual_unit`: what is left after the correction, measured
            again after the search.
        made_at_s: Device time of the last measurement, s.
        prerequisites: Kinds that must be in force before this one.
        search: Search by knob.
        seed: Seed of the stimuli.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: str
    backend: BackendKind
    chip_serial: str
    core: int
    model: str
    window: WindowDocument | None
    settings: dict[SettingName, str]
    settings_digest: str
    software: dict[str, str]
    temperature_kelvin: Finite
    temperature_band_kelvin: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    generation: int | None
    parameters: dict[str, Parameter]
    success: Parameter
    residual: Parameter
    made_at_s: Finite
    prerequisites: tuple[str, ...] = ()
    search: dict[str, str] = Field(default_factory=dict)
    seed: int

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return parameter `name` as an array; RecordError names those there are."""
        found = self.parameters.get(name)
        if found is None:
            known = ", ".join(self.parameters) or "none"
            raise RecordError(f"a {self.kind} record has no parameter {name!r}; it has: {known}")
        return found.array()

    @property
    def success_mask(self) -> npt.NDArray[np.bool_]:
        """One per instance."""
        return self.success.array()

    @property
    def residuals(self) -> npt.NDArray[np.float64]:
        """One per instance, in the unit of `residual`."""
        return self.residual.array()

    @override
    def __repr__(self) -> str:
        good = self.success_mask
        return (
            f"<CalibrationRecord {self.kind} of core {self.core} of {self.chip_serial}: "
            f"{int(good.sum())} of {good.size} good>"
        )


def software_revision(info: CoreInfo) -> dict[str, str]:
    """Return versions by component: this software's and those the core reports."""
    try:
        own = version(PACKAGE)
    except PackageNotFoundError:  # run from a source tree that was not installed
        own = "0+unknown"
    return {**info.versions, PACKAGE: own}


def settings_of(settings: CoreSettings, names: Iterable[SettingName]) -> dict[SettingName, str]:
    """Return the named settings as short text; arrays as a digest of their codes."""
    return {name: _as_text(getattr(settings, name)) for name in names}


def settings_digest(info: CoreInfo, settings: dict[SettingName, str]) -> str:
    """Return sha256 over the settings and what of `info` gives codes their meaning."""
    document = {
        "info": info.model_dump(mode="json", include=set(INFO_FIELDS)),
        "settings": settings,
    }
    return _sha256(document)


def save_record(record: CalibrationRecord, path: Path) -> None:
    """Write a record as JSON; the file is complete or not there (temporary file, then rename)."""
    body = record.model_dump(mode="json")
    text = json.dumps({**body, "sha256": _sha256(body)}, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load_record(path: Path) -> CalibrationRecord:
    """Read a record.

    Raises:
        RecordError: The file is missing, truncated, altered, or of another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path} does not exist; calibrate first", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} is not a complete calibration record ({error}); calibrate again",
            path=str(path),
        ) from error
    if not isinstance(document, dict):
        raise RecordError(f"{path} holds no calibration record; calibrate again", path=str(path))
    schema = document.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema_version {schema!r}; this software reads {SCHEMA_VERSION}; "
            "calibrate again",
            path=str(path),
            value=schema,
            wanted=SCHEMA_VERSION,
        )
    digest = document.pop("sha256", None)
    if digest != _sha256(document):
        raise RecordError(
            f"{path} was altered after it was written (sha256 differs); calibrate again",
            path=str(path),
            value=digest,
        )
    try:
        return CalibrationRecord.model_validate(document)
    except ValidationError as error:
        raise RecordError(
            f"{path} is not a calibration record of schema {SCHEMA_VERSION} ({error}); "
            "calibrate again",
            path=str(path),
        ) from error


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


def _major(text: str) -> str:
    return text.split(".", maxsplit=1)[0].split("+", maxsplit=1)[0]


def _as_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        codes = np.ascontiguousarray(value, dtype="<i4")
        return f"sha256:{hashlib.sha256(codes.tobytes()).hexdigest()[:DIGITS]}"
    return str(value)


def _sha256(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
