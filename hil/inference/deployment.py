"""A network on a chip: deploy, run, keep up with drift, report. Puts the pieces together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hil.calibration import CalibrationRecord
from hil.core import Chip
from hil.errors import RequestError
from hil.inference.digital import NormCorrection
from hil.inference.layer_serial import (
    LayerProgress,
    LayerRun,
    OnLayer,
    RunResult,
    run_layer_serial,
)
from hil.inference.on_chip import OnChip, ReprogrammedLayers, ResidentLayers
from hil.inference.plan import NetworkPlan, PlanSettings, plan_network
from hil.inference.report import DeploymentReport, LayerReport
from hil.inference.settings import Compensation, DeploymentSettings, Plan
from hil.inference.writing import WriteSettings
from hil.matrix import DriftMode, ProgrammedMatrix
from hil.programming import algorithm
from hil.programming.base import Action

__all__ = ["Deployment", "deploy", "deploy_network"]


class Deployment:
    """A network on a chip. Made by `deploy`.

    Attributes:
        chip: The opened chip.
        plan: The network as analog layers and the digital rest.
        settings: How it was put on the chip.
    """

    def __init__(
        self, plan: NetworkPlan, settings: DeploymentSettings, layers: OnChip, method: str
    ) -> None:
        self.plan = plan
        self.settings = settings
        self.chip = layers.chip
        self._layers = layers
        self._method = method
        self._compensation = Compensation.NONE
        self._norms: dict[str, NormCorrection] = {}
        self._norm_images: Tensor | None = None
        self._runs: tuple[LayerRun, ...] = ()

    @property
    def matrices(self) -> Mapping[str, ProgrammedMatrix]:
        """Matrices that stand in the array now, by layer: all if resident, else the last."""
        return self._layers.matrices

    @property
    def records(self) -> tuple[CalibrationRecord, ...]:
        """Calibration records of the converters and of all matrices that stand in the array."""
        return self._layers.records

    @property
    def layers(self) -> OnChip:
        """Its layers on the chip."""
        return self._layers

    @property
    def method(self) -> str:
        """Name of the programming method."""
        return self._method

    @property
    def compensation(self) -> Compensation:
        """Drift compensation in force."""
        return self._compensation

    @property
    def norms(self) -> Mapping[str, NormCorrection]:
        """Batch-norm corrections in force, by layer."""
        return MappingProxyType(self._norms)

    def resume(self, compensation: Compensation, norms: Mapping[str, NormCorrection]) -> None:
        """Take over the compensation that stood when the layers were kept; measures nothing."""
        self._compensation, self._norms = compensation, dict(norms)

    def run(
        self, images: Tensor, *, batch: int | None = None, on_layer: OnLayer | None = None
    ) -> Tensor:
        """Run images (n, *input_shape) through the chip; return the network's outputs.

        Args:
            images: Inputs of the network.
            batch: So many go through all layers before the next begin, which bounds the memory of
                the host. None takes all at once, and so does plan "reprogram", under which every
                call writes every layer.
            on_layer: Called after each chunk.

        Raises:
            RequestError: The images do not fit the network, or the batch is below 1.
        """
        images = self.plan.check_images(images)
        if batch is not None and batch < 1:
            raise RequestError(f"batch {batch} is below 1")
        leading = 0
        if self._norm_images is not None:
            leading = self._norm_images.shape[0]
            images = torch.cat([self._norm_images, images])
        whole = batch is None or self.settings.plan is Plan.REPROGRAM
        parts = (images,) if batch is None or whole else torch.split(images, batch)
        results = [
            self._run(part, leading, _counting(on_layer, index, len(parts)))
            for index, part in enumerate(parts)
        ]
        self._runs = tuple(run for result in results for run in result.layers)
        return torch.cat([result.outputs for result in results])[leading:]

    def compensate(
        self,
        mode: Compensation | str,
        images: Tensor | None = None,
        *,
        on_layer: OnLayer | None = None,
    ) -> None:
        """Compensate drift; replaces an earlier compensation.

        Under plan "resident" for the drift so far; under "reprogram" from the next run on, after
        each layer has reached its age.

        Args:
            mode: none, global, per_column, affine or batch_norm.
            images: For batch_norm: representative inputs, unlabelled.
            on_layer: Called after each chunk of a re-estimation.

        Raises:
            RequestError: The mode is unknown, or batch_norm has no images.
        """
        try:
            kind = Compensation(mode)
        except ValueError as error:
            known = ", ".join(c.value for c in Compensation)
            raise RequestError(f"compensation {str(mode)!r} is unknown; known: {known}") from error
        if kind is Compensation.BATCH_NORM:
            if images is None:
                raise RequestError(
                    "compensation batch_norm needs images; give representative inputs, unlabelled"
                )
            self.reestimate_batch_norm(images, on_layer=on_layer)
            return
        drift = None if kind is Compensation.NONE else DriftMode(kind.value)
        self._forget_norms()
        self._layers.compensate(dict.fromkeys(self.plan.layers, drift))
        self._compensation = kind

    def reestimate_batch_norm(self, images: Tensor, *, on_layer: OnLayer | None = None) -> None:
        """Restore the mean and spread that batch-norm gave each output, as measured on `images`.

        Layers without batch-norm are compensated globally.

        Raises:
            RequestError: Fewer than two images, they do not fit, or no layer has batch-norm.
        """
        images = self.plan.check_images(images)
        if images.shape[0] < 2:
            raise RequestError(
                f"batch-norm re-estimation on {images.shape[0]} images; give at least 2"
            )
        if all(layer.norm is None for layer in self.plan.layers.values()):
            raise RequestError(
                "no layer of this network has a folded batch-norm; use compensation affine"
            )
        self._forget_norms()
        self._layers.compensate(
            {
                name: DriftMode.GLOBAL if layer.norm is None else None
                for name, layer in self.plan.layers.items()
            }
        )
        if self.settings.plan is Plan.REPROGRAM:
            self._norm_images = images
        else:
            self._norms = self._run(images, images.shape[0], on_layer).norms
        self._compensation = Compensation.BATCH_NORM

    def let_age(self, age_s: float) -> None:
        """Let `age_s` pass since the last pulse of each layer before it is used.

        Resident: waits now, if the layers are younger. Reprogram: waits in each run, after each
        layer is written.
        """
        if not 0.0 <= age_s <= 1e10:
            raise RequestError(f"age_s {age_s} is outside 0...1e10")
        self._layers.let_age(age_s)

    def report(self) -> DeploymentReport:
        """Report how each layer was written and what the latest run did. Measures nothing."""
        layers = tuple(self._layer_report(name) for name in self.plan.layers)
        info = self.chip.cores[0].info
        cells = sum(core.info.rows * core.info.cols for core in self.chip.cores)
        taken = sum(placement.cells_used for placement in self._layers.placements)
        errors = [layer.mvm_error for layer in layers if layer.mvm_error is not None]
        written = [layer for layer in layers if layer.success_share is not None]
        weights = [layer.cells for layer in written]
        return DeploymentReport(
            plan=str(self.settings.plan),
            method=self._method,
            compensation=self._compensation.value,
            chip_serial=self.chip.serial,
            backend=self.chip.backend,
            model=info.model,
            cells=taken,
            utilisation=taken / cells,
            programming_chip_s=self._layers.programming_chip_s,
            programming_wall_s=self._layers.programming_wall_s,
            chip_s=sum(layer.chip_s for layer in layers),
            wall_s=sum(layer.wall_s for layer in layers),
            success_share=_mean([layer.success_share for layer in written], weights),
            pulses_per_device=_mean([layer.pulses_per_device for layer in written], weights),
            pulses_total=sum(layer.pulses_total for layer in layers),
            reads=sum(layer.reads for layer in layers),
            programming_mvms=sum(layer.programming_mvms for layer in layers),
            mvms=sum(layer.mvms for layer in layers),
            mvm_error=float(np.mean(errors)) if errors else None,
            placements=self._layers.placements,
            layers=layers,
        )

    def _run(self, images: Tensor, norm_images: int, on_layer: OnLayer | None) -> RunResult:
        return run_layer_serial(
            self.plan,
            images,
            self._layers,
            norms=self._norms,
            norm_images=norm_images,
            on_layer=on_layer,
        )

    def _forget_norms(self) -> None:
        self._norms = {}
        self._norm_images = None

    def _layer_report(self, name: str) -> LayerReport:
        layer = self.plan.layers[name]
        runs = [run for run in self._runs if run.layer == name]
        known = [run for run in runs if run.mvm_error is not None]
        converted = sum(run.converted for run in runs)
        written = self._layers.writing_of(name)
        blocks = () if written is None else written.blocks
        results = () if written is None else written.results
        sizes = [block.cells for block in blocks]
        return LayerReport(
            name=name,
            kind=layer.kind,
            rows=layer.rows,
            cols=layer.cols,
            cells=sum(p.cells for plan in self._layers.placements for p in plan.of(name)),
            tiles=len(blocks),
            cores=len({block.core for block in blocks}),
            rounds=0 if written is None else written.rounds,
            success_share=_mean([r.success_share for r in results], sizes),
            pulses_per_device=_mean([r.pulses_per_device for r in results], sizes),
            pulses_total=sum(int(r.pulses.sum()) for r in results),
            reads=sum(r.reads for r in results),
            programming_mvms=sum(r.mvms for r in results),
            age_s=self.chip.now_s() - max(r.last_pulse_at_s for r in results) if results else None,
            input_range=layer.input_range,
            vectors=sum(run.vectors for run in runs),
            mvms=sum(run.mvms for run in runs),
            mvm_error=_mean([run.mvm_error for run in known], [run.vectors for run in known]),
            saturated_share=sum(run.saturated for run in runs) / converted if converted else None,
            clipped_share=_mean([run.clipped_share for run in runs], [run.vectors for run in runs]),
            chip_s=sum(run.chip_s for run in runs),
            wall_s=sum(run.wall_s for run in runs),
        )


def deploy(
    chip: Chip,
    plan: NetworkPlan,
    settings: DeploymentSettings | None = None,
    *,
    on_step: Callable[[Action], None] | None = None,
) -> Deployment:
    """Put a planned network on a chip.

    Plan "resident" writes every layer now, in one lockstep run; "reprogram" writes each layer when
    a run reaches it.

    Args:
        chip: From `open_chip`.
        plan: From `plan_network`.
        settings: How to put it there.
        on_step: Called after each programming round.

    Raises:
        RequestError: The network does not fit, or the method is unknown. Nothing was sent.
    """
    chosen = settings or DeploymentSettings()
    method = chosen.method
    if isinstance(method, str):
        method = algorithm(method, **dict(chosen.method_settings))
    write = WriteSettings(
        method=method,
        seed=chosen.seed,
        calibrate=chosen.calibrate,
        settle_s=chosen.settle_s,
        on_step=on_step,
    )
    put = ResidentLayers.written if chosen.plan is Plan.RESIDENT else ReprogrammedLayers
    return Deployment(plan, chosen, put(chip, plan, write), method.name)


def deploy_network(
    chip: Chip,
    module: nn.Module,
    samples: Tensor,
    settings: DeploymentSettings | None = None,
    *,
    plan_settings: PlanSettings | None = None,
    on_step: Callable[[Action], None] | None = None,
) -> Deployment:
    """Plan a trained network and put it on a chip; see `plan_network` and `deploy`."""
    return deploy(chip, plan_network(module, samples, plan_settings), settings, on_step=on_step)


def _counting(on_layer: OnLayer | None, part: int, parts: int) -> OnLayer | None:
    """Tell of one part of a run as the part that it is."""
    if on_layer is None:
        return None

    def tell(at: LayerProgress) -> None:
        on_layer(replace(at, index=at.index + part * at.calls, calls=at.calls * parts))

    return tell


def _mean(values: list[Any], weights: list[int]) -> float | None:
    if not values:
        return None
    return float(np.average(values, weights=weights if any(weights) else None))
