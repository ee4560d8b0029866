"""All families, and the loop that measures those asked for."""

from __future__ import annotations

import time
from importlib.metadata import version

import torch

from hil.errors import RequestError
from hil.progress import Task
from hil.validation import Effort, Plot, Validation, ValidationRequest, ValidationRow
from sim_backend.params import PRESETS
from sim_backend.validation.aihwkit_drift import AIHWKIT_DRIFT
from sim_backend.validation.base import Family, Measuring
from sim_backend.validation.circuit import CIRCUIT
from sim_backend.validation.devices import DEVICES
from sim_backend.validation.mvm_error import MVM_ERROR
from sim_backend.validation.ngspice import NGSPICE
from sim_backend.validation.pulses import PULSES
from sim_backend.validation.standard import STANDARD_CROSSBAR

__all__ = ["FAMILIES", "validate"]

FAMILIES: tuple[Family, ...] = (
    DEVICES,
    PULSES,
    STANDARD_CROSSBAR,
    MVM_ERROR,
    AIHWKIT_DRIFT,
    CIRCUIT,
    NGSPICE,
)

USED_OPTIONS = ("seed", "compute")


def validate(request: ValidationRequest) -> Validation:
    """Measure the simulator against its sources.

    Chips are made for the purpose, all presets whatever the address names; of the address, the
    seed and the compute device are used.

    Raises:
        RequestError: The preset or a family is unknown, or the preset has no physics.
    """
    address = request.address
    preset = PRESETS.get(address.target)
    if preset is None or preset.device is None:
        physical = ", ".join(name for name, each in PRESETS.items() if each.device is not None)
        raise RequestError(
            f"address {address.text!r}: there is nothing to compare {address.target!r} with; "
            f"validate one of: {physical}"
        )
    chosen = _chosen(request.only)
    seed = address.integer("seed", 1, 0, 2**62)
    compute = address.choice("compute", "cpu", ("cpu", "cuda"))
    if compute == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"address {address.text!r}: compute=cuda, but torch sees no CUDA device")
    quick = request.effort is Effort.QUICK
    rows: list[ValidationRow] = []
    plots: list[Plot] = []
    wall_s: dict[str, float] = {}
    for family in chosen:
        began = time.perf_counter()
        with request.progress.task(f"validating {family.name}", family.steps[quick]) as task:
            found = family.measure(_measuring(seed, compute, request.effort, task))
        rows += found.rows
        plots += found.plots
        wall_s[family.name] = time.perf_counter() - began
    return Validation(
        address=address.text,
        effort=request.effort,
        versions={"aimc-hil": version("aimc-hil"), "torch": str(torch.__version__)},
        families=tuple(family.name for family in chosen),
        wall_s=wall_s,
        notes=_notes(tuple(address.options), quick=quick),
        rows=tuple(rows),
        plots=tuple(plots),
    )


def _chosen(only: tuple[str, ...] | None) -> tuple[Family, ...]:
    if only is None:
        return FAMILIES
    known = {family.name: family for family in FAMILIES}
    for name in only:
        if name not in known:
            raise RequestError(f"no family {name!r} to validate; known: {', '.join(known)}")
    return tuple(family for family in FAMILIES if family.name in only)


def _measuring(seed: int, compute: str, effort: Effort, task: Task) -> Measuring:
    return Measuring(seed=seed, compute=compute, effort=effort, task=task)


def _notes(options: tuple[str, ...], *, quick: bool) -> tuple[str, ...]:
    notes = []
    unused = [key for key in options if key not in USED_OPTIONS]
    if unused:
        notes.append(
            f"Not used of the address: {', '.join(unused)}. The measurements make chips of their "
            "own, each as its source describes it."
        )
    if quick:
        notes.append("Quick: fewer devices, seeds and points than the full validation.")
    return tuple(notes)
