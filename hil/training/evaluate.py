"""Accuracy of a network in software, with and without weight noise. Knows no chip."""

from __future__ import annotations

import torch
from torch import nn

from hil.errors import RequestError
from hil.training.data import Split
from hil.training.streams import stream
from hil.training.weight_noise import weight_noise

__all__ = ["accuracy", "noisy_accuracy"]


def accuracy(module: nn.Module, split: Split, *, batch_size: int = 512) -> float:
    """Measure the share of right answers, 0...1, in evaluation mode; leaves the mode as it was."""
    if len(split) == 0:
        raise RequestError("an accuracy needs at least one sample, the split has none")
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(split), batch_size):
            images = split.batch(slice(start, start + batch_size)).to(device)
            answers = module(images).argmax(dim=1).cpu()
            right += int((answers == split.labels[start : start + batch_size]).sum())
    module.train(was_training)
    return right / len(split)


def noisy_accuracy(
    module: nn.Module, split: Split, eta: float, *, draws: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Measure accuracy with Gaussian weight noise of std eta max|w| per layer.

    Each draw is one programmed chip: its noise stays the same for the whole split.

    Returns:
        Mean and sample standard deviation over the draws (0 for a single draw).
    """
    if draws < 1:
        raise RequestError(f"draws {draws} is below 1")
    values = []
    for draw in range(draws):
        with weight_noise(module, eta, stream(seed, "evaluation noise", draw)):
            values.append(accuracy(module, split))
    sample = torch.tensor(values, dtype=torch.float64)
    spread = float(sample.std()) if draws > 1 else 0.0
    return float(sample.mean()), spread
