"""A recipe on one chip or on several, and what the chips say together. Knows no physics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.experiment import run_experiment
from hil.experiment_difference import differences_of, losses_of
from hil.experiment_jobs import ChipJob, ChipRun, chip_jobs, raise_again, run_chips
from hil.experiment_prepare import PreparedExperiment, prepare_experiment
from hil.experiment_results import ExperimentResult, FailedChip, RepeatedResult, spreads
from hil.experiment_words import verdict
from hil.progress import Progress, Silent
from hil.recipe import Recipe
from hil.record import RunError
from hil.run_folder import RunFolder
from hil.session import Session

__all__ = ["failures_of", "run_recipe", "together"]


def run_recipe(
    recipe: Recipe,
    *,
    address: str,
    seed: int,
    folder: RunFolder,
    data_dir: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    prepared: PreparedExperiment | None = None,
) -> ExperimentResult | RepeatedResult:
    """Run a recipe on the chip at `address`, or once per chip seed of the recipe.

    Every chip of a repeated recipe gets a run folder of its own inside `folder`. A chip whose run
    stands there already, from an earlier attempt, is not run again; one that fails stops no other.

    Args:
        recipe: What to do.
        address: Chip; with chip seeds, its option `seed` is set to each in turn.
        seed: Seed of what the host draws.
        folder: Run folder under way.
        data_dir: Folder of data sets that are not embedded.
        jobs: Chips at a time.
        progress: Is told of the work.
        prepared: The recipe prepared with this seed, if that was done already.

    Raises:
        RequestError: The recipe asks for what this chip or the data cannot give.
    """
    progress = progress or Silent()
    if not recipe.chip.seeds:
        prepared = prepared or prepare_experiment(recipe, data_dir, seed=seed)
        with Session.open(address, seed=seed, folder=folder) as session:
            return run_experiment(prepared, session, progress=progress)
    todo = chip_jobs(
        recipe,
        address=address,
        seed=seed,
        folder=folder.path,
        data_dir=data_dir,
        command=folder.record.command,
    )
    outcomes = run_chips(todo, jobs=jobs, progress=progress)
    return together(recipe, todo, outcomes)


def together(
    recipe: Recipe, todo: Sequence[ChipJob], outcomes: Sequence[ChipRun | RunError]
) -> RepeatedResult:
    """Summarise what the chips of a recipe gave; the goal is not met if one of them failed.

    Raises:
        HilError: No chip came to an end: the error of the first.
    """
    runs = [outcome for outcome in outcomes if isinstance(outcome, ChipRun)]
    failed = failures_of(recipe, todo, outcomes)
    if not runs:
        raise_again(next(outcome for outcome in outcomes if isinstance(outcome, RunError)))
    results = tuple(run.result for run in runs)
    answers = [run.answers for run in runs]
    over_chips = spreads(results)
    software = results[0].software_accuracy
    met, sentence = verdict(
        over_chips,
        software_accuracy=software,
        method=recipe.goal.method,
        compensation=recipe.judged_compensation,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
    )
    missing = f" {len(failed)} of {len(todo)} chips failed." if failed else ""
    return RepeatedResult(
        recipe=recipe.name,
        runs=results,
        failed=failed,
        spreads=over_chips,
        differences=differences_of(answers, recipe.goal.method),
        losses=losses_of(answers),
        software_accuracy=software,
        goal_met=met and not failed,
        verdict=f"{sentence} Mean of {len(runs)} chips.{missing}",
    )


def failures_of(
    recipe: Recipe, todo: Sequence[ChipJob], outcomes: Sequence[ChipRun | RunError]
) -> tuple[FailedChip, ...]:
    """List the chips that came to no end."""
    seeds = recipe.chip.seeds or (None,)
    return tuple(
        FailedChip(
            chip_seed=chip_seed,
            address=job.address,
            folder=Path(job.path).name,
            kind=outcome.kind,
            message=outcome.message,
        )
        for chip_seed, job, outcome in zip(seeds, todo, outcomes, strict=True)
        if isinstance(outcome, RunError)
    )
