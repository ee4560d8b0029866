"""The command that classifies a person's own files on a chip that is programmed already: infer."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli_output import duration_text, emit, say
from hil.info import BackendKind

if TYPE_CHECKING:
    from hil.kept import Answer, Resumed

__all__ = ["infer"]


class Mode(StrEnum):
    """Drift compensation that needs no samples."""

    NONE = "none"
    GLOBAL = "global"
    PER_COLUMN = "per_column"
    AFFINE = "affine"


def infer(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Pictures (PNG, JPEG) or recordings.")
    ],
    *,
    run: Annotated[
        Path, typer.Option("--run", metavar="DIR", help="Run folder that kept its deployment.")
    ],
    top: Annotated[int, typer.Option(min=1, max=1000, help="Classes to name.")] = 3,
    age: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            max=1e9,
            help="Let the chip age to so long after calibration.  \\[default: as it stands]",
        ),
    ] = None,
    compensation: Annotated[
        Mode | None,
        typer.Option(
            help="Compensate drift anew, as it is now.  \\[default: as the run left it]",
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Exchange light and dark, for ink on paper.")
    ] = False,
    core: Annotated[
        str | None,
        typer.Option(
            "--core",
            metavar="ADDRESS",
            help="Address of the same chip, if it has another by now.  \\[default: that of the "
            "run, as it stood]",
        ),
    ] = None,
    force_dirty: Annotated[
        bool,
        typer.Option(
            "--force-dirty",
            help="Use cores that were programmed and not verified since; that is written down.",
        ),
    ] = False,
) -> None:
    """Classify your own pictures or recordings on the chip that a run has programmed.

    The cells keep the network, so nothing is programmed and nothing is written: each file goes
    through the chip layer by layer, one sample at a time. Chip and calibration must be those of
    the run. Examples:

    hil infer seven.png --run runs/direct

    hil infer yes.wav no.wav --run runs/kws --top 5 --age 86400
    """
    from hil.kept import kept_folder, read_kept, resume_deployment  # noqa: PLC0415
    from hil.training.data import preparation  # noqa: PLC0415
    from hil.training.data.sample import is_dark_on_light, read_sample  # noqa: PLC0415

    folder = kept_folder(run)
    kept = read_kept(folder)
    samples = [read_sample(kept.dataset, file, invert=invert) for file in files]
    prepare = preparation(kept.dataset)
    for file, sample in zip(files, samples, strict=True):
        picture = sample.ndim == 3
        if picture and not invert and is_dark_on_light(sample):
            say(f"{file}: dark on light; this network has seen light on dark, --invert may help")
    began = time.perf_counter()
    with resume_deployment(
        folder, kept, core, force_dirty=force_dirty, command=" ".join(["hil", *sys.argv[1:]])
    ) as resumed:
        if resumed.forced:
            say(f"core {', '.join(map(str, resumed.forced))}: dirty, used by force")
        if age is not None:
            resumed.let_age(age)
        if compensation is not None:
            resumed.deployment.compensate(compensation.value)
        opened_s = time.perf_counter() - began
        answers: list[tuple[Path, Answer]] = []
        for file, sample in zip(files, samples, strict=True):
            answer = resumed.answer(prepare(sample.unsqueeze(0))[0], top)
            answers.append((file, answer))
            _show(file, answer)
        _say_what_answered(resumed, [answer for _, answer in answers])
        emit(
            {
                "command": "infer",
                "run": str(run),
                "opened_s": opened_s,
                **_results(resumed, answers),
            }
        )


def _show(file: Path, answer: Answer) -> None:
    best, *others = answer.top
    rest = "".join(f", {other.name} {other.score:.1%}" for other in others)
    say(f"{file}: {best.name} ({best.score:.1%}){' - then' + rest[1:] if rest else ''}")


def _say_what_answered(resumed: Resumed, answers: list[Answer]) -> None:
    deployment, kept = resumed.deployment, resumed.kept
    chip = deployment.chip
    kind = "simulated chip" if chip.backend is BackendKind.SIM else chip.backend.value
    untrained = "" if kept.trained else " (untrained: its answers mean nothing)"
    say(
        f"{kept.network.name}{untrained} on {kind} {chip.serial} ({chip.info.model}), programmed "
        f"by {deployment.method}, compensation {deployment.compensation.value}, "
        f"{duration_text(max(0.0, resumed.since_calibration_s))} after calibration"
    )
    say(
        f"{answers[-1].mvms:,} MVMs a sample: {duration_text(answers[-1].chip_s)} on the chip, "
        f"{duration_text(min(answer.wall_s for answer in answers))} here"
    )


def _results(resumed: Resumed, answers: list[tuple[Path, Answer]]) -> dict[str, object]:
    deployment, kept = resumed.deployment, resumed.kept
    chip = deployment.chip
    return {
        "network": kept.network.name,
        "trained": kept.trained,
        "dataset": kept.dataset,
        "address": chip.address,
        "chip_serial": chip.serial,
        "backend": chip.backend.value,
        "model": chip.info.model,
        "method": deployment.method,
        "compensation": deployment.compensation.value,
        "since_calibration_s": resumed.since_calibration_s,
        "forced_dirty": list(resumed.forced),
        "answers": [
            {
                "file": str(file),
                "class": answer.top[0].name,
                "score": answer.top[0].score,
                **answer.model_dump(mode="json"),
            }
            for file, answer in answers
        ],
    }
