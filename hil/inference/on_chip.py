"""Layers on a chip: all resident at once, or written in turn onto the cores at hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
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
from hil.inference.writing import WriteSettings, Written, prepare_layer, write_layers
from hil.mapping import PlacedBlock, Placement
from hil.matrix import DriftMode, MatrixTask, ProgrammedMatrix
from hil.matrix.program import core_sizes, require_alike
from hil.matrix.seeds import mixed_seed
from hil.programming import ProgrammingResult

__all__ = ["LayerWriting", "OnChip", "ReprogrammedLayers", "ResidentLayers", "Standing"]

Codes = npt.NDArray[np.integer[Any]]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """Layers that stand in the array, each calibrated.

    Attributes:
        placement: Where their blocks lie.
        matrices: By layer, in the order of the plan.
        converters: Records of the converter trims made for them.
        chip_s, wall_s: How long they took to write on the device and here, s.
    """

    placement: Placement
    matrices: Mapping[str, ProgrammedMatrix]
    converters: tuple[CalibrationRecord, ...]
    chip_s: float
    wall_s: float


class OnChip(Multiplier):
    """Layers on a chip.

    Attributes:
        chip: The opened chip.
        programming_chip_s, programming_wall_s: All programming so far, s.
    """

    def __init__(self, chip: Chip, plan: NetworkPlan) -> None:
        _require_fit(chip, plan)
        self.chip = chip
        self.max_batch = min(core.info.max_batch for core in chip.cores)
        self.programming_chip_s = 0.0
        self.programming_wall_s = 0.0
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

    @property
    def converters(self) -> tuple[CalibrationRecord, ...]:
        """Records of the converter trims that were made for its layers."""
        return self._converters

    def _account(self, written: Written) -> None:
        self.programming_chip_s += written.chip_s
        self.programming_wall_s += written.wall_s
        self._converters += written.converters


class ResidentLayers(OnChip):
    """Every layer stands in the array at once."""

    def __init__(self, chip: Chip, plan: NetworkPlan, standing: Standing) -> None:
        super().__init__(chip, plan)
        self._placement = standing.placement
        self._matrices = dict(standing.matrices)
        self._converters = standing.converters
        self.programming_chip_s = standing.chip_s
        self.programming_wall_s = standing.wall_s

    @classmethod
    def written(cls, chip: Chip, plan: NetworkPlan, settings: WriteSettings) -> ResidentLayers:
        """Write all layers in one lockstep run, and calibrate them."""
        _require_fit(chip, plan)
        placement = place_resident(plan, core_sizes(chip))
        tasks = [
            MatrixTask(name=name, encoded=layer.encoded, blocks=placement.of(name))
            for name, layer in plan.layers.items()
        ]
        made = write_layers(chip, tasks, settings, settings.seed)
        for matrix in made.matrices:
            prepare_layer(matrix, plan.layers[matrix.name], settings)
        standing = Standing(
            placement=placement,
            matrices={matrix.name: matrix for matrix in made.matrices},
            converters=made.converters,
            chip_s=made.chip_s,
            wall_s=made.wall_s,
        )
        return cls(chip, plan, standing)

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
        super().__init__(chip, plan)
        self._settings = settings
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
            made = write_layers(self.chip, [task], self._settings, seed)
            self._account(made)
            (matrix,) = made.matrices
            self._standing = {layer.name: matrix}
            results.extend(block.result for block in matrix.blocks)
            prepare_layer(matrix, layer, self._settings)
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
    def stages_of(self, layer: AnalogLayer) -> int:
        return len(self._rounds[layer.name])

    @override
    def writing_of(self, name: str) -> LayerWriting | None:
        return self._written.get(name)

    @override
    def compensate(self, modes: Mapping[str, DriftMode | None]) -> None:
        self._modes = dict(modes)

    @override
    def let_age(self, age_s: float) -> None:
        self._age_s = age_s


def _require_fit(chip: Chip, plan: NetworkPlan) -> None:
    """Refuse cores that differ, and a plan whose input codes a core cannot carry."""
    require_alike(chip)
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
        seen = matrix.measure_units(codes.astype(info.input.dtype, copy=False), unit_siemens)
        return Products(
            units=seen.units,
            mvms=codes.shape[0] * len(matrix.blocks),
            saturated=seen.saturated,
            converted=seen.converted,
        )

    return multiply
