"""From archive to deployment: every part checked against the chip, the module and each other."""

from __future__ import annotations

import torch
from torch import fx, nn

from hil.calibration import CalibrationRecord, ColumnAffine, DriftBaseline, DriftScale
from hil.core import Chip
from hil.errors import RecordError, RequestError
from hil.inference.archive_arrays import NEXT_STEP, Arrays, unpack_record
from hil.inference.archive_document import (
    ArchivedBlock,
    ArchivedCorrection,
    ArchivedDeployment,
    ArchivedLayer,
)
from hil.inference.deployment import Deployment
from hil.inference.digital import NormCorrection, NormTarget
from hil.inference.geometry import geometry_of, repeated_rows
from hil.inference.on_chip import ResidentLayers, Standing
from hil.inference.plan import AnalogLayer, NetworkPlan, PlanSettings
from hil.inference.settings import DeploymentSettings, Plan
from hil.inference.tracing import ANALOG, trace
from hil.inference.writing import representative_codes
from hil.mapping import EncodedWeights, PlacedBlock
from hil.matrix import DriftMode, ProgrammedMatrix
from hil.matrix.block import ProgrammedBlock
from hil.matrix.correction import Correction
from hil.metrics import AffineFit
from hil.programming import ProgrammingResult
from hil.tensor_file import check_tensors

__all__ = ["Restoring", "calls_in"]

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}


class Restoring:
    """An archive on its way back onto the chip that holds it.

    Args:
        document: What the archive says.
        arrays: Its arrays.
        chip: The chip, known to stand as the archive says.
    """

    def __init__(self, document: ArchivedDeployment, arrays: Arrays, chip: Chip) -> None:
        self._document = document
        self._arrays = arrays
        self._chip = chip
        self._records = [
            unpack_record(arrays, index, body) for index, body in enumerate(document.records)
        ]

    def deployment(self, module: nn.Module) -> Deployment:
        """Return the deployment, with every calibration found to hold now."""
        document = self._document
        graph = self._graph(module)
        layers = {layer.name: self._layer(graph, layer) for layer in document.layers}
        sizes = [(core.info.rows, core.info.cols) for core in self._chip.cores]
        if [(core.rows, core.cols) for core in document.placement.cores] != sizes:
            raise self._arrays.refused(f"its placement is for other arrays than {sizes}")
        plan = NetworkPlan(
            graph=graph,
            layers=layers,
            passed=frozenset(document.plan.passed),
            input_shape=document.plan.input_shape,
            dtype=DTYPES[document.plan.dtype],
            settings=PlanSettings(
                scaling=document.plan.scaling,
                weight_levels=document.plan.weight_levels,
                input_levels=document.plan.input_levels,
                range_quantile=document.plan.range_quantile,
                fill_rows=document.plan.fill_rows,
                sample_vectors=document.plan.sample_vectors,
                digital=document.plan.digital,
            ),
        )
        standing = Standing(
            placement=document.placement,
            matrices={
                layer.name: self._matrix(layer, layers[layer.name]) for layer in document.layers
            },
            converters=tuple(self._record(index) for index in document.converters),
            chip_s=document.programming_chip_s,
            wall_s=document.programming_wall_s,
        )
        settings = DeploymentSettings(
            plan=Plan.RESIDENT,
            method=document.method,
            seed=document.seed,
            calibrate=document.calibrate,
            settle_s=document.settle_s,
        )
        on_chip = ResidentLayers(self._chip, plan, standing)
        for matrix in standing.matrices.values():
            matrix.require_valid()
        deployment = Deployment(plan, settings, on_chip, document.method)
        deployment.resume(document.compensation, self._norms())
        return deployment

    def _graph(self, module: nn.Module) -> fx.GraphModule:
        """Trace the module and give it the archived weights; the module keeps its own."""
        path, graph = self._arrays.path, trace(module)
        if calls_in(graph) != self._document.plan.calls:
            raise RequestError(
                f"{path} is the archive of another network than this {type(module).__name__}; "
                "give the module it was planned from"
            )
        weights = self._arrays.part("network.")
        check_tensors(weights, graph.state_dict(), path=path, next_step=NEXT_STEP)
        graph.load_state_dict(weights)
        missing = sorted(set(self._document.plan.passed) - {n for n, _ in graph.named_modules()})
        if missing:
            raise self._arrays.refused(f"the network has no module {missing[0]!r}")
        return graph

    def _layer(self, graph: fx.GraphModule, kept: ArchivedLayer) -> AnalogLayer:
        try:
            module = graph.get_submodule(kept.name)
        except AttributeError as error:
            raise self._arrays.refused(f"the network has no layer {kept.name!r}") from error
        if not isinstance(module, ANALOG):
            raise self._arrays.refused(f"layer {kept.name!r} is a {type(module).__name__}")
        geometry = repeated_rows(geometry_of(module), self._document.plan.fill_rows)
        if (geometry.rows, geometry.cols) != (kept.rows, kept.cols):
            raise self._arrays.refused(
                f"layer {kept.name!r} is {kept.rows} x {kept.cols}, in the network "
                f"{geometry.rows} x {geometry.cols}"
            )
        start, cols = f"layers.{kept.name}", (kept.cols,)
        take = self._arrays.take
        fraction = take(f"{start}.fraction", "f", (kept.rows, kept.cols))
        samples = take(f"{start}.samples", "i", (kept.samples, kept.rows))
        if abs(fraction).max() > 1.0 or abs(samples.astype(int)).max(initial=0) > kept.input_levels:
            raise self._arrays.refused(f"weights or samples of layer {kept.name!r} leave the scale")
        return AnalogLayer(
            name=kept.name,
            kind=type(module).__name__,
            geometry=geometry,
            encoded=EncodedWeights(
                fraction=fraction,
                scale=take(f"{start}.scale", "f", cols),
                levels=kept.weight_levels,
            ),
            bias=take(f"{start}.bias", "f", cols),
            input_range=kept.input_range,
            input_levels=kept.input_levels,
            samples=samples,
            norm=NormTarget(
                mean=take(f"{start}.norm.mean", "f", cols),
                std=take(f"{start}.norm.std", "f", cols),
            )
            if kept.has_norm
            else None,
        )

    def _norms(self) -> dict[str, NormCorrection]:
        take = self._arrays.take
        return {
            kept.name: NormCorrection(
                scale=take(f"layers.{kept.name}.correction.scale", "f", (kept.cols,)),
                offset=take(f"layers.{kept.name}.correction.offset", "f", (kept.cols,)),
            )
            for kept in self._document.layers
            if kept.has_correction
        }

    def _matrix(self, kept: ArchivedLayer, layer: AnalogLayer) -> ProgrammedMatrix:
        places, matrix = self._document.placement.of(kept.name), kept.matrix
        if len(places) != len(matrix.blocks):
            raise self._arrays.refused(
                f"layer {kept.name!r} has {len(matrix.blocks)} blocks but {len(places)} places"
            )
        if matrix.compensation not in ("none", *DriftMode):
            raise self._arrays.refused(f"compensation {matrix.compensation!r} is unknown")
        blocks = [
            self._block(f"layers.{kept.name}.blocks.{k}", layer, place, block)
            for k, (place, block) in enumerate(zip(places, matrix.blocks, strict=True))
        ]
        made = ProgrammedMatrix(
            chip=self._chip,
            name=kept.name,
            encoded=layer.encoded,
            blocks=blocks,
            seed=matrix.seed,
            converters=[self._record(index) for index in matrix.converters],
        )
        for block, was in zip(made.blocks, matrix.blocks, strict=True):
            block.output_range = was.output_range
            block.calibrated = self._correction(block, was.calibrated)
            same = was.correction == was.calibrated
            block.correction = block.calibrated if same else self._correction(block, was.correction)
        made.resume(representative_codes(layer, made.info), matrix.compensation)
        return made

    def _block(
        self, start: str, layer: AnalogLayer, place: PlacedBlock, kept: ArchivedBlock
    ) -> ProgrammedBlock:
        core = self._chip.cores[place.core]
        if place.row + place.rows > layer.rows or place.col + place.cols > layer.cols:
            raise self._arrays.refused(f"a block of layer {layer.name!r} lies outside its matrix")
        ranges = len(core.info.output_ranges_siemens)
        if kept.output_range >= ranges:
            raise self._arrays.refused(
                f"output range {kept.output_range} of layer {layer.name!r} is outside "
                f"0...{ranges - 1}"
            )
        target = layer.encoded.to_siemens(core.info.device.g_max_siemens)
        block = ProgrammedBlock(
            core=core,
            place=place,
            target_siemens=target[
                place.row : place.row + place.rows, place.col : place.col + place.cols
            ],
            result=self._result(start, place, core.info.devices_per_cell, kept),
            seed=kept.seed,
        )
        if kept.baseline is not None:
            block.baseline = self._record(kept.baseline, DriftBaseline.kind, block)
        return block

    def _result(
        self, start: str, place: PlacedBlock, devices: int, kept: ArchivedBlock
    ) -> ProgrammingResult:
        take, cells = self._arrays.take, (place.rows, place.cols)
        result = kept.result
        affine = None
        if result.has_affine:
            affine = AffineFit(
                scale=take(f"{start}.affine.scale", "f", (place.cols,)),
                offset=take(f"{start}.affine.offset", "f", (place.cols,)),
                success=take(f"{start}.affine.success", "b", (place.cols,)),
            )
        return ProgrammingResult(
            method=result.method,
            outcome=result.outcome,
            done=take(f"{start}.done", "b", cells),
            pulses=take(f"{start}.pulses", "i", (devices, *cells)),
            reads=result.reads,
            mvms=result.mvms,
            iterations=result.iterations,
            chip_s=result.chip_s,
            wall_s=result.wall_s,
            last_pulse_at_s=result.last_pulse_at_s,
            errors=list(result.errors),
            affine=affine,
        )

    def _correction(self, block: ProgrammedBlock, kept: ArchivedCorrection) -> Correction:
        return Correction(
            affine={
                k: self._record(index, ColumnAffine.kind, block) for k, index in kept.affine.items()
            },
            drift=None if kept.drift is None else self._record(kept.drift, DriftScale.kind, block),
        )

    def _record(
        self, index: int, kind: str | None = None, block: ProgrammedBlock | None = None
    ) -> CalibrationRecord:
        """Return a record; of this kind, and made of this block."""
        if index >= len(self._records):
            raise self._arrays.refused(f"it has no calibration record {index}")
        record = self._records[index]
        if kind is not None and record.kind != kind:
            raise self._arrays.refused(f"calibration record {index} is a {record.kind}, not {kind}")
        if block is not None:
            window = None if record.window is None else record.window.window()
            if (record.core, window) != (block.place.core, block.place.window):
                raise self._arrays.refused(f"calibration record {index} is of another block")
            self._require_sizes(record, block)
        return record

    def _require_sizes(self, record: CalibrationRecord, block: ProgrammedBlock) -> None:
        """Refuse corrections that do not have one value per col, or one for all."""
        cols = block.place.cols
        sizes = {
            ColumnAffine.kind: {"scale": {cols}, "offset": {cols}},
            DriftScale.kind: {"scale": {1, cols}},
            DriftBaseline.kind: {},
        }
        for name, allowed in sizes[record.kind].items():
            shape = record.array(name).shape
            if len(shape) != 1 or shape[0] not in allowed:
                raise RecordError(
                    f"{self._arrays.path}: {name} of a {record.kind} record has shape {shape}; "
                    f"{NEXT_STEP}"
                )


def calls_in(graph: fx.GraphModule) -> tuple[str, ...]:
    """Return the nodes of a graph in order: what is done, to what."""
    return tuple(f"{node.op} {_name_of(node)}" for node in graph.graph.nodes)


def _name_of(node: fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))
