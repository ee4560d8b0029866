"""What a training run is asked for, and what it reports and returns. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from hil.toml_document import Shelf, bundled_documents, load_document
from hil.training.augment import Affine
from hil.training.augmentation import Augmentation
from hil.training.checkpoint import CheckpointMetadata

__all__ = [
    "EpochReport",
    "TrainingResult",
    "TrainingSettings",
    "bundled_training_plans",
    "load_training_plan",
]

_SHELF = Shelf(kind="training plan", package="protocols", folder="training")

Finite = Annotated[float, Field(allow_inf_nan=False)]


class TrainingSettings(BaseModel):
    """Settings of a hardware-aware training run; equal settings on one machine, equal weights.

    Attributes:
        network, dataset: Names in the registries.
        epochs: Passes over the training split.
        start: Checkpoint, by bundled name or path, whose weights the run starts from, since
            hardware-aware training is mostly fine-tuning; None draws them from the seed.
        seed: Seed of every stream: initial weights, order, augmentation, noise.
        batch_size: Largest mini-batch; an epoch is cut into nearly equal ones.
        learning_rate: Peak, reached after `warmup`, then lowered to 0 along a cosine.
        warmup: Share of the steps over which the rate rises.
        momentum: Nesterov momentum.
        weight_decay: L2 factor on the weights of analog layers.
        clip_sigma: Weights are clipped at ± this many standard deviations of their layer
            (alpha of Joshi 2020: 2.0 to 2.5).
        noise_eta: Weight noise of std eta max|w| per layer, drawn for each mini-batch (Joshi
            2020: 3.8 %, up to 8 % harmless; recipes for 14 nm chips: 6 to 12 %).
        label_smoothing: Share of the target that is spread evenly over all classes.
        mixup: Largest share of another sample of the batch that is mixed into each, input and
            target alike (Zhang et al., arXiv 1710.09412); drawn uniformly up to it.
        augmentation: Change per image; None trains on the images as they are.
        norm_samples: Training samples on which the batch-norm statistics of the finished network
            are measured, without noise and augmentation; 0 keeps the running means.
        precision: bfloat16 computes layers in it where the loss stands it (about twice as fast on
            processors with matrix units for it); weights and their updates stay float32.
        device: Where to compute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = "resnet9-digits"
    dataset: str = "digits"
    start: str | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    learning_rate: Annotated[Finite, Field(gt=0)] = 0.1
    warmup: Annotated[Finite, Field(ge=0, lt=1)] = 0.1
    momentum: Annotated[Finite, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Finite, Field(ge=0)] = 5e-4
    clip_sigma: Annotated[Finite, Field(gt=1)] = 2.0
    noise_eta: Annotated[Finite, Field(ge=0, le=1)] = 0.12
    label_smoothing: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[Finite, Field(ge=0, le=0.5)] = 0.0
    augmentation: Augmentation | None = Affine()
    norm_samples: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"


def bundled_training_plans() -> tuple[str, ...]:
    """Names of the training plans that come with the package."""
    return bundled_documents(_SHELF)


def load_training_plan(name_or_path: str, overrides: tuple[str, ...] = ()) -> TrainingSettings:
    """Read settings by bundled name or by path and apply "key=value" overrides.

    Raises:
        RequestError: No such plan, not TOML, an unknown key, a value out of range.
    """
    return load_document(TrainingSettings, _SHELF, name_or_path, overrides)


class EpochReport(BaseModel):
    """Where a run stands after an epoch.

    Attributes:
        epoch, epochs: Epochs done, epochs in all.
        loss: Mean loss over the epoch, with noise and augmentation.
        accuracy: Share of right answers over the epoch's training images, likewise.
        elapsed_s, remaining_s: Time of this process for the run; estimate of what is left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingResult:
    """A trained module (evaluation mode, CPU), its metadata and its history, epoch by epoch."""

    module: nn.Module
    metadata: CheckpointMetadata
    history: tuple[EpochReport, ...]
