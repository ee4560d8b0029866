"""A recipe on one chip or on several: one after the other, or in processes. Knows no physics."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from hil.address import address_with
from hil.experiment import run_experiment
from hil.experiment_prepare import prepare_experiment
from hil.experiment_results import ExperimentResult, RepeatedResult, spreads, verdict
from hil.progress import Progress, Silent
from hil.recipe import Recipe
from hil.record import RunStatus, new_record
from hil.run_folder import RunFolder
from hil.session import Session

__all__ = ["run_recipe"]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One chip of a repeated recipe; crosses to another process as plain values."""

    recipe: str
    address: str
    seed: int
    path: str
    data_dir: str | None
    command: tuple[str, ...]


def run_recipe(
    recipe: Recipe,
    *,
    address: str,
    seed: int,
    folder: RunFolder,
    data_dir: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> ExperimentResult | RepeatedResult:
    """Run a recipe on the chip at `address`, or once per chip seed of the recipe.

    Every chip of a repeated recipe gets a run folder of its own inside `folder`.

    Args:
        recipe: What to do.
        address: Chip; with chip seeds, its option `seed` is set to each in turn.
        seed: Seed of what the host draws.
        folder: Run folder under way.
        data_dir: Folder of data sets that are not embedded.
        jobs: Chips at a time.
        progress: Is told of the work.

    Raises:
        RequestError: The recipe asks for what this chip or the data cannot give.
    """
    progress = progress or Silent()
    if not recipe.chip.seeds:
        prepared = prepare_experiment(recipe, data_dir)
        with Session.open(address, seed=seed, folder=folder) as session:
            return run_experiment(prepared, session, progress=progress)
    todo = [
        _Job(
            recipe=recipe.model_dump_json(),
            address=address_with(address, seed=chip_seed),
            seed=seed,
            path=str(folder.path / f"chip-{chip_seed}"),
            data_dir=str(data_dir) if data_dir else None,
            command=folder.record.command,
        )
        for chip_seed in recipe.chip.seeds
    ]
    runs: dict[int, ExperimentResult] = {}
    with progress.task("chips", len(todo)) as task:
        for index, result in _each(todo, jobs):
            runs[index] = result
            task.advance()
            task.say(f"{result.chip.serial}: {result.verdict.partition(':')[0].lower()}")
    return _together(recipe, tuple(runs[k] for k in range(len(todo))))


def _each(todo: list[_Job], jobs: int) -> Iterator[tuple[int, ExperimentResult]]:
    if jobs == 1:
        for index, job in enumerate(todo):
            yield index, _one_chip(job)
        return
    # Spawned, not forked: a forked process would inherit the threads of torch in mid-air.
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_one_chip, job): index for index, job in enumerate(todo)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_chip(job: _Job) -> ExperimentResult:
    recipe = Recipe.model_validate_json(job.recipe)
    prepared = prepare_experiment(recipe, Path(job.data_dir) if job.data_dir else None)
    record = new_record(
        recipe.name,
        command=job.command,
        seed=job.seed,
        address=job.address,
        recipe=recipe.model_dump(mode="json"),
    )
    with RunFolder.create(Path(job.path), record) as folder:
        with Session.open(job.address, seed=job.seed, folder=folder) as session:
            result = run_experiment(prepared, session, progress=Silent())
        status = RunStatus.DONE if result.goal_met else RunStatus.GOAL_NOT_MET
        folder.finish(status, result.model_dump(mode="json"))
    return result


def _together(recipe: Recipe, runs: tuple[ExperimentResult, ...]) -> RepeatedResult:
    over_chips = spreads(runs)
    software = runs[0].software_accuracy
    met, sentence = verdict(
        over_chips,
        software_accuracy=software,
        method=recipe.goal.method,
        max_accuracy_loss=recipe.goal.max_accuracy_loss,
    )
    return RepeatedResult(
        recipe=recipe.name,
        runs=runs,
        spreads=over_chips,
        software_accuracy=software,
        goal_met=met,
        verdict=f"{sentence} Mean of {len(runs)} chips.",
    )
