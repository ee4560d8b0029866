"""What a recipe asks of a chip: its network planned on what the chip says of itself, no pulse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hil.backends import check_address
from hil.errors import RequestError
from hil.experiment_prepare import load_network, plan_of
from hil.guard import ChipBinding, check_binding
from hil.inference.plan_report import PlanReport, plan_report
from hil.owned_chip import open_noted
from hil.plan_costs import PlanCosts, plan_costs
from hil.programming import algorithm
from hil.recipe import NetworkSection, Recipe
from hil.training import Split, load_checkpoint, load_dataset
from hil.training.data import dataset_names
from hil.training.networks import network_spec
from hil.training.streams import stream

__all__ = ["RecipePlan", "plan_recipe"]

STAND_INS = 4
"""Samples of noise that stand in for real ones: they set input ranges, no size depends on them."""


@dataclass(frozen=True, kw_only=True)
class RecipePlan:
    """What a recipe asks of the chip at an address.

    Attributes:
        network: Name of the network.
        trained: Whether its weights come from training.
        samples: Training samples that set the input ranges; 0 if none was at hand.
        report: Layers, places, MVMs, times.
        costs: Bytes and time on the link, chip time of programming, wear against budgets.
    """

    network: str
    trained: bool
    samples: int
    report: PlanReport
    costs: PlanCosts


def plan_recipe(
    recipe: Recipe,
    address: str,
    data_dir: Path | None = None,
    *,
    seed: int = 0,
    bytes_per_s: float | None = None,
) -> RecipePlan:
    """Plan a recipe's network on the chip at `address`, of which only its info is read.

    Without a data folder a set that is not embedded is done without: everything but the input
    ranges follows from shapes.

    Args:
        recipe: What is to be done.
        address: Chip.
        data_dir: Folder of data sets that are not embedded.
        seed: Seed of what the host draws.
        bytes_per_s: Rate of the link each way; None takes that of the address, if it says.

    Raises:
        RequestError: Something that the recipe names is unknown, or the network does not fit.
        RecordError: The checkpoint is not one.
        CoreUnavailableError: Nothing answers at the address.
    """
    check_address(address)
    methods = [
        algorithm(name, **recipe.programming.settings.get(name, {}))
        for name in recipe.programming.methods
    ]
    module, spec = load_network(recipe.network, seed)
    found = _samples(recipe, data_dir)
    samples = _noise(recipe.network, seed) if found is None else found
    with open_noted(address) as chip:
        info = chip.info
    check_binding(info, ChipBinding(serial=recipe.chip.serial, require=recipe.chip.require))
    levels = min(min(core.input.max_code, -core.input.min_code) for core in info.cores)
    report = plan_report(
        plan_of(recipe, module, samples, levels),
        info,
        recipe.mapping.plan,
        methods=methods,
        ranges_calibrated=found is not None,
    )
    return RecipePlan(
        network=spec.name,
        trained=recipe.network.untrained is None,
        samples=0 if found is None else len(found),
        report=report,
        costs=plan_costs(report, info, methods, bytes_per_s=bytes_per_s),
    )


def _samples(recipe: Recipe, data_dir: Path | None) -> Split | None:
    """Load the samples for input ranges; None if their folder is not given."""
    section = recipe.data
    try:
        dataset = load_dataset(
            section.dataset,
            data_dir,
            train_samples=section.calibration_samples,
            test_samples=1,
        )
    except RequestError:
        if data_dir is not None or section.dataset not in dataset_names():
            raise
        return None
    return dataset.train


def _noise(network: NetworkSection, seed: int) -> Split:
    """Make normal noise of the shape of the network's input."""
    if network.untrained is None:
        spec = load_checkpoint(str(network.checkpoint))[1].network
    else:
        spec = network_spec(network.untrained)
    shape = (STAND_INS, *spec.image_shape)
    return Split(
        samples=torch.randn(shape, generator=stream(seed, "stand-ins")),
        labels=torch.zeros(STAND_INS, dtype=torch.int64),
    )
