"""Hardware-aware training: the loop. Knows networks and data sets by name, and no chip."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from hil.errors import RequestError
from hil.training.augmentation import augmented_batch
from hil.training.batch_norm import settle_batch_norm_
from hil.training.checkpoint import CheckpointMetadata, NoisyAccuracy, load_checkpoint
from hil.training.data import Dataset, Split, load_dataset
from hil.training.evaluate import accuracy, noisy_accuracy
from hil.training.mixup import Mix
from hil.training.networks.registry import NetworkSpec, build_network, initialise_, network_spec
from hil.training.settings import EpochReport, TrainingResult, TrainingSettings
from hil.training.state import load_state, save_state
from hil.training.streams import stream
from hil.training.weight_noise import analog_layers, clip_weights_, weight_noise

__all__ = ["learning_rate_factor", "train"]

logger = logging.getLogger(__name__)

REPORTED_ETA = (0.05, 0.08)
"""Weight noise at which the finished network is measured: the programming error of PCM chips."""
REPORTED_DRAWS = 10


def train(
    settings: TrainingSettings,
    *,
    data_dir: Path | None = None,
    state_path: Path | None = None,
    command: str = "",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainingResult:
    """Train a network and measure it on the test split, which the training never sees.

    Args:
        settings: The run.
        data_dir: Folder of the data set, for those that are not embedded.
        state_path: Written after each epoch; if it is there already, training goes on from it
            and ends with the weights of the uninterrupted run.
        command: The command to remember in the metadata.
        on_epoch: Called after each epoch.

    Raises:
        RequestError: Unknown names, a start of another network, data that does not fit the
            network, no such device, a state of other settings, or a loss that is not finite.
        RecordError: `state_path` is there but no training state.
    """
    spec = network_spec(settings.network)
    dataset = load_dataset(settings.dataset, data_dir)
    _check_fit(spec, dataset)
    device = _device(settings.device)
    module = _first_weights(spec, settings)
    module.to(device).to(memory_format=_memory_format(settings))  # type: ignore[call-overload]
    optimizer = _optimizer(module, settings)
    history: tuple[EpochReport, ...] = ()
    if state_path is not None and state_path.exists():
        history = load_state(state_path, settings=settings, module=module, optimizer=optimizer)
    first, started_s = len(history), time.monotonic()
    for epoch in range(first, settings.epochs):
        loss, right = _run_epoch(module, optimizer, dataset.train, settings, epoch)
        elapsed_s = time.monotonic() - started_s
        report = EpochReport(
            epoch=epoch + 1,
            epochs=settings.epochs,
            loss=loss,
            accuracy=right,
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s * (settings.epochs - epoch - 1) / (epoch + 1 - first),
        )
        history = (*history, report)
        logger.info("epoch %d: loss %.4f, accuracy %.4f", epoch + 1, loss, right)
        if state_path is not None:
            save_state(
                state_path, settings=settings, module=module, optimizer=optimizer, history=history
            )
        if on_epoch is not None:
            on_epoch(report)
    module.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    settle_batch_norm_(module, dataset.train, settings.norm_samples)
    module.eval()
    return TrainingResult(
        module=module, metadata=_describe(module, spec, dataset, settings, command), history=history
    )


def learning_rate_factor(done: float, warmup: float) -> float:
    """Learning rate over its peak when share `done` of the steps is done: linear rise, cosine."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _run_epoch(
    module: nn.Module,
    optimizer: torch.optim.SGD,
    split: Split,
    settings: TrainingSettings,
    epoch: int,
) -> tuple[float, float]:
    """Train one epoch in place; return mean loss and share of right answers."""
    device = next(module.parameters()).device
    seed = settings.seed
    order = torch.randperm(len(split), generator=stream(seed, "order", epoch))
    changes, noise = stream(seed, "augmentation", epoch), stream(seed, "weight noise", epoch)
    batches = order.tensor_split(math.ceil(len(split) / settings.batch_size))
    total = torch.zeros(2, dtype=torch.float64, device=device)
    module.train()
    for step, chosen in enumerate(batches):
        images = augmented_batch(split, chosen, settings.augmentation, changes).to(
            device=device, memory_format=_memory_format(settings)
        )
        labels = split.labels[chosen].to(device)
        smoothing = settings.label_smoothing
        loss_of = partial(functional.cross_entropy, target=labels, label_smoothing=smoothing)
        if settings.mixup > 0:
            mix = Mix.draw(len(chosen), settings.mixup, changes)
            images = mix.inputs(images)
            loss_of = partial(mix.loss, labels=labels, smoothing=smoothing)
        done = (epoch + (step + 0.5) / len(batches)) / settings.epochs
        rate = settings.learning_rate * learning_rate_factor(done, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with weight_noise(module, settings.noise_eta, noise):
            loss, logits = _step(module, optimizer, images, loss_of, settings)
        right = (logits.argmax(dim=1) == labels).sum()
        total += torch.stack([loss.detach() * len(chosen), right]).double()
    mean_loss, share = (total / len(split)).tolist()
    if not math.isfinite(mean_loss):
        raise RequestError(
            f"the loss is {mean_loss} in epoch {epoch + 1}: training diverged; lower learning_rate "
            f"(now {settings.learning_rate}) or noise_eta (now {settings.noise_eta})"
        )
    return mean_loss, share


def _step(
    module: nn.Module,
    optimizer: torch.optim.SGD,
    images: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    settings: TrainingSettings,
) -> tuple[Tensor, Tensor]:
    optimizer.zero_grad()
    with torch.autocast(
        images.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
    ):
        logits: Tensor = module(images)
        loss = loss_of(logits)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    clip_weights_(module, settings.clip_sigma)
    return loss, logits


def _optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """SGD with Nesterov momentum; only array weights decay, not biases or batch-norm."""
    decayed = {id(layer.weight) for layer in analog_layers(module).values()}
    groups: list[dict[str, object]] = [
        {
            "params": [p for p in module.parameters() if id(p) in decayed],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in module.parameters() if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )


def _memory_format(settings: TrainingSettings) -> torch.memory_format:
    """Channels last is what the matrix units take; float32 runs keep the order they had."""
    last = settings.precision == "bfloat16"
    return torch.channels_last if last else torch.contiguous_format


def _first_weights(spec: NetworkSpec, settings: TrainingSettings) -> nn.Module:
    if settings.start is None:
        module = build_network(spec)
        initialise_(module, stream(settings.seed, "initial weights"))
        return module
    module, metadata = load_checkpoint(settings.start)
    if metadata.network != spec:
        raise RequestError(
            f"start {settings.start!r} is a checkpoint of network {metadata.network.name!r}, the "
            f"run trains {spec.name!r}; start from one of the same network, or leave start out"
        )
    return module


def _check_fit(spec: NetworkSpec, dataset: Dataset) -> None:
    if spec.image_shape != dataset.image_shape:
        raise RequestError(
            f"network {spec.name!r} takes images of shape {spec.image_shape}, dataset "
            f"{dataset.name!r} has {dataset.image_shape}; choose two that fit"
        )
    if spec.classes != len(dataset.class_names):
        raise RequestError(
            f"network {spec.name!r} has {spec.classes} classes, dataset {dataset.name!r} has "
            f"{len(dataset.class_names)}; choose two that fit"
        )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError("device 'cuda' is not available here; use 'cpu'", device=name)
    return torch.device(name)


def _describe(
    module: nn.Module,
    spec: NetworkSpec,
    dataset: Dataset,
    settings: TrainingSettings,
    command: str,
) -> CheckpointMetadata:
    noisy = []
    for eta in REPORTED_ETA:
        mean, std = noisy_accuracy(module, dataset.test, eta, draws=REPORTED_DRAWS)
        noisy.append(NoisyAccuracy(eta=eta, mean=mean, std=std, draws=REPORTED_DRAWS))
    return CheckpointMetadata(
        network=spec,
        dataset=dataset.name,
        test_sha256=dataset.test.sha256,
        test_samples=len(dataset.test),
        software_accuracy=accuracy(module, dataset.test),
        noisy_accuracy=tuple(noisy),
        command=command,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
        versions={
            "aimc-hil": metadata.version("aimc-hil"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
