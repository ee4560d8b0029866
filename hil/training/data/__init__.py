"""Data sets by name: samples, labels and the fixed split. Knows no network."""

from hil.training.data.datasets import dataset_names, load_dataset
from hil.training.data.split import Dataset, Split

__all__ = ["Dataset", "Split", "dataset_names", "load_dataset"]
