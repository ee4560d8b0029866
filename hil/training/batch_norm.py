"""Batch-norm statistics of the finished network, in place of the running means of training.

While training, weights carry noise and inputs are augmented, and the running means follow both;
the network that is put on a chip has neither. One pass over training inputs with the weights at
rest gives the statistics that belong to them.
"""

from __future__ import annotations

import torch
from torch import nn

from hil.errors import RequestError
from hil.training.data.split import Split

__all__ = ["settle_batch_norm_"]

BATCH = 500
NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def settle_batch_norm_(module: nn.Module, split: Split, samples: int) -> None:
    """Set the statistics of all batch-norm layers in place from the first `samples` of a split.

    Every batch has the same weight; the mode of the module is left as it was.

    Args:
        module: The network; weights are not touched.
        split: Training inputs, used as they are.
        samples: How many; fewer, if the split has fewer. 0 leaves everything as it is.

    Raises:
        RequestError: Fewer than two samples: no variance.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, NORMS)]
    if samples == 0 or not norms:
        return
    chosen = split.take(samples)
    if len(chosen) < 2:
        raise RequestError(f"batch-norm statistics of {len(chosen)} samples; give at least 2")
    momenta = [norm.momentum for norm in norms]
    was_training = module.training
    device = next(module.parameters()).device
    parts = max(1, len(chosen) // BATCH)
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        module.train()
        for part in torch.arange(len(chosen)).tensor_split(parts):
            module(chosen.batch(part).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.train(was_training)
