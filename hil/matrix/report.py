"""What is known of a programmed matrix, as a document. Data only."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hil.info import BackendKind

__all__ = ["BlockReport", "ProgrammingReport"]


class BlockReport(BaseModel):
    """One block of a matrix.

    Attributes:
        row, col, rows, cols: Which part of the matrix.
        core, core_row, core_col: Where it lies.
        outcome: Why its programming ended.
        success_share: Share of cells accepted.
        pulses_per_device: Mean pulses per device.
        mvm_error, mvm_error_affine: As for the whole matrix, on Gaussian inputs; None if the block
            holds nothing but zeros.
        saturated_share: Share of its outputs that the converter clipped.
        output_range: Output range in use, S.
        affine_success_share: Share of cols whose correction could be fitted; None without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    col: int
    rows: int
    cols: int
    core: int
    core_row: int
    core_col: int
    outcome: str
    success_share: float
    pulses_per_device: float
    mvm_error: float | None
    mvm_error_affine: float | None
    saturated_share: float
    output_range_siemens: float
    affine_success_share: float | None


class ProgrammingReport(BaseModel):
    """How a matrix was written and how well it multiplies.

    An MVM error is the mean over vectors of norm2(measured - exact) / norm2(exact), in units of the
    weights, against the exact product of the same quantised inputs with the wanted weights. Inputs
    are independent of those used to program and to calibrate. It is None if every weight is zero.

    Attributes:
        schema_version: Version of this document.
        name: Name of the matrix.
        rows, cols: Size of the matrix.
        method: Programming method.
        outcome: Why programming ended (of the block that did worst).
        chip_serial, backend, model: What it was written to.
        mvm_error: Raw outputs, Gaussian inputs.
        mvm_error_affine: Outputs after the per-col affine correction and the drift compensation in
            force. A matrix that is not calibrated gets a fit of its own for this figure alone.
        mvm_error_relu, mvm_error_affine_relu: The same for non-negative, post-ReLU-like inputs.
        saturated_share: Share of these outputs that the converter clipped.
        success_share: Share of cells accepted.
        pulses_per_device, pulses_per_device_max, pulses_total: Mean, most, sum.
        reads, mvms: Devices read and vectors multiplied while programming.
        chip_s, wall_s: Programming time on the device and here, shared by all in one lockstep run.
        age_s: Device time since the last pulse when the errors were measured, s.
        compensation: Drift compensation in force.
        cells, cores: Cells taken; cores they lie on.
        blocks: One report per block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    name: str
    rows: int
    cols: int
    method: str
    outcome: str
    chip_serial: str
    backend: BackendKind
    model: str
    mvm_error: float | None
    mvm_error_affine: float | None
    mvm_error_relu: float | None
    mvm_error_affine_relu: float | None
    saturated_share: float
    success_share: float
    pulses_per_device: float
    pulses_per_device_max: int
    pulses_total: int
    reads: int
    mvms: int
    chip_s: float
    wall_s: float
    age_s: float
    compensation: str
    cells: int
    cores: int
    blocks: tuple[BlockReport, ...]
