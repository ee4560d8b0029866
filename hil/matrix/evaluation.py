"""Measure a programmed matrix on inputs of its own and write the report. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from hil.matrix.report import BlockReport, ProgrammingReport
from hil.metrics import fit_affine, mvm_error
from hil.programming import ProgrammingOutcome
from hil.stimulus import InputKind, random_inputs

if TYPE_CHECKING:
    from hil.matrix.block import ProgrammedBlock
    from hil.matrix.programmed import ProgrammedMatrix

__all__ = ["EVALUATION_VECTORS", "evaluate"]

Array = npt.NDArray[np.float64]

EVALUATION_VECTORS = 512
"""Vectors per input distribution."""
_WORST_FIRST = (
    ProgrammingOutcome.PULSE_BUDGET,
    ProgrammingOutcome.ITERATION_LIMIT,
    ProgrammingOutcome.UNVERIFIED,
    ProgrammingOutcome.STOPPED_GOOD,
    ProgrammingOutcome.CONVERGED,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Outputs on one input distribution, in units of the weights, whole and per block."""

    error: float | None
    error_affine: float | None
    blocks: list[tuple[float | None, float | None, float]]
    saturated_share: float


def evaluate(matrix: ProgrammedMatrix, *, stream: int) -> ProgrammingReport:
    """Multiply Gaussian and post-ReLU-like inputs, compare with the exact product, and report.

    Raises:
        RecordError: The calibration no longer holds.
    """
    matrix.require_valid()
    gaussian = _look(matrix, InputKind.GAUSSIAN, stream)
    relu = _look(matrix, InputKind.RELU, stream)
    results = [block.result for block in matrix.blocks]
    info = matrix.info
    cells = [b.place.cells for b in matrix.blocks]
    devices = np.array(cells) * info.devices_per_cell
    pulses = np.array([int(r.pulses.sum()) for r in results])
    return ProgrammingReport(
        name=matrix.name,
        rows=matrix.encoded.rows,
        cols=matrix.encoded.cols,
        method=results[0].method,
        outcome=min((r.outcome for r in results), key=_WORST_FIRST.index).value,
        chip_serial=info.chip_serial,
        backend=info.backend,
        model=info.model,
        mvm_error=gaussian.error,
        mvm_error_affine=gaussian.error_affine,
        mvm_error_relu=relu.error,
        mvm_error_affine_relu=relu.error_affine,
        saturated_share=(gaussian.saturated_share + relu.saturated_share) / 2,
        success_share=float(
            np.average([r.success_share for r in results], weights=np.array(cells))
        ),
        pulses_per_device=float(pulses.sum() / devices.sum()),
        pulses_per_device_max=max(int(r.pulses.max()) for r in results),
        pulses_total=int(pulses.sum()),
        reads=sum(r.reads for r in results),
        mvms=sum(r.mvms for r in results),
        chip_s=max(r.chip_s for r in results),
        wall_s=max(r.wall_s for r in results),
        age_s=matrix.age_s,
        compensation=matrix.compensation,
        cells=sum(cells),
        cores=len({b.place.core for b in matrix.blocks}),
        blocks=tuple(
            _block_report(block, *figures)
            for block, figures in zip(matrix.blocks, gaussian.blocks, strict=True)
        ),
    )


def _block_report(
    block: ProgrammedBlock, error: float | None, error_affine: float | None, saturated: float
) -> BlockReport:
    place, affine = block.place, block.correction.affine.get(block.output_range)
    return BlockReport(
        row=place.row,
        col=place.col,
        rows=place.rows,
        cols=place.cols,
        core=place.core,
        core_row=place.core_row,
        core_col=place.core_col,
        outcome=block.result.outcome.value,
        success_share=block.result.success_share,
        pulses_per_device=block.result.pulses_per_device,
        mvm_error=error,
        mvm_error_affine=error_affine,
        saturated_share=saturated,
        output_range_siemens=block.core.info.output_ranges_siemens[block.output_range],
        affine_success_share=None if affine is None else float(affine.success_mask.mean()),
    )


def _look(matrix: ProgrammedMatrix, kind: InputKind, stream: int) -> _Seen:
    fitted = any(block.fits for block in matrix.blocks)
    batch = EVALUATION_VECTORS if fitted else 2 * EVALUATION_VECTORS
    rng = np.random.default_rng([*matrix.seed, stream, list(InputKind).index(kind)])
    codes = random_inputs(kind, batch, matrix.encoded.rows, matrix.info.input, rng)
    test = slice(0, EVALUATION_VECTORS)
    scale = matrix.encoded.scale
    shape = (EVALUATION_VECTORS, matrix.encoded.cols)
    raw, corrected, exact = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    blocks: list[tuple[float | None, float | None, float]] = []
    clipped = converted = 0
    for block in matrix.blocks:
        inputs = block.rows_of(codes)
        seen, want = block.measure_adapting(inputs), block.exact(inputs)
        better = seen.siemens[test]
        if not fitted:
            rest = slice(EVALUATION_VECTORS, None)
            better = fit_affine(seen.siemens[rest], want[rest]).apply(better)
        cols = slice(block.place.col, block.place.col + block.place.cols)
        parts = [a[test] * scale[cols] for a in (seen.raw_siemens, want)]
        better = better * scale[cols]
        raw[:, cols] += parts[0]
        exact[:, cols] += parts[1]
        corrected[:, cols] += better
        share = float(seen.saturated.mean())
        blocks.append((_error(parts[0], parts[1]), _error(better, parts[1]), share))
        clipped += int(seen.saturated.sum())
        converted += seen.saturated.size
    return _Seen(
        error=_error(raw, exact),
        error_affine=_error(corrected, exact),
        blocks=blocks,
        saturated_share=clipped / converted,
    )


def _error(measured: Array, exact: Array) -> float | None:
    try:
        return mvm_error(measured, exact)
    except RequestError:
        return None
