"""The state of a run between two epochs, as a file to resume from. Knows no data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from hil.errors import RecordError, RequestError
from hil.tensor_file import check_tensors, read_tensors, write_tensors
from hil.training.settings import EpochReport, TrainingSettings

__all__ = ["load_state", "save_state"]

HEADER_KEY = "aimc-hil training state"
MOMENTUM = "momentum_buffer"
AFTER_EPOCHS = ("device", "norm_samples")
"""Settings that a state does not depend on: they may be others when a run goes on."""


class _StateDocument(BaseModel):
    """Header of a state file; no random state is kept, since each epoch has streams of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    settings: TrainingSettings
    history: tuple[EpochReport, ...]


def save_state(
    path: Path,
    *,
    settings: TrainingSettings,
    module: nn.Module,
    optimizer: torch.optim.SGD,
    history: tuple[EpochReport, ...],
) -> None:
    """Write network, momentum and history after an epoch; the file appears whole or not at all."""
    tensors = {f"network.{name}": value for name, value in module.state_dict().items()}
    for name, parameter in _with_momentum(module, settings).items():
        tensors[f"{MOMENTUM}.{name}"] = optimizer.state[parameter][MOMENTUM]
    document = _StateDocument(settings=settings, history=history)
    write_tensors(path, tensors, key=HEADER_KEY, document=document.model_dump_json())


def load_state(
    path: Path, *, settings: TrainingSettings, module: nn.Module, optimizer: torch.optim.SGD
) -> tuple[EpochReport, ...]:
    """Put a saved state into `module` and `optimizer` (both changed); return the history.

    Raises:
        RequestError: The file belongs to other settings, or its tensors do not fit.
        RecordError: The file is no training state.
    """
    next_step = "delete it to start anew"
    tensors, document = read_tensors(path, key=HEADER_KEY, what="a training state")
    try:
        saved = _StateDocument.model_validate_json(document)
    except ValidationError as error:
        raise RecordError(
            f"{path} is a training state of another version; {next_step}", path=str(path)
        ) from error
    _check_settings(path, saved.settings, settings)
    parameters = _with_momentum(module, settings)
    wanted = {f"network.{name}": value for name, value in module.state_dict().items()}
    wanted |= {f"{MOMENTUM}.{name}": value for name, value in parameters.items()}
    check_tensors(tensors, wanted, path=path, next_step=next_step)
    module.load_state_dict({name: tensors[f"network.{name}"] for name in module.state_dict()})
    for name, parameter in parameters.items():
        optimizer.state[parameter][MOMENTUM] = tensors[f"{MOMENTUM}.{name}"].to(parameter.device)
    return saved.history


def _with_momentum(module: nn.Module, settings: TrainingSettings) -> dict[str, nn.Parameter]:
    """Find the parameters that the optimizer keeps a momentum for; without momentum, none."""
    return dict(module.named_parameters()) if settings.momentum > 0 else {}


def _check_settings(path: Path, saved: TrainingSettings, wanted: TrainingSettings) -> None:
    found, asked = saved.model_dump(), wanted.model_dump()
    for name in found:
        if name not in AFTER_EPOCHS and found[name] != asked[name]:
            raise RequestError(
                f"{path} was written with {name} {found[name]!r}, asked is {asked[name]!r}; "
                f"use the same settings or delete it to start anew",
                setting=name,
                path=str(path),
            )
