"""What a recipe names, loaded and checked to fit together, before any chip is touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hil.errors import RequestError
from hil.inference import NetworkPlan, PlanSettings, plan_network
from hil.mapping import Scaling
from hil.programming import algorithm
from hil.recipe import Recipe
from hil.training import Split, load_checkpoint, load_dataset

__all__ = ["DEFAULT_INPUT_LEVELS", "PreparedExperiment", "plan_of", "prepare_experiment"]

DEFAULT_INPUT_LEVELS = 127
"""Highest input code a plan is made for until the chip has said its own (signed 8 bit)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedExperiment:
    """A recipe with everything that it names, loaded and checked; no chip has been touched.

    Attributes:
        recipe: The recipe.
        network_name: Name of the network.
        module: The network, float, in evaluation mode.
        plan: The network planned for signed 8-bit inputs.
        calibration: Images for input ranges and batch-norm statistics, from the training split.
        test: Test images in use.
        classes: Number of classes.
    """

    recipe: Recipe
    network_name: str
    module: nn.Module
    plan: NetworkPlan
    calibration: Split
    test: Split
    classes: int


def prepare_experiment(recipe: Recipe, data_dir: Path | None = None) -> PreparedExperiment:
    """Load what a recipe names and check that it fits together.

    Raises:
        RequestError: Unknown or unfit checkpoint, data set, method setting or network.
        RecordError: The checkpoint is not one.
    """
    for method in recipe.programming.methods:
        algorithm(method, **recipe.programming.settings.get(method, {}))
    module, metadata = load_checkpoint(recipe.network.checkpoint)
    dataset = load_dataset(recipe.data.dataset, data_dir)
    samples = recipe.data.samples
    if samples is not None and samples > len(dataset.test):
        raise RequestError(
            f"data.samples = {samples}, but the test split of {dataset.name} has "
            f"{len(dataset.test)} images; give at most that, or leave the key out for all"
        )
    calibration = dataset.train.take(recipe.data.calibration_samples)
    return PreparedExperiment(
        recipe=recipe,
        network_name=metadata.network.name,
        module=module,
        plan=plan_of(recipe, module, calibration, DEFAULT_INPUT_LEVELS),
        calibration=calibration,
        test=dataset.test if samples is None else dataset.test.take(samples),
        classes=len(dataset.class_names),
    )


def plan_of(recipe: Recipe, module: nn.Module, samples: Split, input_levels: int) -> NetworkPlan:
    """Plan the network as the recipe wants it, for inputs of this many levels."""
    settings = PlanSettings(
        scaling=Scaling(recipe.mapping.scaling),
        range_quantile=recipe.mapping.input_quantile,
        input_levels=input_levels,
    )
    return plan_network(module, samples.images, settings)
