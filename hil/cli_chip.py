"""Commands for the chip at hand: info, program, calibrate."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from hil.cli_consent import (
    ExpectSerialOption,
    YesOption,
    binding_document,
    dry_run_of_program,
    silicon_without_yes,
)
from hil.cli_options import DEFAULT_ADDRESS, CoreOption, OutOption, SeedOption, run_folder
from hil.cli_output import duration_text, emit, make_progress, say, table
from hil.errors import RequestError
from hil.record import RunStatus

if TYPE_CHECKING:
    from hil.core import Core
    from hil.matrix import ProgrammingReport
    from hil.program_request import ProgramRequest
    from hil.progress import Progress
    from hil.run_folder import RunFolder
    from hil.session import Session

__all__ = [
    "MethodName",
    "Quantity",
    "calibrate",
    "info",
    "load_weights",
    "program",
    "program_in",
    "show_program",
]

CALIBRATION_FOLDER = "calibration"


class MethodName(StrEnum):
    """Programming methods that the command line offers."""

    GDP = "gdp"
    VERIFY = "verify"
    OPEN_LOOP = "open_loop"


class Quantity(StrEnum):
    """What `hil calibrate` calibrates."""

    ADC_OFFSET = "adc-offset"
    ADC_GAIN = "adc-gain"


def info(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Address of the chip.")
    ] = DEFAULT_ADDRESS,
) -> None:
    """Say what answers at an address: serial, cores, converters, capabilities. Changes nothing."""
    from hil.owned_chip import open_noted  # noqa: PLC0415

    with open_noted(address, command=sys.argv) as chip:
        statuses = [core.status() for core in chip.cores]
        rows = [
            (
                str(core.info.core),
                f"{core.info.rows} x {core.info.cols}",
                str(core.info.devices_per_polarity),
                f"{core.info.input.bits} / {core.info.output_codes.bits}",
                f"{core.info.device.g_max_siemens * 1e6:.3g}",
                f"{status.temperature_kelvin:.1f}",
                str(status.pulses),
            )
            for core, status in zip(chip.cores, statuses, strict=True)
        ]
        said = chip.info.model_dump(mode="json")
    say(f"{chip.info.model}, chip {chip.serial} ({chip.backend.value}) at {address}")
    heads = ("core", "rows x cols", "devices per polarity", "bits in / out", "g_max, µS")
    table("", (*heads, "temperature, K", "pulses so far"), rows)
    capabilities = ", ".join(sorted(c.value for c in chip.cores[0].info.capabilities))
    say(f"capabilities: {capabilities}")
    emit({"command": "info", **said})


def program(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS.npy", help="Matrix (rows, cols) of finite numbers.")
    ],
    *,
    core: CoreOption = DEFAULT_ADDRESS,
    method: Annotated[
        MethodName, typer.Option(help="Gradient descent, program-and-verify, or one pulse.")
    ] = MethodName.GDP,
    seed: SeedOption = 0,
    out: OutOption = None,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="ERROR",
            help="Exit with 1 if the MVM error after the affine fit is above this fraction.",
        ),
    ] = None,
    expect_serial: ExpectSerialOption = None,
    yes: YesOption = False,
) -> None:
    """Program a weight matrix onto the cores, calibrate it and measure its MVM error.

    The matrix may be larger than a core; it is cut into blocks. Silicon is pulsed only with --yes;
    without it a dry run shows pulses, times and wear. Example:

    hil program weights.npy --core "sim:hermes?seed=7" --method gdp
    """
    matrix = load_weights(weights)
    from hil.program_request import keep_request  # noqa: PLC0415

    silicon = silicon_without_yes(core, yes=yes, serial=expect_serial)
    if silicon is not None:
        dry_run_of_program(silicon, matrix, method.value)
        return
    bound = binding_document(expect_serial)
    with run_folder("program", out, seed=seed, address=core, recipe=bound) as folder:
        request = keep_request(folder.path, matrix, method=method.value, goal=goal)
        report, met = program_in(folder, request, matrix, core)
    show_program("program", folder, report, met)


def program_in(
    folder: RunFolder, request: ProgramRequest, weights: npt.NDArray[np.float64], address: str
) -> tuple[ProgrammingReport, bool]:
    """Do what `hil program` does in its run folder: report, whether the goal was met."""
    from hil.session import Session  # noqa: PLC0415

    with (
        Session.open(address, seed=folder.record.seed, folder=folder) as session,
        make_progress() as progress,
    ):
        report = _program(session, weights, request.method, progress)
        met = request.goal is None or (
            report.mvm_error_affine is not None and report.mvm_error_affine <= request.goal
        )
        session.verified()
        status = RunStatus.DONE if met else RunStatus.GOAL_NOT_MET
        folder.finish(status, report.model_dump(mode="json"))
    return report, met


def show_program(command: str, folder: RunFolder, report: ProgrammingReport, met: bool) -> None:
    """Tell what programming gave; leave with 1 if the goal was not met."""
    _show_program(report)
    say(f"run folder: {folder.path}")
    results = report.model_dump(mode="json")
    emit({"command": command, "goal_met": met, "out": str(folder.path), **results})
    if not met:
        raise typer.Exit(1)


def calibrate(
    *,
    core: CoreOption = DEFAULT_ADDRESS,
    quantity: Annotated[
        list[Quantity] | None, typer.Option(help="What to calibrate, in order; default: all.")
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    goal: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Exit with 1 if a smaller share of the columns of any core was calibrated.",
        ),
    ] = 0.98,
    expect_serial: ExpectSerialOption = None,
) -> None:
    """Calibrate the converters of every core: offset and gain per column. Touches no cell.

    The records are kept in the run folder; each holds for this chip, these settings and a band
    around the present temperature. Example:

    hil calibrate --core "sim:hermes?seed=7" --quantity adc-offset
    """
    from hil.session import Session  # noqa: PLC0415

    wanted = tuple(quantity or Quantity)
    with (
        run_folder(
            "calibrate", out, seed=seed, address=core, recipe=binding_document(expect_serial)
        ) as folder,
        Session.open(core, seed=seed, folder=folder) as session,
        make_progress() as progress,
        progress.task("calibrating", len(wanted) * len(session.chip.cores)) as task,
    ):
        (folder.path / CALIBRATION_FOLDER).mkdir()
        rows = []
        for one in session.chip.cores:
            for what in wanted:
                task.say(f"core {one.info.core}, {what.value}")
                rows.append(_calibrate(one, what, seed, folder.path / CALIBRATION_FOLDER))
                task.advance()
        met = all(row["success_share"] >= goal for row in rows)
        results: dict[str, Any] = {"calibrations": rows, "goal_met": met}
        folder.finish(RunStatus.DONE if met else RunStatus.GOAL_NOT_MET, results)
    table(
        "",
        ("core", "quantity", "columns calibrated", "median residual", "largest", "unit"),
        [
            (
                str(r["core"]),
                r["kind"],
                f"{r['success_share']:.1%}",
                f"{r['residual_median']:.3g}",
                f"{r['residual_max']:.3g}",
                r["unit"],
            )
            for r in rows
        ],
    )
    say(f"run folder: {folder.path}")
    emit({"command": "calibrate", "out": str(folder.path), **results})
    if not met:
        raise typer.Exit(1)


def load_weights(path: Path) -> npt.NDArray[np.float64]:
    """Read a weight matrix from a .npy file.

    Raises:
        RequestError: No such file, not a .npy file, not a matrix of finite numbers.
    """
    next_step = "give a .npy file with a matrix (rows, cols) of finite numbers"
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise RequestError(f"weights {path} cannot be read ({error}); {next_step}") from error
    except (ValueError, EOFError) as error:  # numpy's own words would recommend unpickling
        raise RequestError(f"weights {path} are no whole array of numbers; {next_step}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise RequestError(f"weights {path} hold no real numbers; {next_step}")
    if array.ndim != 2 or array.size == 0:
        raise RequestError(f"weights {path} have shape {array.shape}; {next_step}")
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise RequestError(
            f"weights {path}: {bad} of {array.size} are NaN or infinite; {next_step}"
        )
    return array.astype(np.float64)


def _program(
    session: Session, weights: npt.NDArray[np.float64], method: str, progress: Progress
) -> ProgrammingReport:
    from hil.matrix import program_matrix  # noqa: PLC0415
    from hil.programming import algorithm  # noqa: PLC0415

    chosen = algorithm(method)
    with progress.task(f"programming by {method}", chosen.max_iterations) as task:

        def on_step(action: Any) -> None:  # noqa: ANN401 - Action, imported where it is used
            task.advance()
            error = "" if action.error is None else f", error {action.error:.1%}"
            task.say(f"{action.pulses:,} pulses{error}")

        matrix = program_matrix(
            session.chip, weights, method=chosen, seed=session.seed, on_step=on_step
        )
    with progress.task("measuring"):
        return matrix.report


def _show_program(report: ProgrammingReport) -> None:
    say(
        f"{report.rows} x {report.cols} weights on {report.cores} core(s) of {report.model} "
        f"{report.chip_serial} ({report.backend.value}): {report.outcome}"
    )

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    table(
        "",
        ("MVM error", "raw", "after affine fit"),
        [
            ("Gaussian inputs", percent(report.mvm_error), percent(report.mvm_error_affine)),
            (
                "post-ReLU-like inputs",
                percent(report.mvm_error_relu),
                percent(report.mvm_error_affine_relu),
            ),
        ],
    )
    say(
        f"{report.pulses_per_device:.2f} pulses per device (most {report.pulses_per_device_max}), "
        f"{report.reads:,} reads, {report.mvms:,} MVMs; {duration_text(report.chip_s)} on the "
        f"chip, {duration_text(report.wall_s)} here; measured at age {duration_text(report.age_s)}"
    )


def _calibrate(core: Core, quantity: Quantity, seed: int, folder: Path) -> dict[str, Any]:
    from hil.calibration import AdcGain, AdcOffset, run_calibration, save_record  # noqa: PLC0415

    measurement = AdcOffset() if quantity is Quantity.ADC_OFFSET else AdcGain()
    record = run_calibration(core, measurement, seed=seed)
    file = folder / f"core-{core.info.core}-{quantity.value}.json"
    save_record(record, file)
    residual = np.abs(record.residuals)
    return {
        "core": core.info.core,
        "kind": quantity.value,
        "success_share": float(record.success_mask.mean()),
        "residual_median": float(np.median(residual)),
        "residual_max": float(residual.max()),
        "unit": record.residual.unit,
        "file": f"{CALIBRATION_FOLDER}/{file.name}",
    }
