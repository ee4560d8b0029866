"""A deployment on disk: all that runs a network again on the chip as programmed, without a pulse.

The cells are not in it: a chip keeps them (`Chip.preserve`). Nor is the architecture: the module is
handed in again, and takes its weights from the archive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from hil.address import escaped
from hil.calibration.validity import settings_of
from hil.chip_records import chip_folder
from hil.core import Chip, Core
from hil.dirty import require_clean
from hil.errors import RecordError, RequestError
from hil.inference.archive_arrays import NEXT_STEP, Arrays, pack_records
from hil.inference.archive_document import (
    ArchivedBlock,
    ArchivedChip,
    ArchivedCore,
    ArchivedCorrection,
    ArchivedDeployment,
    ArchivedLayer,
    ArchivedMatrix,
    ArchivedPlan,
    ArchivedResult,
)
from hil.inference.archive_restoring import Restoring, calls_in
from hil.inference.deployment import Deployment
from hil.inference.plan import AnalogLayer, NetworkPlan
from hil.inference.settings import Plan
from hil.matrix import ProgrammedMatrix
from hil.matrix.block import ProgrammedBlock
from hil.matrix.correction import Correction
from hil.programming import ProgrammingResult
from hil.tensor_file import read_sealed, write_sealed

__all__ = ["ARCHIVE_FILE", "Archive", "load_deployment", "read_archive", "save_deployment"]

ARCHIVE_FILE = "deployment.safetensors"
HEADER_KEY = "aimc-hil deployment"
MOST_BYTES = 1 << 30
"""No archive is larger."""
FOLDER = "{folder}/"
"""Stands in an address for the folder of the archive, so that the folder can be moved."""
TRIMS: tuple[Literal["gain_trim", "offset_trim"], ...] = ("gain_trim", "offset_trim")


class Archive:
    """An archive that was read and whose seal holds.

    Attributes:
        folder: Where it lies.
        document: What it says.
    """

    def __init__(
        self, folder: Path, document: ArchivedDeployment, tensors: dict[str, Tensor]
    ) -> None:
        self.folder = folder
        self.document = document
        self._arrays = Arrays(folder / ARCHIVE_FILE, tensors)

    @property
    def address(self) -> str:
        """Opens the chip as it stood when the deployment was kept."""
        home = escaped(f"{self.folder.resolve()}/")
        return self.document.address.replace(FOLDER, home)

    def deployment(self, chip: Chip, module: nn.Module) -> Deployment:
        """Return the deployment on a chip that still holds it; no pulse is sent.

        Args:
            chip: The chip it was programmed on, opened.
            module: A module of the same architecture; it is not changed.

        Raises:
            RecordError: Another chip, one that was pulsed or trimmed since, or a damaged archive.
            RequestError: Another architecture.
        """
        _require_standing(self._arrays, self.document.chip, chip)
        return Restoring(self.document, self._arrays, chip).deployment(module)


def save_deployment(deployment: Deployment, folder: Path) -> None:
    """Write what runs a deployment again into `folder`, and have the chip preserved there.

    Raises:
        RequestError: It is reprogrammed layer by layer, so that nothing stands in the array; or the
            folder cannot be written.
        RecordError: Something else was programmed over it.
    """
    if deployment.settings.plan is not Plan.RESIDENT:
        raise RequestError(
            "a deployment under plan reprogram writes its layers anew for every run, so nothing "
            "stands in the array to be kept; use plan resident"
        )
    _require_unchanged(deployment)
    home = folder.resolve()
    address = deployment.chip.preserve(home).replace(escaped(f"{home}/"), FOLDER)
    records = tuple({id(r): r for r in deployment.records}.values())
    bodies, tensors = pack_records(records)
    place_of = {id(record): index for index, record in enumerate(records)}
    plan, layers = deployment.plan, deployment.layers
    state = plan.graph.state_dict()
    tensors |= {f"network.{name}": value for name, value in state.items()}
    for name, layer in plan.layers.items():
        tensors |= _layer_tensors(deployment, name, layer)
    document = ArchivedDeployment(
        address=address,
        chip=_chip(deployment.chip),
        plan=_plan(plan),
        layers=tuple(_layer(deployment, layer, place_of) for layer in plan.layers.values()),
        placement=layers.placements[0],
        method=deployment.method,
        seed=deployment.settings.seed,
        calibrate=deployment.settings.calibrate,
        settle_s=deployment.settings.settle_s,
        compensation=deployment.compensation,
        age_s=min(matrix.age_s for matrix in deployment.matrices.values()),
        programming_chip_s=layers.programming_chip_s,
        programming_wall_s=layers.programming_wall_s,
        converters=tuple(place_of[id(record)] for record in layers.converters),
        records=bodies,
    )
    write_sealed(home / ARCHIVE_FILE, tensors, key=HEADER_KEY, document=document)


def read_archive(folder: Path) -> Archive:
    """Read an archive.

    Raises:
        RecordError: There is none, or it is damaged, altered or of another version.
    """
    tensors, document = read_sealed(
        folder / ARCHIVE_FILE,
        ArchivedDeployment,
        key=HEADER_KEY,
        what="an archive of a deployment",
        next_step=NEXT_STEP,
        most_bytes=MOST_BYTES,
    )
    return Archive(folder, document, tensors)


def load_deployment(
    folder: Path, chip: Chip, module: nn.Module, *, force_dirty: bool = False
) -> Deployment:
    """Read an archive and return the deployment on its chip; see `Archive.deployment`.

    Raises:
        RecordError: Also where a core was programmed and not verified since, unless forced.
    """
    require_clean(chip, (folder.parent, chip_folder(chip.serial)), force=force_dirty)
    return read_archive(folder).deployment(chip, module)


def _require_unchanged(deployment: Deployment) -> None:
    """Refuse a deployment whose cells were pulsed after it was calibrated."""
    for name, matrix in deployment.matrices.items():
        for block in matrix.blocks:
            made = None if block.baseline is None else block.baseline.generation
            now = block.core.status().generation
            if made != now:
                raise RecordError(
                    f"layer {name!r}: core {block.place.core} was programmed since (generation "
                    f"{now}, calibrated at {made}); keep a deployment before the next one",
                    layer=name,
                    value=now,
                    wanted=made,
                )


def _chip(chip: Chip) -> ArchivedChip:
    return ArchivedChip(
        serial=chip.serial,
        backend=chip.backend,
        model=chip.info.model,
        cores=tuple(_core(core) for core in chip.cores),
    )


def _core(core: Core) -> ArchivedCore:
    trims = settings_of(core.settings(), TRIMS)
    return ArchivedCore(
        rows=core.info.rows,
        cols=core.info.cols,
        generation=core.status().generation,
        trims={name: trims[name] for name in TRIMS},
    )


def _require_standing(arrays: Arrays, kept: ArchivedChip, chip: Chip) -> None:
    """Refuse a chip that is another one, or no longer as it was when the deployment was kept."""
    path, now = arrays.path, _chip(chip)
    for name in ("serial", "backend", "model"):
        value, wanted = getattr(now, name), getattr(kept, name)
        if value != wanted:
            raise RecordError(
                f"{path} belongs to a chip with {name} {wanted}, this one has {value}; open that "
                "chip, or run the recipe on this one",
                field=name,
                value=value,
                wanted=wanted,
            )
    if len(now.cores) != len(kept.cores):
        raise RecordError(
            f"{path} belongs to a chip with {len(kept.cores)} cores, this one has "
            f"{len(now.cores)}; open it by the address it was programmed by",
            field="cores",
        )
    for index, (core, was) in enumerate(zip(now.cores, kept.cores, strict=True)):
        for name, next_step in (
            ("rows", "open it by the address it was programmed by"),
            ("cols", "open it by the address it was programmed by"),
            (
                "generation",
                "its cells were pulsed since, or it was opened without its state: open it by the "
                "address it was kept under, or run the recipe again",
            ),
            ("trims", "its converters were trimmed since: run the recipe again"),
        ):
            value, wanted = getattr(core, name), getattr(was, name)
            if value != wanted:
                raise RecordError(
                    f"core {index} of chip {now.serial}: {name} is {value}, it was {wanted} when "
                    f"{path} was written; {next_step}",
                    field=name,
                    value=value,
                    wanted=wanted,
                )


def _plan(plan: NetworkPlan) -> ArchivedPlan:
    chosen = plan.settings
    return ArchivedPlan(
        calls=calls_in(plan.graph),
        passed=tuple(sorted(plan.passed)),
        input_shape=plan.input_shape,
        dtype=str(plan.dtype).removeprefix("torch."),
        scaling=chosen.scaling,
        weight_levels=chosen.weight_levels,
        input_levels=chosen.input_levels,
        range_quantile=chosen.range_quantile,
        fill_rows=chosen.fill_rows,
        sample_vectors=chosen.sample_vectors,
        digital=tuple(chosen.digital),
    )


def _layer(deployment: Deployment, layer: AnalogLayer, place_of: dict[int, int]) -> ArchivedLayer:
    return ArchivedLayer(
        name=layer.name,
        rows=layer.rows,
        cols=layer.cols,
        samples=layer.samples.shape[0],
        input_range=layer.input_range,
        input_levels=layer.input_levels,
        weight_levels=layer.encoded.levels,
        has_norm=layer.norm is not None,
        has_correction=layer.name in deployment.norms,
        matrix=_matrix(deployment.matrices[layer.name], place_of),
    )


def _matrix(matrix: ProgrammedMatrix, place_of: dict[int, int]) -> ArchivedMatrix:
    def places(correction: Correction) -> ArchivedCorrection:
        drift = correction.drift
        return ArchivedCorrection(
            affine={k: place_of[id(record)] for k, record in correction.affine.items()},
            drift=None if drift is None else place_of[id(drift)],
        )

    def kept(block: ProgrammedBlock) -> ArchivedBlock:
        return ArchivedBlock(
            seed=block.seed,
            output_range=block.output_range,
            result=_result(block.result),
            calibrated=places(block.calibrated),
            correction=places(block.correction),
            baseline=None if block.baseline is None else place_of[id(block.baseline)],
        )

    return ArchivedMatrix(
        seed=matrix.seed,
        compensation=matrix.compensation,
        converters=tuple(place_of[id(record)] for record in matrix.converters),
        blocks=tuple(kept(block) for block in matrix.blocks),
    )


def _result(result: ProgrammingResult) -> ArchivedResult:
    return ArchivedResult(
        method=result.method,
        outcome=result.outcome,
        reads=result.reads,
        mvms=result.mvms,
        iterations=result.iterations,
        chip_s=result.chip_s,
        wall_s=result.wall_s,
        last_pulse_at_s=result.last_pulse_at_s,
        errors=tuple(result.errors),
        has_affine=result.affine is not None,
    )


def _layer_tensors(deployment: Deployment, name: str, layer: AnalogLayer) -> dict[str, Tensor]:
    arrays = {
        "fraction": layer.encoded.fraction,
        "scale": layer.encoded.scale,
        "bias": layer.bias,
        "samples": layer.samples.astype(np.int16),
    }
    if layer.norm is not None:
        arrays |= {"norm.mean": layer.norm.mean, "norm.std": layer.norm.std}
    correction = deployment.norms.get(name)
    if correction is not None:
        arrays |= {"correction.scale": correction.scale, "correction.offset": correction.offset}
    for k, block in enumerate(deployment.matrices[name].blocks):
        result = block.result
        arrays |= {f"blocks.{k}.done": result.done, f"blocks.{k}.pulses": result.pulses}
        if result.affine is not None:
            fit = result.affine
            arrays |= {
                f"blocks.{k}.affine.scale": fit.scale,
                f"blocks.{k}.affine.offset": fit.offset,
                f"blocks.{k}.affine.success": fit.success,
            }
    return {
        f"layers.{name}.{key}": torch.from_numpy(np.ascontiguousarray(array))
        for key, array in arrays.items()
    }
