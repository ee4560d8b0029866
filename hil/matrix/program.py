"""Write weight matrices to a chip: encode, tile, place, program in lockstep, calibrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hil.errors import RequestError
from hil.mapping import (
    CoreSize,
    EncodedWeights,
    PlacedBlock,
    Scaling,
    encode_weights,
    place_blocks,
    tile_matrix,
)
from hil.matrix.block import ProgrammedBlock
from hil.matrix.converters import calibrate_converters, untrimmed
from hil.matrix.programmed import ProgrammedMatrix
from hil.programming import ProgrammingAlgorithm, ProgrammingJob, algorithm, run_programming

if TYPE_CHECKING:
    from hil.core import Chip
    from hil.programming.base import Action

__all__ = [
    "MatrixTask",
    "core_sizes",
    "program_matrices",
    "program_matrix",
    "require_alike",
    "require_settle",
    "settle",
]

LONGEST_SETTLE_S = 1e10  # s, the longest wait of a core


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixTask:
    """A matrix to write, and the places of its blocks (all of it, or a part)."""

    name: str
    encoded: EncodedWeights
    blocks: tuple[PlacedBlock, ...]


def program_matrix(
    chip: Chip,
    weights: npt.ArrayLike,
    method: str | ProgrammingAlgorithm[Any] = "gdp",
    *,
    seed: int = 0,
    scaling: Scaling | str = Scaling.PER_MATRIX,
    calibrate: bool = True,
    settle_s: float | None = None,
    on_step: Callable[[Action], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str = "weights",
) -> ProgrammedMatrix:
    """Write a weight matrix to an opened chip and return it, ready to multiply.

    It is split into blocks that fit the cores and placed from their first cells on; what was
    there before is overwritten. Partial sums of row blocks are added digitally.

    Args:
        chip: From `open_chip`.
        weights: (rows, cols) float, any size that the cores hold together.
        method: "gdp", "verify" or "open_loop", or a programming algorithm.
        seed: Seeds the random inputs of programming and calibration.
        scaling: "per_matrix": the largest |weight| is the largest conductance; "per_column": of
            each col.
        calibrate: Trim converters that are not trimmed yet, and fit the per-col affine correction
            afterwards.
        settle_s: Age at which it is calibrated, device time since the last pulse, s: conductances
            relax fast at first. None is the chip's reference age, so that errors can be compared
            with published ones.
        on_step: Called after each programming round.
        settings: Hyper-parameters of a method given by name.
        name: What to call the matrix in reports and errors.

    Raises:
        RequestError: The weights are not finite, do not fit, or the method is unknown. Nothing was
            sent.
    """
    sizes = core_sizes(chip)
    encoded = encode_weights(weights, scaling=scaling, name=name)
    blocks = tile_matrix(
        name,
        encoded.rows,
        encoded.cols,
        max_rows=max(size.rows for size in sizes),
        max_cols=max(size.cols for size in sizes),
    )
    placement = place_blocks(blocks, sizes)
    task = MatrixTask(name=name, encoded=encoded, blocks=placement.blocks)
    require_settle(settle_s)
    (matrix,) = program_matrices(
        chip,
        [task],
        method,
        seed=seed,
        trim_converters=calibrate,
        on_step=on_step,
        settings=settings,
    )
    settle([matrix], settle_s)
    if calibrate:
        matrix.calibrate()
    else:
        matrix.expect()
    return matrix


def program_matrices(
    chip: Chip,
    tasks: Sequence[MatrixTask],
    method: str | ProgrammingAlgorithm[Any] = "gdp",
    *,
    seed: int = 0,
    trim_converters: bool = True,
    on_step: Callable[[Action], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[ProgrammedMatrix]:
    """Write several matrices in one lockstep run, so that all end at a similar age.

    Their outputs are not corrected; `settle`, then call `calibrate` or `expect` on each. Arguments
    as in `program_matrix`.

    Args:
        chip: From `open_chip`.
        tasks: The matrices and the places of their blocks.
        method: As in `program_matrix`.
        seed: As in `program_matrix`.
        trim_converters: Before anything is written, trim the converters of cores used that have not
            been trimmed yet. The records go to the matrices on those cores.
        on_step: As in `program_matrix`.
        settings: As in `program_matrix`.

    Raises:
        RequestError: The method or a setting is unknown, or the cores of the chip differ in kind.
    """
    if seed < 0:
        raise RequestError(f"seed {seed} is below 0; give a whole number from 0 on")
    require_alike(chip)
    if isinstance(method, str):
        method = algorithm(method, **dict(settings or {}))
    elif settings:
        raise RequestError("settings go with a method's name; this algorithm has its own already")
    jobs: list[ProgrammingJob] = []
    for task in tasks:
        target = task.encoded.to_siemens(chip.cores[0].info.device.g_max_siemens)
        jobs.extend(
            ProgrammingJob(
                core=chip.cores[place.core],
                window=place.window,
                target_siemens=target[
                    place.row : place.row + place.rows, place.col : place.col + place.cols
                ],
            )
            for place in task.blocks
        )
    cores = {place.core for task in tasks for place in task.blocks} if trim_converters else ()
    made = calibrate_converters(untrimmed(chip.cores[k] for k in sorted(cores)), seed=seed)
    results = iter(run_programming(method, jobs, seed=seed, on_step=on_step))
    written = iter(jobs)
    blocks = [
        [
            ProgrammedBlock(
                core=job.core,
                place=place,
                target_siemens=job.target_siemens,
                result=next(results),
                seed=(seed, index, number),
            )
            for number, (place, job) in enumerate(zip(task.blocks, written, strict=False))
        ]
        for index, task in enumerate(tasks)
    ]
    return [
        ProgrammedMatrix(
            chip=chip,
            name=task.name,
            encoded=task.encoded,
            blocks=parts,
            seed=(seed, index),
            converters=[r for r in made if r.core in {place.core for place in task.blocks}],
        )
        for index, (task, parts) in enumerate(zip(tasks, blocks, strict=True))
    ]


def settle(matrices: Sequence[ProgrammedMatrix], settle_s: float | None = None) -> None:
    """Wait until the youngest of `matrices` is `settle_s` old; None is the reference age.

    Takes no time on those that are old enough already.
    """
    for matrix in matrices:
        wanted = matrix.info.device.reference_age_s if settle_s is None else settle_s
        if wanted > matrix.age_s:
            matrix.chip.wait(wanted - matrix.age_s)


def require_settle(settle_s: float | None) -> None:
    """Refuse a settling time that no chip can wait."""
    if settle_s is not None and not 0.0 <= settle_s <= LONGEST_SETTLE_S:
        raise RequestError(f"settle_s {settle_s} is outside 0...{LONGEST_SETTLE_S:g}")


def core_sizes(chip: Chip) -> list[CoreSize]:
    """Return the sizes of a chip's arrays, in order."""
    return [CoreSize(rows=core.info.rows, cols=core.info.cols) for core in chip.cores]


def require_alike(chip: Chip) -> None:
    """Refuse a chip whose cores would need different targets or input codes for one matrix."""
    first = chip.cores[0].info
    for core in chip.cores[1:]:
        if core.info.input != first.input or core.info.device != first.device:
            raise RequestError(
                f"cores 0 and {core.info.core} of chip {chip.serial} differ in input codes or "
                "devices; open a chip with cores of one kind"
            )
