"""Consent: silicon is programmed only where --yes is said; without it a dry run is shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.address import parse_address
from hil.cli_costs import show_costs
from hil.cli_output import emit, say
from hil.errors import (
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    RequestError,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hil.info import ChipInfo

__all__ = [
    "ExpectSerialOption",
    "YesOption",
    "binding_document",
    "dry_run_of_program",
    "end_dry_run",
    "refuse_silicon",
    "silicon_without_yes",
]

YesOption = Annotated[
    bool,
    typer.Option("--yes", help="Program silicon; without it a dry run shows what would be sent."),
]
ExpectSerialOption = Annotated[
    str | None,
    typer.Option(
        "--expect-serial", metavar="SERIAL", help="Refuse any chip but the one with this serial."
    ),
]


def silicon_without_yes(address: str, *, yes: bool, serial: str | None = None) -> ChipInfo | None:
    """Return what answers at an address if it is silicon and --yes is missing, else None.

    Raises:
        RequestError: It is not the chip with the serial that is expected.
    """
    if yes or _simulated(address):
        return None
    try:
        info = _ask(address)
    except (CoreUnavailableError, CoreTimeoutError, DeviceFaultError):
        return None  # the run finds that out again, and records it; its guard asks for --yes too
    if info.backend.value != "silicon":
        return None
    from hil.guard import ChipBinding, check_binding  # noqa: PLC0415

    check_binding(info, ChipBinding(serial=serial))
    return info


def refuse_silicon(address: str, what: str) -> None:
    """Refuse silicon for a command that programs without a ledger: its devices would wear unseen.

    Raises:
        RequestError: Silicon answers at the address.
    """
    if not _simulated(address) and _ask(address).backend.value == "silicon":
        raise RequestError(
            f"{what} pulses cells and keeps no wear ledger: give the address of a simulated chip; "
            "silicon is programmed by hil program and hil run"
        )


def binding_document(serial: str | None) -> dict[str, Any] | None:
    """Return what a run's record says of the chip it is meant for, as a recipe would."""
    return None if serial is None else {"chip": {"serial": serial}}


def dry_run_of_program(
    info: ChipInfo, weights: npt.NDArray[np.float64], method: str, *, command: str = "program"
) -> None:
    """Show what programming a matrix would send to a chip."""
    from hil.mapping import CoreSize, place_blocks, tile_matrix  # noqa: PLC0415
    from hil.plan_costs import Block, costs_of  # noqa: PLC0415
    from hil.programming import algorithm  # noqa: PLC0415

    sizes = [CoreSize(rows=core.rows, cols=core.cols) for core in info.cores]
    rows, cols = weights.shape
    most_rows, most_cols = max(s.rows for s in sizes), max(s.cols for s in sizes)
    tiles = tile_matrix("weights", rows, cols, max_rows=most_rows, max_cols=most_cols)
    blocks = [
        Block(core=b.core, rows=b.rows, cols=b.cols) for b in place_blocks(tiles, sizes).blocks
    ]
    costs = costs_of(blocks, info, [algorithm(method)])
    say(
        f"{rows} x {cols} weights in {sum(b.rows * b.cols for b in blocks):,} cells of "
        f"{len({b.core for b in blocks})} core(s) of {info.model}, chip {info.serial}"
    )
    show_costs(costs)
    end_dry_run(info, {"command": command, "costs": costs.model_dump(mode="json")})


def end_dry_run(info: ChipInfo, values: dict[str, Any]) -> None:
    """Say that nothing was sent, and how it would be."""
    say(
        f"dry run: chip {info.serial} at {info.address} is silicon and was not programmed; give "
        "--yes to program it"
    )
    emit({**values, "dry_run": True, "chip_serial": info.serial, "backend": info.backend.value})


def _simulated(address: str) -> bool:
    """Say whether the address itself names a simulator or a recording, whatever answers there."""
    parsed = parse_address(address)
    while parsed.scheme in ("loopback", "record"):
        parsed = parse_address(parsed.text.partition(":")[2])
    return parsed.scheme in ("sim", "replay")


def _ask(address: str) -> ChipInfo:
    from hil.owned_chip import open_noted  # noqa: PLC0415

    with open_noted(address, command=sys.argv) as chip:
        return chip.info
