"""One line of a comparison's results. Data only."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from hil.compare.matrices import MatrixKind
from hil.info import BackendKind

__all__ = ["ComparisonRow"]


class ComparisonRow(BaseModel):
    """One matrix, chip, method, setting and age.

    Errors are measured at `measured_age_s` on vectors that neither programming nor the affine fit
    has seen; the fit (scale and offset per col) is made at that age too.

    Attributes:
        matrix, seed: Which weights, on which chip.
        method, setting, settings: How; `settings` are those that differ from the defaults.
        margin_counts: Acceptance margin of program-and-verify, counts (80 are one device's g_max).
        age_s, measured_age_s: Age asked for, and found, since the last pulse, s.
        mvm_error, mvm_error_affine: Gaussian inputs, before and after the affine fit.
        mvm_error_relu, mvm_error_relu_affine: Non-negative (post-ReLU-like) inputs.
        linear_error: Part of `mvm_error_affine` that a wrong but fixed matrix makes: error of the
            effective matrix, fitted by least squares, its own noise taken off. None if there are
            too few vectors for the rows.
        residual_error: The other part: noise and quantisation, fresh in every vector.
        saturated_share: Share of outputs clipped in the test.
        affine_success_share: Share of cols that could be fitted.
        pulses_per_device, pulses_max: Mean and most.
        reads, mvms: Devices read and vectors multiplied while programming.
        chip_s, wall_s: Time of programming on the chip and on the host, s.
        success_share: Share of cells that the method accepted.
        address: Of the chip, so that the row can be repeated; `host_seed` likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    matrix: MatrixKind
    seed: int
    method: str
    setting: str
    settings: dict[str, float | int]
    margin_counts: float | None
    age_s: float
    measured_age_s: float
    mvm_error: float
    mvm_error_affine: float
    mvm_error_relu: float
    mvm_error_relu_affine: float
    linear_error: float | None
    residual_error: float | None
    saturated_share: float
    affine_success_share: float
    pulses_per_device: float
    pulses_max: int
    reads: int
    mvms: int
    iterations: int
    chip_s: float
    wall_s: float
    success_share: float
    outcome: str
    rows: int
    cols: int
    devices_per_polarity: int
    adc_bits: int
    host_seed: int
    address: str
    chip_serial: str
    backend: BackendKind
    model: str
