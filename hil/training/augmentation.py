"""The augmentation of a run: one batch of a split, changed as its settings say."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from hil.training.augment import Affine, CropFlip, affine, crop_flip
from hil.training.data.split import Split
from hil.training.speech.augment import SpeechChange, change_features, change_recordings

__all__ = ["Augmentation", "augmented_batch"]

Augmentation = Annotated[Affine | CropFlip | SpeechChange, Field(discriminator="kind")]


def augmented_batch(
    split: Split, chosen: Tensor, settings: Augmentation | None, generator: torch.Generator
) -> Float[Tensor, "n channels height width"]:
    """Prepare the chosen samples as inputs, each changed by its own draw."""
    match settings:
        case None:
            return split.batch(chosen)
        case Affine():
            return affine(split.batch(chosen), settings, generator)
        case CropFlip():
            return crop_flip(split.batch(chosen), settings, generator)
        case SpeechChange():
            return _speech_batch(split, chosen, settings, generator)


def _speech_batch(
    split: Split, chosen: Tensor, settings: SpeechChange, generator: torch.Generator
) -> Tensor:
    """Change the recordings, prepare them, mask their features."""
    background = None
    if settings.noise_class is not None:
        background = split.samples[split.labels == settings.noise_class]
    recordings = change_recordings(
        split.samples[chosen], settings, generator, background=background
    )
    return change_features(split.prepare(recordings), settings, generator)
