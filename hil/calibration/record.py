"""Calibration records: documents that say what was found and on what. Knows no core.

A record is tied to a chip, a core, the settings it depends on, the software, a temperature band
and, where it describes programmed cells, their programming generation.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import override

from hil.core import Window
from hil.errors import RecordError
from hil.info import BackendKind

__all__ = [
    "SCHEMA_VERSION",
    "CalibrationRecord",
    "Parameter",
    "WindowDocument",
    "load_record",
    "save_record",
    "sha256_of",
]

SCHEMA_VERSION = 1
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
    values: tuple[bool | int | float, ...] = Field(repr=False)

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

    __str__ = __repr__  # pydantic's own would print every value


def save_record(record: CalibrationRecord, path: Path) -> None:
    """Write a record as JSON; the file is complete or not there (temporary file, then rename)."""
    body = record.model_dump(mode="json")
    text = json.dumps({**body, "sha256": sha256_of(body)}, allow_nan=False)
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
    if digest is None or digest != _digest_or_none(document):
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


def sha256_of(document: object) -> str:
    """Return the digest of a document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_or_none(document: object) -> str | None:
    try:
        return sha256_of(document)
    except ValueError:  # a number that JSON cannot write: no document of ours
        return None
