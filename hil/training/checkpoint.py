"""Checkpoints: trained weights with everything needed to judge and remake them. Knows no chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from hil.errors import RecordError, RequestError
from hil.tensor_file import check_tensors, read_tensors, write_tensors
from hil.training.networks.registry import NetworkSpec, build_network

__all__ = [
    "CheckpointMetadata",
    "NoisyAccuracy",
    "bundled_checkpoints",
    "load_checkpoint",
    "save_checkpoint",
]

HEADER_KEY = "aimc-hil checkpoint"
BUNDLED = Path(__file__).parent / "checkpoints"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class NoisyAccuracy(BaseModel):
    """Accuracy with Gaussian weight noise of std eta max|w| per layer.

    Attributes:
        eta: Relative noise.
        mean, std: Over the draws, shares.
        draws: Number of draws of the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    eta: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    mean: Share
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    draws: Annotated[int, Field(ge=1)]


class CheckpointMetadata(BaseModel):
    """What a checkpoint says of itself.

    Attributes:
        schema_version: Version of this document.
        network: The network these weights belong to.
        dataset: Name of the data set it was trained on.
        test_sha256: Digest of the test split (`Split.sha256`).
        test_samples: Size of the test split.
        software_accuracy: Share of right answers on the test split, in float32.
        noisy_accuracy: The same with weight noise, per eta.
        command: The command that made it.
        seed: Its seed.
        settings: All training settings.
        versions: Software versions by component.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    network: NetworkSpec
    dataset: str
    test_sha256: str
    test_samples: Annotated[int, Field(ge=1)]
    software_accuracy: Share
    noisy_accuracy: tuple[NoisyAccuracy, ...]
    command: str
    seed: Annotated[int, Field(ge=0)]
    settings: dict[str, Any]
    versions: dict[str, str]


def bundled_checkpoints() -> tuple[str, ...]:
    """Names of the checkpoints that come with the package."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.safetensors")))


def save_checkpoint(path: Path, module: nn.Module, metadata: CheckpointMetadata) -> None:
    """Write a checkpoint; the file appears whole or not at all.

    Raises:
        RequestError: The module is not the network the metadata names, a weight is not finite,
            or the file cannot be written.
    """
    tensors = module.state_dict()
    wanted = build_network(metadata.network, device="meta").state_dict()
    next_step = "nothing was written; save the module that belongs to its metadata"
    check_tensors(tensors, wanted, path=path, next_step=next_step)
    write_tensors(path, tensors, key=HEADER_KEY, document=metadata.model_dump_json())


def load_checkpoint(source: str | Path) -> tuple[nn.Module, CheckpointMetadata]:
    """Load a checkpoint by path or bundled name: the module in evaluation mode, its metadata.

    Raises:
        RequestError: Unknown bundled name; tensors that do not fit the network the file names.
        RecordError: No such file, not a checkpoint, or of another schema version.
    """
    path = _locate(source)
    tensors, document = read_tensors(path, key=HEADER_KEY, what="a checkpoint")
    try:
        metadata = CheckpointMetadata.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise RecordError(
            f"{path}: {place} of the checkpoint's metadata is refused: {first['msg']}; this "
            f"version reads schema 1, write the file again with `hil train`",
            path=str(path),
        ) from error
    module = build_network(metadata.network, device="meta")
    next_step = f"train {metadata.network.name} again with `hil train`"
    check_tensors(tensors, module.state_dict(), path=path, next_step=next_step)
    module.load_state_dict(tensors, assign=True)
    return module.eval(), metadata


def _locate(source: str | Path) -> Path:
    path = Path(source)
    if isinstance(source, Path) or path.suffix or len(path.parts) > 1 or path.exists():
        return path
    if source not in bundled_checkpoints():
        raise RequestError(
            f"checkpoint {source!r} is neither a file nor bundled; bundled: "
            f"{', '.join(bundled_checkpoints()) or 'none'}",
            checkpoint=source,
        )
    return BUNDLED / f"{source}.safetensors"
