"""Pulse limits as a data file, by chip model: what a lab lets through. Knows requests, no chip.

The limits narrow what a device says of itself and never widen it: a request must pass both. The
same function judges in the planner, in the guard before a pulse leaves, and in a device emulator.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hil.errors import RequestError
from hil.info import BackendKind, PulseFamily

if TYPE_CHECKING:
    from hil.info import CoreInfo
    from hil.info import PulseLimits as DeviceLimits
    from hil.requests import Pulse

__all__ = [
    "Budget",
    "FamilyLimits",
    "Limits",
    "LimitsFile",
    "check_limits",
    "largest_group",
    "limits_for",
    "load_limits",
]

CHIP_LIMITS_FILE = "limits.toml"
"""In the folder of a chip's records: its own limits, in place of its model's."""
_PACKAGE, _FOLDER = "protocols", "limits"
_ROUNDING = 1 + 1e-9
"""Codes times their step are compared with decimal numbers of a file."""

Current = Annotated[float, Field(gt=0, le=0.1, allow_inf_nan=False)]
Width = Annotated[float, Field(gt=0, le=1e-2, allow_inf_nan=False)]
Pulses = Annotated[int, Field(ge=0, le=2**62)]


class Section(BaseModel):
    """A table of a limits file: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FamilyLimits(Section):
    """What one pulse family may be; None leaves it to the device.

    Attributes:
        amplitude_min_ampere, amplitude_max_ampere: Pulse amplitude, A.
        width_min_s, width_max_s: Pulse width, s.
        max_count: Most pulses per entry of a request.
        concurrent_cells: Most cells pulsed at a time: entries on one device index and one array
            diagonal.
        duty_max: Most of its slot that a pulse fills.
        first_amplitude_max_ampere: Most amplitude of the first pulse that a device gets in a
            session, A.
        amplitude_step_max_ampere: Most rise of amplitude from one request to the next on a device,
            A. Needs `first_amplitude_max_ampere`, where the ladder begins.
    """

    amplitude_min_ampere: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    amplitude_max_ampere: Current | None = None
    width_min_s: Width | None = None
    width_max_s: Width | None = None
    max_count: Annotated[int, Field(ge=1)] | None = None
    concurrent_cells: Annotated[int, Field(ge=1)] | None = None
    duty_max: Annotated[float, Field(gt=0, le=1)] | None = None
    first_amplitude_max_ampere: Current | None = None
    amplitude_step_max_ampere: Current | None = None

    @property
    def amplitudes(self) -> tuple[float | None, float | None]:
        """Least and most amplitude, A."""
        return self.amplitude_min_ampere, self.amplitude_max_ampere

    @property
    def widths(self) -> tuple[float | None, float | None]:
        """Least and most width, s."""
        return self.width_min_s, self.width_max_s

    @model_validator(mode="after")
    def _check(self) -> Self:
        for low, high in (
            ("amplitude_min_ampere", "amplitude_max_ampere"),
            ("width_min_s", "width_max_s"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} {least} is above {high} {most}")
        if self.amplitude_step_max_ampere and not self.first_amplitude_max_ampere:
            raise ValueError("amplitude_step_max_ampere needs first_amplitude_max_ampere")
        return self


class Budget(Section):
    """How many pulses may be sent, all families together; None is as many as one likes.

    Attributes:
        pulses_per_device: To any one device, in the life of the chip.
        pulses_per_cell: To the devices of any one cell together, likewise.
        pulses_per_run: In one run, all cores together.
        pulses_per_chip: In the life of the chip, all cores together.
    """

    pulses_per_device: Pulses | None = None
    pulses_per_cell: Pulses | None = None
    pulses_per_run: Pulses | None = None
    pulses_per_chip: Pulses | None = None


class LimitsFile(Section):
    """A limits file: which model it is for, families and budgets. A family not in it is refused."""

    schema_version: Literal[1]
    model: str = Field(min_length=1, max_length=128)
    title: str = Field(min_length=1, max_length=400)
    pulses: dict[PulseFamily, FamilyLimits] = Field(min_length=1)
    budget: Budget = Budget()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits in force.

    Attributes:
        source: File or bundled name, for sentences.
        sha256: Hash of the file's bytes; of nothing where only the device's own limits hold.
        families: What each family may be; None: only the device's own limits hold.
        budget: How many pulses may be sent.
    """

    source: str
    sha256: str
    families: dict[PulseFamily, FamilyLimits] | None
    budget: Budget


def limits_for(model: str, backend: BackendKind, folder: Path | None = None) -> Limits:
    """Return the limits in force for a chip: its own file, its model's, or its device's alone.

    Args:
        model: `ChipInfo.model`.
        backend: `ChipInfo.backend`.
        folder: Folder of the chip's records, where its own limits may lie.

    Raises:
        RequestError: A file is no limits file of this model; silicon without one.
    """
    own = None if folder is None else folder / CHIP_LIMITS_FILE
    if own is not None and own.exists():
        return load_limits(own, model)
    bundled = resources.files(_PACKAGE) / _FOLDER / f"{model}.toml"
    if "/" not in model and bundled.is_file():
        return _parsed(bundled.read_bytes(), f"{model}.toml", model)
    if backend is BackendKind.SILICON:
        where = own or f"{CHIP_LIMITS_FILE} in the chip's folder"
        raise RequestError(
            f"no pulse limits are listed for model {model!r}: silicon is not pulsed without; "
            f"write {where} (families, amplitudes, widths, budgets)",
            model=model,
        )
    return Limits(
        source="the device's own limits",
        sha256=hashlib.sha256(b"").hexdigest(),
        families=None,
        budget=Budget(),
    )


def load_limits(path: Path, model: str) -> Limits:
    """Read a limits file for chips of `model`.

    Raises:
        RequestError: It cannot be read, is no limits file, or is that of another model.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"pulse limits {path} cannot be read: {error.strerror}") from error
    return _parsed(content, str(path), model)


def check_limits(limits: Limits, info: CoreInfo, pulse: Pulse) -> None:
    """Check a pulse request against the limits in force; `info` has accepted it already.

    Raises:
        RequestError: The family is not listed, or a value is outside; nothing has left.
    """
    if limits.families is None:
        return
    allowed, device = limits.families.get(pulse.family), info.limits(pulse.family)
    if allowed is None or device is None:
        listed = ", ".join(family.value for family in limits.families)
        raise RequestError(
            f"pulse family {pulse.family.value} is not listed in {limits.source} (it lists: "
            f"{listed})"
        )
    if not len(pulse):
        return
    _check_values(limits, allowed, device, pulse)
    if allowed.concurrent_cells is not None:
        group = largest_group(info, pulse)
        if group > allowed.concurrent_cells:
            name = f"{pulse.family.value} cells at a time"
            most = allowed.concurrent_cells
            raise _outside(name, group, f"the most that {limits.source} allows", most)


def largest_group(info: CoreInfo, pulse: Pulse) -> int:
    """Most cells that a request pulses at a time: one device index on one array diagonal."""
    side = max(info.rows, info.cols)
    diagonal = (pulse.cols.astype(np.int64) - pulse.rows) % side
    return int(np.bincount(pulse.device.astype(np.int64) * side + diagonal).max())


def _check_values(
    limits: Limits, allowed: FamilyLimits, device: DeviceLimits, pulse: Pulse
) -> None:
    a, family = allowed, pulse.family.value
    width = device.width.to_si(pulse.width)
    rows: tuple[tuple[str, npt.NDArray[Any], float | None, float | None], ...] = (
        ("amplitude_ampere", device.amplitude.to_si(pulse.amplitude), *a.amplitudes),
        ("width_s", width, *a.widths),
        ("count", pulse.count, None, a.max_count),
        ("duty", width / device.slot_s, None, a.duty_max),
    )
    for name, values, low, high in rows:
        least, most = float(values.min()), float(values.max())
        if high is not None and most > high * _ROUNDING:
            raise _outside(f"{family} {name}", most, f"the most that {limits.source} allows", high)
        if low is not None and least * _ROUNDING < low:
            raise _outside(f"{family} {name}", least, f"the least that {limits.source} allows", low)


def _outside(name: str, value: float, what: str, limit: float) -> RequestError:
    side = "above" if value > limit else "below"
    return RequestError(
        f"{name} {value:.6g} is {side} {limit:.6g}, {what}; no pulse has left",
        name=name,
        value=value,
        limit=limit,
    )


def _parsed(content: bytes, source: str, model: str) -> Limits:
    try:
        found = LimitsFile.model_validate(tomllib.loads(content.decode("utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"pulse limits {source!r} are not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RequestError(
            f"pulse limits {source!r}: {key + ': ' if key else ''}{message}; correct the file"
        ) from error
    if found.model != model:
        raise RequestError(
            f"pulse limits {source!r} are those of model {found.model!r}, the chip is a {model!r}"
        )
    return Limits(
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        families=dict(found.pulses),
        budget=found.budget,
    )
