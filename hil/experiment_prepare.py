"""What a recipe names, loaded and checked to fit together, before any chip is touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hil.errors import RequestError
from hil.inference import NetworkPlan, PlanSettings, plan_network
from hil.mapping import Scaling
from hil.programming import algorithm
from hil.recipe import NetworkSection, Recipe
from hil.training import Dataset, Split, load_checkpoint, load_dataset
from hil.training.networks.registry import (
    NetworkSpec,
    build_network,
    initialise_,
    network_spec,
)
from hil.training.streams import stream

__all__ = [
    "DEFAULT_INPUT_LEVELS",
    "PreparedExperiment",
    "load_network",
    "plan_of",
    "prepare_experiment",
]

DEFAULT_INPUT_LEVELS = 127
"""Highest input code a plan is made for until the chip has said its own (signed 8 bit)."""
MAX_ANSWERS = 1 << 27
"""Most answers a run keeps, points times samples: a quarter of a gigabyte on disk."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedExperiment:
    """A recipe with everything that it names, loaded and checked; no chip has been touched.

    Attributes:
        recipe: The recipe.
        network: The network as a document.
        trained: Whether its weights come from training.
        module: The network, float, in evaluation mode.
        plan: The network planned for signed 8-bit inputs.
        calibration: Inputs for input ranges and batch-norm statistics, from the training split.
        test: Test inputs in use.
        class_names: Classes in the order of their numbers.
        sample_word: What the samples are: "images" or "recordings".
    """

    recipe: Recipe
    network: NetworkSpec
    trained: bool
    module: nn.Module
    plan: NetworkPlan
    calibration: Split
    test: Split
    class_names: tuple[str, ...]
    sample_word: str


def prepare_experiment(
    recipe: Recipe, data_dir: Path | None = None, *, seed: int = 0
) -> PreparedExperiment:
    """Load what a recipe names and check that it fits together.

    Args:
        recipe: What to run.
        data_dir: Folder of data sets that are not embedded.
        seed: Seed of the host; draws the weights of an untrained network.

    Raises:
        RequestError: Unknown or unfit checkpoint, data set, method setting or network.
        RecordError: The checkpoint is not one.
    """
    for method in recipe.programming.methods:
        algorithm(method, **recipe.programming.settings.get(method, {}))
    module, spec = load_network(recipe.network, seed)
    dataset = _load_data(recipe, data_dir)
    word = _sample_word(dataset)
    calibration, test = (_as_inputs(part, recipe) for part in (dataset.train, dataset.test))
    return PreparedExperiment(
        recipe=recipe,
        network=spec,
        trained=recipe.network.untrained is None,
        module=module,
        plan=plan_of(recipe, module, calibration, DEFAULT_INPUT_LEVELS),
        calibration=calibration,
        test=test,
        class_names=dataset.class_names,
        sample_word=word,
    )


def load_network(section: NetworkSection, seed: int = 0) -> tuple[nn.Module, NetworkSpec]:
    """Load the checkpoint, or build the network and draw its weights; return it and its document.

    Raises:
        RequestError: Unknown checkpoint or network.
        RecordError: The checkpoint is not one.
    """
    if section.untrained is None:
        module, metadata = load_checkpoint(str(section.checkpoint))
        return module, metadata.network
    spec = network_spec(section.untrained)
    module = build_network(spec)
    initialise_(module, stream(seed, "untrained"))
    return module.eval(), spec


def plan_of(recipe: Recipe, module: nn.Module, samples: Split, input_levels: int) -> NetworkPlan:
    """Plan the network as the recipe wants it, for inputs of this many levels."""
    settings = PlanSettings(
        scaling=Scaling(recipe.mapping.scaling),
        range_quantile=recipe.mapping.input_quantile,
        fill_rows=recipe.mapping.fill_rows,
        input_levels=input_levels,
    )
    return plan_network(module, samples.images, settings)


def _load_data(recipe: Recipe, data_dir: Path | None) -> Dataset:
    """Load the samples in use and no others."""
    section = recipe.data
    dataset = load_dataset(
        section.dataset,
        data_dir,
        train_samples=section.calibration_samples,
        test_samples=section.samples,
    )
    samples, word = section.samples, _sample_word(dataset)
    if samples is not None and samples > len(dataset.test):
        raise RequestError(
            f"data.samples = {samples}, but the test split of {dataset.name} has "
            f"{len(dataset.test)} {word}; give at most that, or leave the key out for all"
        )
    points = (
        len(recipe.programming.methods) * len(recipe.time.ages_s) * len(recipe.time.compensation)
    )
    if points * len(dataset.test) > MAX_ANSWERS:
        raise RequestError(
            f"{points} points times {len(dataset.test)} {word} are more than the {MAX_ANSWERS} "
            "answers that a run keeps; lower data.samples, or ask for fewer ages or compensations"
        )
    return dataset


def _as_inputs(split: Split, recipe: Recipe) -> Split:
    """Prepare the inputs of a split once for the whole run, a batch at a time."""
    size = recipe.data.batch
    parts = [split.batch(slice(k, k + size)) for k in range(0, len(split), size)]
    return Split(samples=torch.cat(parts), labels=split.labels)


def _sample_word(dataset: Dataset) -> str:
    """Name what the samples are, by their shape as stored: recordings have one dimension."""
    return "recordings" if dataset.test.samples.ndim == 2 else "images"
