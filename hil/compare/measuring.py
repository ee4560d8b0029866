"""What a programmed block gives now: errors before and after an affine fit, and their parts.

Pure bookkeeping around `measure_mvm`; every method is measured by this one function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.measure import BlockMvm, choose_output_range, exact_output, measure_mvm
from hil.metrics import AffineFit, fit_affine, mvm_error
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.core import Core, Window

__all__ = ["CALIBRATION_VECTORS", "TEST_VECTORS", "BlockErrors", "measure_errors", "split_error"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

CALIBRATION_VECTORS = 2048
"""Gaussian vectors of the affine fit: as many as the chip paper measures MVM errors with."""
TEST_VECTORS = 1024
"""Vectors per distribution."""
LEAST_FREE = 64
"""Vectors beyond the unknowns that a fit of the effective matrix needs."""


@dataclass(frozen=True, kw_only=True)
class BlockErrors:
    """Errors of a block, as fractions; see `ComparisonRow`."""

    mvm_error: float
    mvm_error_affine: float
    mvm_error_relu: float
    mvm_error_relu_affine: float
    linear_error: float | None
    residual_error: float | None
    saturated_share: float
    affine_success_share: float


def measure_errors(
    core: Core, window: Window, target_siemens: Array, rng: np.random.Generator
) -> BlockErrors:
    """Calibrate a block's cols and measure it on other vectors.

    Args:
        core: Holds the block.
        window: Where it lies.
        target_siemens: What it should hold, S, (rows, cols).
        rng: Draws calibration and test inputs.
    """
    info = core.info

    def inputs(kind: InputKind, vectors: int) -> IntArray:
        return random_inputs(kind, vectors, window.rows, info.input, rng)

    def measured(codes: IntArray, output_range: int) -> BlockMvm:
        return measure_mvm(core, codes, window=window, output_range=output_range)

    calibration = inputs(InputKind.GAUSSIAN, CALIBRATION_VECTORS)
    gaussian = inputs(InputKind.GAUSSIAN, TEST_VECTORS)
    relu = inputs(InputKind.RELU, TEST_VECTORS)
    wide = choose_output_range(info, target_siemens, calibration)
    seen = measured(calibration, wide)
    exact = exact_output(info, target_siemens, calibration)
    fit = fit_affine(seen.siemens, exact)
    parts = split_error(info.input.to_si(calibration), seen.siemens, target_siemens, fit)
    test = measured(gaussian, wide)
    test_exact = exact_output(info, target_siemens, gaussian)
    relu_range = choose_output_range(info, target_siemens, relu)
    relu_fit = fit
    if relu_range != wide:  # an offset is one of codes, so it differs in S from range to range
        held = _held(calibration, exact, info.output_ranges_siemens[relu_range])
        relu_fit = fit_affine(
            measured(held, relu_range).siemens, exact_output(info, target_siemens, held)
        )
    relu_test = measured(relu, relu_range)
    relu_exact = exact_output(info, target_siemens, relu)
    return BlockErrors(
        mvm_error=mvm_error(test.siemens, test_exact),
        mvm_error_affine=mvm_error(fit.apply(test.siemens), test_exact),
        mvm_error_relu=mvm_error(relu_test.siemens, relu_exact),
        mvm_error_relu_affine=mvm_error(relu_fit.apply(relu_test.siemens), relu_exact),
        linear_error=None if parts is None else parts[0],
        residual_error=None if parts is None else parts[1],
        saturated_share=float((test.saturated.mean() + relu_test.saturated.mean()) / 2),
        affine_success_share=float(fit.success.mean()),
    )


def split_error(
    x: Array, measured_siemens: Array, target_siemens: Array, fit: AffineFit
) -> tuple[float, float] | None:
    """Split the error after an affine fit into that of the effective matrix, and the rest.

    The effective matrix is fitted by least squares with an offset; what its own noise adds to
    its squared error, sigma^2 tr (X^T X)^-1 per col, is taken off. For white inputs the squares of
    the two parts add up to that of the MVM error.

    Args:
        x: Inputs as fractions of full scale, (batch, rows).
        measured_siemens: Outputs before the fit, S, (batch, cols).
        target_siemens: Exact matrix, S, (rows, cols).
        fit: Affine correction per col.

    Returns:
        Both as fractions of the norm of the target; None if the batch is too short, or the target
        is zero.
    """
    batch, rows = x.shape
    free = batch - rows - 1
    norm = float(np.sum(target_siemens**2))
    if free < LEAST_FREE or norm == 0.0:
        return None
    centred = x - x.mean(axis=0)
    outputs = fit.apply(measured_siemens)
    outputs = outputs - outputs.mean(axis=0)
    gram_inverse = np.linalg.pinv(centred.T @ centred, hermitian=True)
    effective = gram_inverse @ (centred.T @ outputs)
    noise = np.sum((outputs - centred @ effective) ** 2, axis=0) / free
    own = float(noise.sum() * np.trace(gram_inverse))
    linear = float(np.sum((effective - target_siemens) ** 2)) - own
    power = float(np.mean(x**2))
    return float(np.sqrt(max(linear, 0.0) / norm)), float(np.sqrt(noise.sum() / (power * norm)))


def _held(codes: IntArray, exact: Array, limit_siemens: float) -> IntArray:
    """Scale inputs down so that an output range holds four standard deviations of their outputs."""
    need = float(np.max(np.abs(exact.mean(axis=0)) + 4.0 * exact.std(axis=0)))
    if need <= limit_siemens:
        return codes
    held: IntArray = np.rint(codes * (limit_siemens / need)).astype(codes.dtype)
    return held
