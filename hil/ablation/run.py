"""Run an ablation: every variant on every chip, each a run of its own like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.ablation.results import AblationResult, summarise
from hil.ablation.variants import Variant
from hil.experiment_jobs import ChipJob, ChipRun, chip_jobs, raise_again, run_chips
from hil.experiment_repeat import failures_of, together
from hil.progress import Progress, Silent
from hil.record import RECORD_FILE, RunError, RunStatus, new_record
from hil.run_folder import RunFolder

__all__ = ["run_ablation"]

Outcomes = Sequence[ChipRun | RunError]


def run_ablation(
    variants: Sequence[Variant],
    *,
    seed: int,
    folder: RunFolder,
    data_dir: Path | None = None,
    jobs: int = 1,
    compensations: bool = True,
    progress: Progress | None = None,
) -> AblationResult:
    """Run variants of a recipe; those that stand in the folder already are not run again.

    Args:
        variants: From `plan_variants`.
        seed: Seed of what the host draws, the same for all.
        folder: Run folder under way; each variant gets one of its own inside.
        data_dir: Folder of data sets that are not embedded.
        jobs: Chips at a time.
        compensations: Also say what each compensation is worth.
        progress: Is told of the work.

    Raises:
        RequestError: The recipe asks for what this chip or the data cannot give.
        HilError: No chip of the reference came to an end.
    """
    todo = [
        chip_jobs(
            variant.recipe,
            address=variant.address,
            seed=seed,
            folder=folder.path / variant.name,
            data_dir=data_dir,
            command=folder.record.command,
            name=f"{variant.name}, chip",
        )
        for variant in variants
    ]
    together_todo = [job for mine in todo for job in mine]
    outcomes = iter(run_chips(together_todo, jobs=jobs, progress=progress or Silent()))
    found = [[next(outcomes) for _ in mine] for mine in todo]
    runs = [
        {k: outcome for k, outcome in enumerate(mine) if isinstance(outcome, ChipRun)}
        for mine in found
    ]
    if not runs[0]:
        raise_again(next(o for o in found[0] if isinstance(o, RunError)))
    for variant, mine, outcome in zip(variants, todo, found, strict=True):
        if variant.recipe.chip.seeds and any(isinstance(o, ChipRun) for o in outcome):
            _record(variant, mine, outcome, seed=seed, folder=folder)
    return summarise(
        variants,
        runs,
        [
            failures_of(variant.recipe, mine, outcome)
            for variant, mine, outcome in zip(variants, todo, found, strict=True)
        ],
        compensations=compensations,
    )


def _record(
    variant: Variant, todo: Sequence[ChipJob], outcomes: Outcomes, *, seed: int, folder: RunFolder
) -> None:
    """Close the folder of a variant on several chips with what they say together."""
    path = folder.path / variant.name
    record = new_record(
        variant.recipe.name,
        command=folder.record.command,
        seed=seed,
        address=variant.address,
        recipe=variant.recipe.model_dump(mode="json"),
    )
    again = (path / RECORD_FILE).exists()
    with RunFolder.resume(path, record) if again else RunFolder.create(path, record) as run:
        found = together(variant.recipe, todo, outcomes)
        status = RunStatus.DONE if found.goal_met else RunStatus.GOAL_NOT_MET
        run.finish(status, found.model_dump(mode="json"))
