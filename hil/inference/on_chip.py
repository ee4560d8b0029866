"""Layers on a chip: all resident at once, or written in turn onto the cores at hand."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from hil.calibration import CalibrationRecord
from hil.core import Chip
from hil.errors import RequestError
from hil.inference.layer_serial import Multiplier, Products, Stage
from hil.inference.plan import AnalogLayer, NetworkPlan
from hil.inference.tiles import place_in_turn, place_resident
from hil.mapping import PlacedBlock, Placement
from hil.matrix import DriftMode, MatrixTask, ProgrammedMatrix, program_matrices, settle
from hil.matrix.program import core_sizes, require_alike
from hil.matrix.seeds import mixed_seed
from hil.programming import ProgrammingAlgorithm, ProgrammingResult
from hil.programming.base import Action

__all__ = ["LayerWriting", "OnChip", "ReprogrammedLayers", "ResidentLayers", "WriteSettings"]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWriting:
    """How a layer stands in the array, or last stood there.

    Attributes:
        results: What programming did to its blocks.
        blocks: Their places, round by round.
        rounds: Times the cores were written for it.
    """

    results: tuple[ProgrammingResult, ...]
    blocks: tuple[PlacedBlock, ...]
    rounds: int


class OnChip(Multiplier):
    """Layers on a chip.

    Attributes:
        chip: The opened chip.
        programming_chip_s, programming_wall_s: All programming so far, s.
    """

    def __init__(self, chip: Chip, plan: NetworkPlan, settings: WriteSettings) -> None:
        _require_codes(chip, plan)
        require_alike(chip)
        self.chip = chip
        self.max_batch = min(core.info.max_batch for core in chip.cores)
        self.programming_chip_s = 0.0
        self.programming_wall_s = 0.0
        self._settings = settings
        self._converters: tuple[CalibrationRecord, ...] = ()

    @override
    def now_s(self) -> float:
        return self.chip.now_s()

    @property
    def records(self) -> tuple[CalibrationRecord, ...]:
        """Calibration records: converters, then the blocks that stand in the array now."""
        blocks = (b for matrix in self.matrices.values() for b in matrix.blocks)
        return (*self._converters, *(record for block in blocks for record in block.records))

    @property
    @abstractmethod
    def placements(self) -> tuple[Placement, ...]:
        """Where blocks lie: one document, or one per layer and round."""

    @property
    @abstractmethod
    def matrices(self) -> Mapping[str, ProgrammedMatrix]:
        """Matrices that stand in the array now, by layer."""

    @abstractmethod
    def writing_of(self, name: str) -> LayerWriting | None:
        """Return how a layer was written; None before the first time."""

    @abstractmethod
    def compensate(self, modes: Mapping[str, DriftMode | None]) -> None:
        """Compensate drift per layer, now or as soon as the layer stands; None: not at all."""

    @abstractmethod
    def let_age(self, age_s: float) -> None:
        """Have every layer at least this old when it is used."""

    def _write(self, tasks: Sequence[MatrixTask], seed: int) -> list[ProgrammedMatrix]:
        settings = self._settings
        began_s, began = self.chip.now_s(), time.perf_counter()
        made = program_matrices(
            self.chip,
            tasks,
            settings.method,
            seed=seed,
            trim_converters=settings.calibrate,
            on_step=settings.on_step,
        )
        self.programming_chip_s += self.chip.now_s() - began_s
        self.programming_wall_s += time.perf_counter() - began
        settle(made, settings.settle_s)
        trims = {id(record): record for matrix in made for record in matrix.converters}
        self._converters += tuple(trims.values())
        return made

    def _prepare(self, matrix: ProgrammedMatrix, layer: AnalogLayer) -> None:
        inputs = layer.samples.astype(matrix.info.input.dtype)
        if inputs.shape[0] < 2:
            inputs = np.concatenate([inputs, inputs])
        if self._settings.calibrate:
            matrix.calibrate(inputs)
        else:
            matrix.expect(inputs)


class ResidentLayers(OnChip):
    """Every layer stands in the array at once; all are written in one lockstep run."""

    def __init__(self, chip: Chip, plan: NetworkPlan, settings: WriteSettings) -> None:
        super().__init__(chip, plan, settings)
        self._placement = place_resident(plan, core_sizes(chip))
        tasks = [
            MatrixTask(name=name, encoded=layer.encoded, blocks=self._placement.of(name))
            for name, layer in plan.layers.items()
        ]
        made = self._write(tasks, settings.seed)
        self._matrices = {matrix.name: matrix for matrix in made}
        for name, layer in plan.layers.items():
            self._prepare(self._matrices[name], layer)

    @property
    @override
    def placements(self) -> tuple[Placement, ...]:
        return (self._placement,)

    @property
    @override
    def matrices(self) -> Mapping[str, ProgrammedMatrix]:
        return MappingProxyType(self._matrices)

    @override
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        yield _stage(self._matrices[layer.name], layer)

    @override
    def writing_of(self, name: str) -> LayerWriting | None:
        blocks = self._matrices[name].blocks
        return LayerWriting(
            results=tuple(b.result for b in blocks), blocks=self._placement.of(name), rounds=1
        )

    @override
    def compensate(self, modes: Mapping[str, DriftMode | None]) -> None:
        for name, mode in modes.items():
            if mode is None:
                self._matrices[name].forget_compensation()
            else:
                self._matrices[name].compensate_drift(mode)

    @override
    def let_age(self, age_s: float) -> None:
        youngest = min(matrix.age_s for matrix in self._matrices.values())
        if age_s > youngest:
            self.chip.wait(age_s - youngest)


class ReprogrammedLayers(OnChip):
    """Layers are written in turn; one larger than all cores together is written in rounds."""

    def __init__(self, chip: Chip, plan: NetworkPlan, settings: WriteSettings) -> None:
        super().__init__(chip, plan, settings)
        self._age_s = 0.0
        self._modes: dict[str, DriftMode | None] = {}
        self._standing: dict[str, ProgrammedMatrix] = {}
        self._written: dict[str, LayerWriting] = {}
        self._rounds = place_in_turn(plan, core_sizes(chip))
        first = np.cumsum([0, *(len(rounds) for rounds in self._rounds.values())])
        self._first_round = dict(zip(plan.layers, first.tolist(), strict=False))

    @property
    @override
    def placements(self) -> tuple[Placement, ...]:
        return tuple(placement for rounds in self._rounds.values() for placement in rounds)

    @property
    @override
    def matrices(self) -> Mapping[str, ProgrammedMatrix]:
        return MappingProxyType(self._standing)

    @override
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        results: list[ProgrammingResult] = []
        for index, placement in enumerate(self._rounds[layer.name]):
            task = MatrixTask(name=layer.name, encoded=layer.encoded, blocks=placement.blocks)
            seed = mixed_seed(self._settings.seed, self._first_round[layer.name] + index)
            (matrix,) = self._write([task], seed)
            self._standing = {layer.name: matrix}
            results.extend(block.result for block in matrix.blocks)
            self._prepare(matrix, layer)
            if matrix.age_s < self._age_s:
                self.chip.wait(self._age_s - matrix.age_s)
            mode = self._modes.get(layer.name)
            if mode is not None:
                matrix.compensate_drift(mode)
            yield _stage(matrix, layer)
        rounds = self._rounds[layer.name]
        self._written[layer.name] = LayerWriting(
            results=tuple(results),
            blocks=tuple(block for placement in rounds for block in placement.blocks),
            rounds=len(rounds),
        )

    @override
    def writing_of(self, name: str) -> LayerWriting | None:
        return self._written.get(name)

    @override
    def compensate(self, modes: Mapping[str, DriftMode | None]) -> None:
        self._modes = dict(modes)

    @override
    def let_age(self, age_s: float) -> None:
        self._age_s = age_s


def _require_codes(chip: Chip, plan: NetworkPlan) -> None:
    """Refuse a plan whose input codes a core cannot carry."""
    for core in chip.cores:
        scale = core.info.input
        if plan.settings.input_levels > min(scale.max_code, -scale.min_code):
            raise RequestError(
                f"the plan's input codes reach ±{plan.settings.input_levels}, core "
                f"{core.info.core} takes {scale.min_code}...{scale.max_code} (info.input); plan "
                f"with input_levels={min(scale.max_code, -scale.min_code)}"
            )


def _stage(matrix: ProgrammedMatrix, layer: AnalogLayer) -> Stage:
    matrix.require_valid()
    info = matrix.info
    unit_siemens = info.device.g_max_siemens / layer.units * info.input.step

    def multiply(codes: Codes) -> Products:
        seen = matrix.measure(codes.astype(info.input.dtype, copy=False))
        return Products(
            units=seen.siemens / unit_siemens,
            mvms=codes.shape[0] * len(matrix.blocks),
            saturated=seen.saturated,
            converted=seen.converted,
        )

    return multiply
