"""Commands for studies: train, compare-programming, bench."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hil.cli_options import DataOption, run_folder
from hil.cli_output import duration_text, emit, make_progress, say
from hil.errors import RequestError
from hil.record import RunStatus

__all__ = ["train"]

CHECKPOINT_SUFFIX = ".safetensors"


def train(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN", help="Bundled training plan by name, or the path of a .toml file."
        ),
    ] = "resnet9-digits",
    *,
    settings_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the plan; repeatable."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Name in the network registry \\[default: the plan's].")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name in the dataset registry \\[default: the plan's].")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Passes over the data \\[default: the plan's]."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of weights, order and noise \\[default: the plan's]."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Weight noise while training, of a layer's largest \\[default: the plan's].",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    data: DataOption = None,
    goal: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Exit with 1 below this test accuracy.")
    ] = 0.0,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="STATE",
            help="Training state: written after each epoch, and gone on from if it is there.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="Run folder; or, if it ends in .safetensors, the checkpoint to write.",
        ),
    ] = None,
) -> None:
    """Train a network for an analog chip: weight clipping and weight noise. Needs no chip.

    The checkpoint remembers this command, the seed and the accuracy. Example:

    hil train resnet9-digits --out mine.safetensors
    """
    from hil.training import save_checkpoint  # noqa: PLC0415
    from hil.training.settings import EpochReport, load_training_plan  # noqa: PLC0415
    from hil.training.train import train as train_network  # noqa: PLC0415

    shortcuts = {
        "network": network,
        "dataset": dataset,
        "epochs": epochs,
        "seed": seed,
        "noise_eta": noise,
        "device": _compute(device),
    }
    overrides = [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    settings = load_training_plan(plan, (*(settings_ or ()), *overrides))
    is_file = out is not None and out.suffix == CHECKPOINT_SUFFIX
    with (
        run_folder("train", None if is_file else out, seed=settings.seed) as folder,
        make_progress() as progress,
    ):
        file = out if is_file and out else folder.path / f"{settings.network}{CHECKPOINT_SUFFIX}"
        with progress.task(
            f"training {settings.network} on {settings.dataset}", settings.epochs
        ) as task:

            def on_epoch(report: EpochReport) -> None:
                task.advance()
                task.say(f"loss {report.loss:.3f}, accuracy {report.accuracy:.2%}")

            result = train_network(
                settings,
                data_dir=data,
                state_path=resume,
                command=shlex.join(["hil", *sys.argv[1:]]),
                on_epoch=on_epoch,
            )
        save_checkpoint(file, result.module, result.metadata)
        metadata = result.metadata
        met = metadata.software_accuracy >= goal
        results = {
            "checkpoint": str(file),
            "goal_met": met,
            "wall_s": result.history[-1].elapsed_s,
            **metadata.model_dump(mode="json"),
        }
        folder.finish(RunStatus.DONE if met else RunStatus.GOAL_NOT_MET, results)
    noisy = ", ".join(
        f"{n.mean:.2%} with {n.eta:.0%} weight noise" for n in metadata.noisy_accuracy
    )
    say(
        f"test accuracy {metadata.software_accuracy:.2%} ({noisy}) after {settings.epochs} epochs "
        f"in {duration_text(result.history[-1].elapsed_s)}: {file}"
    )
    emit({"command": "train", "out": str(folder.path), **results})
    if not met:
        raise typer.Exit(1)


def _compute(name: str) -> Literal["cpu", "cuda"]:
    if name == "cpu":
        return "cpu"
    if name == "cuda":
        return "cuda"
    raise RequestError(f"--device {name!r} is unknown; known: cpu, cuda")
