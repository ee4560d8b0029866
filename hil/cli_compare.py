"""Command compare-programming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import emit, make_progress, say, table
from hil.errors import RequestError
from hil.record import RunStatus

if TYPE_CHECKING:
    from hil.compare import ComparisonRow, ComparisonSummary
    from hil.compare.summary import Spread

__all__ = ["compare_programming"]

ROWS_FILE, SUMMARY_FILE = "rows.jsonl", "summary.json"
METHODS_PICTURE, BITS_PICTURE = "methods.png", "adc-bits.png"
NumberT = TypeVar("NumberT", int, float)


def compare_programming(
    *,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of the chip, see hil --help.")
    ] = "sim:hermes?devices=1",
    matrices: Annotated[
        str, typer.Option(metavar="NAMES", help="Weight distributions, with commas between.")
    ] = "gaussian,uniform,sparse,heavy_tailed,real_layer",
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Chips: seeds 1, 2, ... in the address.")
    ] = 5,
    settings: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="What to run beside verify at the published margin, with commas."
        ),
    ] = "best_margin,default,equal_pulses,delayed_feedback,no_retention",
    margins: Annotated[
        str, typer.Option(metavar="COUNTS", help="Acceptance margins tried for best_margin.")
    ] = "0.5,1,2,3,5",
    ages: Annotated[
        str, typer.Option(metavar="SECONDS", help="Ages since the last pulse, rising.")
    ] = "200,86400",
    adc_bits: Annotated[
        str,
        typer.Option(metavar="BITS", help="Converter resolutions to sweep, with commas, or none."),
    ] = "4,5,6,7,8,9,10",
    rows: Annotated[
        int | None, typer.Option(min=2, help="Rows of the block; default: all.")
    ] = None,
    cols: Annotated[
        int | None, typer.Option(min=2, help="Cols of the block; default: all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Matrices and chips at a time.")] = 1,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Compare gradient descent with program-and-verify: same cells, age and calibration.

    Both methods find the same chip, trimmed the same way, and are measured at the same age on the
    same vectors. Verify runs at its published margin and at the margin that is best for this very
    chip and matrix; gradient descent at its defaults, and with the pulses that verify took. Two
    controls give verify late reads, and take the look ahead from gradient descent.

    Prints one line of JSON per matrix, seed, method, setting and age. Example:

    hil compare-programming --matrices gaussian --seeds 1 --rows 64 --cols 64 --adc-bits none
    """
    from hil.compare import plan_comparison, run_comparison, summarise  # noqa: PLC0415
    from hil.compare.plan import cases_of  # noqa: PLC0415

    plan = plan_comparison(
        address=core,
        matrices=_names(matrices),
        seeds=tuple(range(1, seeds + 1)),
        settings=_names(settings),
        margins=_numbers("--margins", margins, float),
        ages_s=_numbers("--ages", ages, float),
        adc_bits=_numbers("--adc-bits", adc_bits, int),
        rows=rows,
        cols=cols,
        host_seed=seed,
    )
    cases_of(plan)  # refuses what cannot run before anything is written
    with (
        run_folder(
            "compare-programming", out, seed=seed, address=core, recipe=plan.model_dump(mode="json")
        ) as folder,
        (folder.path / ROWS_FILE).open("w", encoding="utf-8") as file,
        make_progress() as progress,
    ):

        def keep(found: Sequence[ComparisonRow]) -> None:
            for row in found:
                document = row.model_dump(mode="json")
                emit(document)
                file.write(json.dumps(document, separators=(",", ":")) + "\n")
            file.flush()

        found = run_comparison(plan, folder=folder, jobs=jobs, progress=progress, on_rows=keep)
        summary = summarise(found)
        _draw(summary, folder.path)
        folder.finish(RunStatus.DONE, {"rows": len(found), "summary": SUMMARY_FILE})
    _show(summary)
    say(f"run folder: {folder.path}")


def _draw(summary: ComparisonSummary, path: Path) -> None:
    from hil.compare import plot_adc_bits, plot_methods  # noqa: PLC0415
    from hil.run_folder import write_atomically  # noqa: PLC0415

    write_atomically(path / SUMMARY_FILE, (summary.model_dump_json(indent=1) + "\n").encode())
    write_atomically(path / METHODS_PICTURE, plot_methods(summary))
    if summary.by_adc_bits:
        write_atomically(path / BITS_PICTURE, plot_adc_bits(summary))


def _show(summary: ComparisonSummary) -> None:
    from hil.compare import Setting  # noqa: PLC0415
    from hil.experiment_words import age_text  # noqa: PLC0415

    chips = len(summary.chips)
    say(
        f"{summary.model}, {summary.devices_per_polarity} device(s) per polarity, {chips} chip(s); "
        "± is half a 95 % interval over chips"
    )
    table(
        "MVM error after an affine fit at the same age",
        ("matrix", "age", "method, setting", "MVM error", "of that: matrix", "pulses/device"),
        [
            (
                e.matrix,
                age_text(e.age_s),
                f"{e.method}, {e.setting}",
                _percent(e.mvm_error_affine),
                "-" if e.linear_error is None else _percent(e.linear_error),
                f"{e.pulses_per_device.mean:.2f}",
            )
            for e in summary.errors
            if e.setting in list(Setting)
        ],
    )
    compared = dict.fromkeys(
        (r.method, r.setting, r.to_method, r.to_setting) for r in summary.ratios
    )
    for one in compared:
        mine = [
            r for r in summary.ratios if (r.method, r.setting, r.to_method, r.to_setting) == one
        ]
        ages = list(dict.fromkeys(r.age_s for r in mine))
        say(f"Error of {one[0]}, {one[1]}, over that of {one[2]}, {one[3]}, chip by chip")
        table(
            "",
            ("matrix", *(age_text(age) for age in ages), "pulses"),
            [
                (
                    matrix,
                    *(_plain(r.ratio) for r in mine if r.matrix == matrix),
                    next(f"{r.pulses.mean:.2f}" for r in mine if r.matrix == matrix),
                )
                for matrix in dict.fromkeys(r.matrix for r in mine)
            ],
        )
    if summary.by_adc_bits:
        table(
            "MVM error by ADC bits, Gaussian weights",
            ("bits", "age", "method, setting", "MVM error", "of that: matrix", "pulses/device"),
            [
                (
                    str(e.adc_bits),
                    age_text(e.age_s),
                    f"{e.method}, {e.setting}",
                    _percent(e.mvm_error_affine),
                    "-" if e.linear_error is None else _percent(e.linear_error),
                    f"{e.pulses_per_device.mean:.2f}",
                )
                for e in summary.by_adc_bits
            ],
        )


def _percent(value: Spread) -> str:
    return f"{value.mean:.1%}" + ("" if value.half is None else f" ± {value.half:.1%}")


def _plain(value: Spread) -> str:
    return f"{value.mean:.2f}" + ("" if value.half is None else f" ± {value.half:.2f}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(option: str, text: str, kind: type[NumberT]) -> tuple[NumberT, ...]:
    if text.strip() in ("", "none"):
        return ()
    try:
        return tuple(kind(part) for part in _names(text))
    except ValueError as error:
        raise RequestError(
            f"{option} {text!r}: give numbers with commas between, for example 1,2,3"
        ) from error
