"""A recipe on one chip as a job: what it takes, its run folder, and whether it is done already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, final

from pydantic import ValidationError
from typing_extensions import override

from hil import errors
from hil.address import address_with
from hil.errors import HilError, RecordError, RequestError
from hil.experiment import run_experiment
from hil.experiment_answers import Answers, load_answers
from hil.experiment_prepare import prepare_experiment
from hil.experiment_results import ExperimentResult
from hil.processes import run_calls
from hil.progress import Progress, Task
from hil.recipe import Recipe
from hil.record import RECORD_FILE, RunError, RunStatus, load_record, new_record
from hil.run_folder import RunFolder
from hil.session import Session

__all__ = ["ChipJob", "ChipRun", "chip_jobs", "raise_again", "run_chips"]

_ENDED = (RunStatus.DONE, RunStatus.GOAL_NOT_MET)


@dataclass(frozen=True, kw_only=True)
class ChipJob:
    """One chip of a repeated recipe; crosses to another process as plain values.

    Attributes:
        recipe: The recipe for this chip alone, as JSON.
        address: Its address.
        name: What its progress is called.
        seed: Seed of the host.
        path: Its run folder.
        data_dir: Folder of data sets that are not embedded.
        command: Command line that all this belongs to.
    """

    recipe: str
    address: str
    name: str
    seed: int
    path: str
    data_dir: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipRun:
    """What one chip gave: the results, and every answer."""

    result: ExperimentResult
    answers: Answers


def chip_jobs(
    recipe: Recipe,
    *,
    address: str,
    seed: int,
    folder: Path,
    data_dir: Path | None,
    command: tuple[str, ...],
    name: str = "chip",
) -> list[ChipJob]:
    """List the chips of a recipe: one per chip seed, or the one at `address` if it has none.

    Each has a run folder of its own in `folder`; the only one has `folder` itself.
    """
    alone = recipe.model_copy(update={"chip": recipe.chip.model_copy(update={"seeds": ()})})
    return [
        ChipJob(
            recipe=alone.model_dump_json(),
            address=address if chip_seed is None else address_with(address, seed=chip_seed),
            name=name if chip_seed is None else f"{name} {chip_seed}",
            seed=seed,
            path=str(folder if chip_seed is None else folder / f"chip-{chip_seed}"),
            data_dir=str(data_dir) if data_dir else None,
            command=command,
        )
        for chip_seed in (recipe.chip.seeds or (None,))
    ]


def run_chips(
    todo: Sequence[ChipJob], *, jobs: int, progress: Progress
) -> list[ChipRun | RunError]:
    """Run every job that is not done already; a chip that fails stops no other.

    Args:
        todo: The chips.
        jobs: Chips at a time, in processes if more than one.
        progress: Is told of the work.

    Returns:
        What each chip gave, or what stopped it, in the order of the jobs.

    Raises:
        RequestError: The first chip to end refused the request, as every other would.
    """
    found: dict[int, ChipRun | RunError] = {}
    with progress.task("chips", len(todo)) as task:
        for index, job in enumerate(todo):
            done = _done(job)
            if done is not None:
                found[index] = done
                task.advance()
        left = [index for index in range(len(todo)) if index not in found]
        calls = run_calls(_run_chip, [todo[k] for k in left], jobs=jobs, progress=progress)
        for k, error in calls:
            found[left[k]] = _outcome(todo[left[k]], error)
            if error is not None and error.kind == RequestError.__name__ and len(found) == 1:
                raise_again(error)
            task.advance()
            task.say(f"{todo[left[k]].name} {'failed' if error else 'done'}")
    return [found[k] for k in range(len(todo))]


def raise_again(error: RunError) -> NoReturn:
    """Raise what stopped a job as the error that it was."""
    kind = getattr(errors, error.kind, RuntimeError)
    if isinstance(kind, type) and issubclass(kind, HilError):
        raise kind(error.message, **error.fields)
    raise RuntimeError(f"{error.kind}: {error.message}")


def _run_chip(job: ChipJob, progress: Progress) -> None:
    recipe = Recipe.model_validate_json(job.recipe)
    data_dir = Path(job.data_dir) if job.data_dir else None
    prepared = prepare_experiment(recipe, data_dir, seed=job.seed)
    record = new_record(
        recipe.name,
        command=job.command,
        seed=job.seed,
        address=job.address,
        recipe=recipe.model_dump(mode="json"),
    )
    with RunFolder.create(Path(job.path), record) as folder:
        with Session.open(job.address, seed=job.seed, folder=folder) as session:
            result = run_experiment(prepared, session, progress=_Named(progress, job.name))
        status = RunStatus.DONE if result.goal_met else RunStatus.GOAL_NOT_MET
        folder.finish(status, result.model_dump(mode="json"))


@final
class _Named(Progress):
    """Puts the name of a chip before the work it tells of."""

    def __init__(self, inner: Progress, name: str) -> None:
        self._inner, self._name = inner, name

    @override
    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Begin a piece of work of the chip."""
        with self._inner.task(f"{self._name}: {name}", total) as task:
            yield task


def _outcome(job: ChipJob, error: RunError | None) -> ChipRun | RunError:
    if error is not None:
        return error
    run = _done(job)
    if run is None:
        raise RecordError(f"{job.path} does not hold the run that has just ended there")
    return run


def _done(job: ChipJob) -> ChipRun | None:
    """Return the run of a job that ended in an earlier attempt, if its record says the same."""
    recipe = Recipe.model_validate_json(job.recipe).model_dump(mode="json")
    for folder in _attempts(Path(job.path)):
        try:
            record = load_record(folder)
            if record.status not in _ENDED or record.results is None:
                continue
            if (record.recipe, record.address, record.seed) != (recipe, job.address, job.seed):
                continue
            result = ExperimentResult.model_validate(record.results)
            return ChipRun(result=result, answers=load_answers(folder))
        except (RecordError, ValidationError):
            continue  # damaged or of another version: run it again, beside it
    return None


def _attempts(path: Path) -> Iterator[Path]:
    """Folders that attempts of one job have left, the latest last."""
    number = 1
    folder = path
    while (folder / RECORD_FILE).exists():
        yield folder
        number += 1
        folder = path.with_name(f"{path.name}-{number}")
