"""Hardware-aware training: networks, data sets, checkpoints. Knows no chip."""

from hil.training.checkpoint import CheckpointMetadata, load_checkpoint, save_checkpoint
from hil.training.data import Dataset, Split, load_dataset

__all__ = [
    "CheckpointMetadata",
    "Dataset",
    "Split",
    "load_checkpoint",
    "load_dataset",
    "save_checkpoint",
]
