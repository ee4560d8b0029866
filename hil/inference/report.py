"""What a deployment reports, as documents. Data only."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hil.info import BackendKind
from hil.mapping import Placement

__all__ = ["DeploymentReport", "LayerReport"]


class LayerReport(BaseModel):
    """One analog layer: how it was written, and what its latest run did.

    Attributes:
        name, kind: The layer.
        rows, cols, cells: Size of its matrix; cells it takes.
        tiles, cores, rounds: Blocks it was cut into; cores they lie on; times the cores were
            written for it.
        success_share: Share of cells accepted while programming; None before the first.
        pulses_per_device, pulses_total: Mean and sum of programming pulses.
        reads, programming_mvms: Devices read and vectors multiplied while programming.
        age_s: Device time since its last pulse, s.
        input_range: |input| of the highest input code.
        vectors, mvms: Input vectors of the latest run; vectors multiplied, all blocks together.
        mvm_error: Against the exact product of the same input codes, in units of the weights.
        saturated_share: Share of converter outputs that were clipped.
        clipped_share: Share of inputs beyond the input range.
        chip_s, wall_s: Time of the latest run on the device and here, s (without programming).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    rows: int
    cols: int
    cells: int
    tiles: int
    cores: int
    rounds: int
    success_share: float | None = None
    pulses_per_device: float | None = None
    pulses_total: int = 0
    reads: int = 0
    programming_mvms: int = 0
    age_s: float | None = None
    input_range: float
    vectors: int = 0
    mvms: int = 0
    mvm_error: float | None = None
    saturated_share: float | None = None
    clipped_share: float | None = None
    chip_s: float = 0.0
    wall_s: float = 0.0


class DeploymentReport(BaseModel):
    """A network on a chip.

    Attributes:
        schema_version: Version of this document.
        plan: "resident" or "reprogram".
        method: Programming method.
        compensation: Drift compensation in force.
        chip_serial, backend, model: What it runs on.
        cells, utilisation: Cells of all layers; over those of the chip (above 1: reprogram only).
        programming_chip_s, programming_wall_s: All programming so far, s.
        chip_s, wall_s: Latest run, s (without programming).
        success_share, pulses_per_device, pulses_total, reads, programming_mvms, mvms: Over all
            layers.
        mvm_error: Mean over layers; None before the first run.
        placements: Where blocks lie: one if resident, one per layer and round otherwise.
        layers: One report per layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    plan: str
    method: str
    compensation: str
    chip_serial: str
    backend: BackendKind
    model: str
    cells: int
    utilisation: float
    programming_chip_s: float
    programming_wall_s: float
    chip_s: float
    wall_s: float
    success_share: float | None
    pulses_per_device: float | None
    pulses_total: int
    reads: int
    programming_mvms: int
    mvms: int
    mvm_error: float | None
    placements: tuple[Placement, ...]
    layers: tuple[LayerReport, ...]
