"""Time a network on a chip, layer by layer, against the plain torch network in the same run.

The chip does all it ever does: input codes, MVMs with every effect, converters, corrections, the
digital rest. The yardstick is the module itself in float32. Both are timed in turn, so that a busy
machine slows both. Inputs are normal noise: only their spread matters to the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from hil.bench.machine import Machine, torch_threads
from hil.bench.memory import peak_increase
from hil.bench.module_time import module_seconds
from hil.bench.shares import time_shares
from hil.errors import RequestError
from hil.inference import DeploymentSettings, deploy_network
from hil.info import BackendKind
from hil.owned_chip import open_owned
from hil.progress import Progress, Silent
from hil.training import load_checkpoint
from hil.training.checkpoint import bundled_checkpoints
from hil.training.networks import NetworkSpec, build_network, initialise_, network_spec
from hil.training.streams import stream

if TYPE_CHECKING:
    from hil.inference.report import LayerReport

__all__ = ["InferenceBench", "LayerTiming", "bench_inference"]

NETWORK = "resnet9-cifar10"
ADDRESS = "sim:hermes?cores=2&seed=7"
BATCH = 256
REPEATS = 5
LEAST_REPEATS = 3


class LayerTiming(BaseModel):
    """One layer; medians over the repeats, s per batch.

    Attributes:
        blocks: Blocks of its matrix in the array.
        mvms_per_sample: Vectors multiplied per sample, all blocks together.
        chip_s: Device time of its MVMs.
        layer_s: Its time in the layer-serial run, from activations to activations.
        torch_s: Time of the torch module of that name, without batch-norm.
        share: Of the time of all layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows: int
    cols: int
    blocks: int
    mvms_per_sample: float
    chip_s: float
    layer_s: float
    torch_s: float
    share: float


class InferenceBench(BaseModel):
    """Times of one network on one chip; medians over the repeats, s per batch.

    Attributes:
        trained: Whether the weights come from training.
        method: How they were written to the chip.
        run_s, torch_s: Time of `Deployment.run`, of the module.
        ratio: run_s / torch_s.
        ratio_quartiles: Lower and upper quartile of the ratio, repeat by repeat.
        cpu_ratio: The ratio in processor time: what a busy machine changes less.
        samples_per_s: Of the layer-serial run.
        chip_s_per_sample: Device time of the MVMs of one sample.
        peak_bytes, torch_peak_bytes: Rise of the peak memory in the first run of each.
        peak_bytes_per_sample: peak_bytes / batch.
        layers: In the order of their calls.
        shares: Share of each part in one more run under the profiler; see `hil.bench.shares`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    address: str
    chip_serial: str
    backend: BackendKind
    model: str
    network: str
    trained: bool
    method: str
    batch: int
    threads: int
    repeats: int
    run_s: float
    torch_s: float
    ratio: float
    ratio_quartiles: tuple[float, float]
    cpu_ratio: float
    samples_per_s: float
    chip_s_per_sample: float
    peak_bytes: int
    peak_bytes_per_sample: float
    torch_peak_bytes: int
    layers: tuple[LayerTiming, ...]
    shares: dict[str, float]
    machine: Machine


def bench_inference(
    address: str = ADDRESS,
    *,
    network: str = NETWORK,
    batch: int = BATCH,
    repeats: int = REPEATS,
    threads: int = 1,
    method: str = "open_loop",
    seed: int = 0,
    progress: Progress | None = None,
) -> InferenceBench:
    """Put a network on the chip at `address` (plan "resident") and time batches through it.

    Args:
        address: The chip.
        network: A bundled checkpoint, a `.safetensors` file, or a name in the registry, which is
            then run with random weights.
        batch: Samples per run.
        repeats: Timed runs of each side.
        threads: Threads of torch.
        method: How the layers are written; says nothing about the time of a run.
        seed: Seeds weights, inputs and calibration.
        progress: Told of the runs.

    Raises:
        RequestError: An unknown network, one that does not fit the chip, or too few repeats.
        RecordError: The checkpoint is not one.
    """
    if repeats < LEAST_REPEATS:
        raise RequestError(f"repeats {repeats} is below {LEAST_REPEATS}: a median needs them")
    if batch < 1 or threads < 1:
        raise RequestError(f"batch {batch} and threads {threads} must be 1 or more")
    module, spec, trained = _load(network, seed)
    inputs = torch.randn((batch, *spec.image_shape), generator=stream(seed, "bench inputs"))
    settings = DeploymentSettings(method=method, seed=seed)
    with (
        torch_threads(threads),
        torch.no_grad(),
        open_owned(address) as chip,
        (progress or Silent()).task("timing runs", repeats + 3) as task,
    ):
        task.say("writing the network")
        deployment = deploy_network(chip, module, inputs, settings)
        task.advance()
        _, torch_peak = peak_increase(lambda: module(inputs))
        _, peak = peak_increase(lambda: deployment.run(inputs))
        task.advance()
        ours, plain, reports = [], [], []
        for repeat in range(repeats):
            task.say(f"repeat {repeat + 1}")
            ours.append(_seconds(lambda: deployment.run(inputs)))
            plain.append(_seconds(lambda: module(inputs)))
            reports.append(deployment.report().layers)
            task.advance()
        task.say("by layer and part")
        torch_layer_s = module_seconds(module, tuple(deployment.plan.layers), inputs, repeats)
        layers = _layers(reports, torch_layer_s, batch)
        shares = time_shares(lambda: deployment.run(inputs))
        task.advance()
        run_s, run_cpu_s = np.median(ours, axis=0).tolist()
        torch_s, torch_cpu_s = np.median(plain, axis=0).tolist()
        each = np.array(ours)[:, 0] / np.array(plain)[:, 0]
        low, high = np.quantile(each, [0.25, 0.75])
        return InferenceBench(
            address=address,
            chip_serial=chip.serial,
            backend=chip.backend,
            model=chip.info.model,
            network=spec.name,
            trained=trained,
            method=method,
            batch=batch,
            threads=threads,
            repeats=repeats,
            run_s=run_s,
            torch_s=torch_s,
            ratio=run_s / torch_s,
            ratio_quartiles=(float(low), float(high)),
            cpu_ratio=run_cpu_s / torch_cpu_s,
            samples_per_s=batch / run_s,
            chip_s_per_sample=sum(layer.chip_s for layer in layers) / batch,
            peak_bytes=peak,
            peak_bytes_per_sample=peak / batch,
            torch_peak_bytes=torch_peak,
            layers=layers,
            shares=shares,
            machine=Machine.here(),
        )


def _load(network: str, seed: int) -> tuple[nn.Module, NetworkSpec, bool]:
    if network in bundled_checkpoints() or network.endswith(".safetensors"):
        module, metadata = load_checkpoint(network)
        return module, metadata.network, True
    spec = network_spec(network)
    module = build_network(spec)
    initialise_(module, stream(seed, "untrained"))
    return module.eval(), spec, False


def _layers(
    reports: list[tuple[LayerReport, ...]], torch_s: dict[str, float], batch: int
) -> tuple[LayerTiming, ...]:
    seconds = [[run.wall_s for run in runs] for runs in zip(*reports, strict=True)]
    whole = sum(median(runs) for runs in seconds)
    return tuple(
        LayerTiming(
            name=layer.name,
            rows=layer.rows,
            cols=layer.cols,
            blocks=layer.tiles,
            mvms_per_sample=layer.mvms / batch,
            chip_s=layer.chip_s,
            layer_s=median(runs),
            torch_s=torch_s[layer.name],
            share=median(runs) / whole,
        )
        for layer, runs in zip(reports[-1], seconds, strict=True)
    )


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time."""
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu_began
