"""How a network is put on a chip: choices only, no action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hil.errors import RequestError
from hil.matrix.program import require_settle
from hil.programming import ProgrammingAlgorithm

__all__ = ["Compensation", "DeploymentSettings", "Plan"]


class Plan(StrEnum):
    """Where layers are while the network runs."""

    RESIDENT = "resident"
    """All layers stand in the array at once."""
    REPROGRAM = "reprogram"
    """Layers are written in turn onto the cores at hand, anew for every run."""


class Compensation(StrEnum):
    """How drift is compensated digitally."""

    NONE = "none"
    GLOBAL = "global"
    PER_COLUMN = "per_column"
    AFFINE = "affine"
    BATCH_NORM = "batch_norm"
    """Batch-norm statistics re-estimated on the chip's outputs (AdaBS); layers without batch-norm
    are compensated globally."""


@dataclass(frozen=True, kw_only=True)
class DeploymentSettings:
    """How a network is put on a chip.

    Attributes:
        plan: Where layers are while it runs.
        method: "gdp", "verify" or "open_loop", or a programming algorithm.
        method_settings: Hyper-parameters of a method given by name.
        seed: Seeds the random inputs of programming and calibration.
        calibrate: Trim converters that are not trimmed yet, and fit the per-col affine correction
            of every layer on its sample inputs.
        settle_s: Age at which layers are calibrated, device time since the last pulse, s; None is
            the chip's reference age.
    """

    plan: Plan | str = Plan.RESIDENT
    method: str | ProgrammingAlgorithm[Any] = "gdp"
    method_settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    calibrate: bool = True
    settle_s: float | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "plan", Plan(self.plan))
        except ValueError as error:
            known = ", ".join(p.value for p in Plan)
            raise RequestError(f"plan {str(self.plan)!r} is unknown; known: {known}") from error
        if self.seed < 0:
            raise RequestError(f"seed {self.seed} is below 0; give a whole number from 0 on")
        require_settle(self.settle_s)
