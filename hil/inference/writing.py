"""Write layers to a chip and calibrate them on their own inputs. Chooses no place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.calibration import CalibrationRecord
from hil.core import Chip
from hil.inference.plan import AnalogLayer
from hil.info import CoreInfo
from hil.matrix import MatrixTask, ProgrammedMatrix, program_matrices, settle
from hil.programming import ProgrammingAlgorithm
from hil.programming.base import Action

__all__ = ["WriteSettings", "Written", "prepare_layer", "representative_codes", "write_layers"]

Codes = npt.NDArray[np.integer[Any]]
OnStep = Callable[[Action], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteSettings:
    """How layers are written.

    Attributes:
        method: Programming algorithm.
        seed: Seeds its random inputs.
        calibrate: Trim converters, and fit the per-col affine correction on the layer's
            representative inputs.
        settle_s: Age at which layers are calibrated, s; None is the chip's reference age.
        on_step: Called after each programming round.
    """

    method: ProgrammingAlgorithm[Any]
    seed: int
    calibrate: bool
    settle_s: float | None
    on_step: OnStep | None


def representative_codes(layer: AnalogLayer, info: CoreInfo) -> Codes:
    """Return the codes that a layer is calibrated on, (2 or more, rows)."""
    codes = layer.samples.astype(info.input.dtype)
    return codes if codes.shape[0] >= 2 else np.concatenate([codes, codes])


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """Matrices just written and settled, what their converters' trims are, and how long it took."""

    matrices: list[ProgrammedMatrix]
    converters: tuple[CalibrationRecord, ...]
    chip_s: float
    wall_s: float


def write_layers(
    chip: Chip, tasks: Sequence[MatrixTask], settings: WriteSettings, seed: int
) -> Written:
    """Trim converters if wanted, write matrices in one lockstep run, and let them settle."""
    began_s, began = chip.now_s(), time.perf_counter()
    made = program_matrices(
        chip,
        tasks,
        settings.method,
        seed=seed,
        trim_converters=settings.calibrate,
        on_step=settings.on_step,
    )
    chip_s, wall_s = chip.now_s() - began_s, time.perf_counter() - began
    settle(made, settings.settle_s)
    trims = {id(record): record for matrix in made for record in matrix.converters}
    return Written(matrices=made, converters=tuple(trims.values()), chip_s=chip_s, wall_s=wall_s)


def prepare_layer(matrix: ProgrammedMatrix, layer: AnalogLayer, settings: WriteSettings) -> None:
    """Calibrate a settled matrix on its layer's inputs, or just choose its output ranges."""
    inputs = representative_codes(layer, matrix.info)
    if settings.calibrate:
        matrix.calibrate(inputs)
    else:
        matrix.expect(inputs)
