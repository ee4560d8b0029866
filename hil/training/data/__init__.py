"""Data sets by name: samples, labels and the fixed split. Knows no network."""

from hil.training.data.datasets import dataset_names, load_dataset, preparation
from hil.training.data.split import Dataset, Limits, Split

__all__ = ["Dataset", "Limits", "Split", "dataset_names", "load_dataset", "preparation"]
