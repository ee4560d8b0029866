"""Golden results of ngspice: made where it is installed, read where it is not.

`tools/spice_golden.py` makes them anew. A file holds its recipe, a digest of the numbers that the
recipe gave, and what ngspice answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from hil.errors import RecordError, RequestError
from sim_backend.circuit.spice import spice_charges, spice_currents
from sim_backend.circuit.spice_cases import (
    CASES,
    G_MAX_SIEMENS,
    SWING_VOLT,
    Case,
    inputs_sha256,
)
from sim_backend.circuit.spice_netlist import PulseInput, RestInput
from sim_backend.circuit.spice_run import ngspice_version

__all__ = ["PulseGolden", "RestGolden", "golden_names", "load_golden", "make_golden"]

_FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True, kw_only=True)
class RestGolden:
    """Currents of a net at rest.

    Attributes:
        net: Conductances (lines, rows, cols) in S, wires, driver voltages (batch, lines, rows).
        output_ampere: Into every converter, (batch, cols), A.
    """

    name: str
    net: RestInput
    output_ampere: npt.NDArray[np.float64]

    @property
    def full_scale_ampere(self) -> float:
        """Current of a col whose devices are all at the highest, fully driven, with ideal wires."""
        return len(self.net.device_siemens[0]) * G_MAX_SIEMENS * SWING_VOLT


@dataclass(frozen=True, kw_only=True)
class PulseGolden:
    """Charges of a net driven by pulse widths.

    Attributes:
        net: Conductances (2, rows, cols) in S, wires, codes, levels, idle mode.
        charge_coulomb: Into every converter over the window, (cols,), C.
    """

    name: str
    net: PulseInput
    charge_coulomb: npt.NDArray[np.float64]

    @property
    def full_scale_coulomb(self) -> float:
        """Charge of a col whose added devices are all at the highest, over the whole window."""
        window_s = self.net.slots * self.net.slot_s
        return len(self.net.device_siemens[0]) * G_MAX_SIEMENS * SWING_VOLT * window_s


class _Stored(BaseModel):
    """A golden file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    case: Case
    inputs_sha256: str
    ngspice: str
    result: list[list[float]]


def golden_names(kind: Literal["rest", "pulse"] | None = None) -> tuple[str, ...]:
    """Return the names of the results at hand, of one kind or of both."""
    names = sorted(path.stem for path in _FOLDER.glob("*.json"))
    return tuple(name for name in names if kind is None or name.startswith(f"{kind}-"))


def load_golden(name: str) -> RestGolden | PulseGolden:
    """Return a golden result with the net it belongs to, by its name in `golden_names`.

    Raises:
        RequestError: There is none of that name.
        RecordError: The file is damaged, or its recipe no longer gives the numbers it was made of.
    """
    path = _FOLDER / f"{name}.json"
    if not path.is_file():
        raise RequestError(f"no golden result {name!r}; there are: {', '.join(golden_names())}")
    try:
        stored = _Stored.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{path.name} is no golden result: {error}; make it anew") from error
    net = stored.case.build()
    if inputs_sha256(net) != stored.inputs_sha256:
        raise RecordError(
            f"the recipe of {path.name} gives other numbers than it did; make it anew with "
            f"tools/spice_golden.py {name}"
        )
    found = np.array(stored.result, dtype=np.float64)
    if isinstance(net, RestInput):
        return RestGolden(name=name, net=net, output_ampere=found)
    return PulseGolden(name=name, net=net, charge_coulomb=found[0])


def make_golden(name: str, *, timeout_s: float = 3600.0) -> Path:
    """Solve a case of `CASES` with ngspice and keep the result; seconds to minutes.

    Raises:
        RequestError: There is no case of that name.
        SpiceError: ngspice is missing, failed or took too long.
    """
    if name not in CASES:
        raise RequestError(f"no case {name!r}; there are: {', '.join(CASES)}")
    case = CASES[name]
    net = case.build()
    if isinstance(net, RestInput):
        found = spice_currents(net, timeout_s=timeout_s)
    else:
        found = spice_charges(net, timeout_s=timeout_s)[None]
    stored = _Stored(
        case=case,
        inputs_sha256=inputs_sha256(net),
        ngspice=ngspice_version(),
        result=found.tolist(),
    )
    _FOLDER.mkdir(exist_ok=True)
    path = _FOLDER / f"{name}.json"
    path.write_text(stored.model_dump_json() + "\n", encoding="utf-8")
    return path
