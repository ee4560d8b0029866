"""Options that the commands share, and the folder in which a command's run is kept."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from hil.backends import check_address
from hil.record import new_record
from hil.run_folder import RunFolder

__all__ = [
    "DEFAULT_ADDRESS",
    "ChangesOption",
    "CoreOption",
    "DataOption",
    "OutOption",
    "RecipeArgument",
    "RecipeCoreOption",
    "ResumeOption",
    "SeedOption",
    "default_folder",
    "run_folder",
    "taken_up_folder",
]

DEFAULT_ADDRESS = "sim:hermes?cores=2&seed=7"
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

CoreOption = Annotated[
    str,
    typer.Option("--core", metavar="ADDRESS", help="Address of the chip, see hil --help."),
]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A bundled recipe (digits), or a .toml file.")
]
RecipeCoreOption = Annotated[
    str | None,
    typer.Option(
        "--core", metavar="ADDRESS", help="Address of the chip.  \\[default: that of the recipe]"
    ),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable."),
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=2**31 - 1,
        help="Seed of everything the host draws (a simulated chip has its own, in the address).",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Run folder to make; if it holds a run already, DIR-2, DIR-3, ... "
        "\\[default: runs/NAME-TIME]",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume-into",
        metavar="DIR",
        help="Go on with the run in DIR: chips that are done there are not run again.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="HIL_DATA",
        help="Folder of the data sets that are not embedded.",
        rich_help_panel=None,
    ),
]


def default_folder(name: str) -> Path:
    """Return runs/NAME-TIME in the working directory."""
    return Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


@contextmanager
def run_folder(
    name: str,
    out: Path | None,
    *,
    seed: int,
    address: str | None = None,
    recipe: dict[str, JsonValue] | None = None,
    resume: Path | None = None,
) -> Iterator[RunFolder]:
    """Make a run folder with its record and keep the log of the run in it.

    Args:
        name: Name of the run.
        out: Folder to make.
        seed, address, recipe: Go into the record.
        resume: Folder of an earlier attempt to go on with instead.

    Raises:
        RequestError: The address has an unknown scheme, or the earlier attempt was another run;
            nothing was written.
    """
    if address is not None:
        check_address(address)
    record = new_record(
        name, command=("hil", *sys.argv[1:]), seed=seed, address=address, recipe=recipe
    )
    if resume is None:
        made = RunFolder.create(out or default_folder(name), record)
    else:
        made = RunFolder.resume(resume, record)
    with _with_log(made) as folder:
        yield folder


@contextmanager
def taken_up_folder(run: Path) -> Iterator[RunFolder]:
    """Open the folder of an interrupted run to go on in it; its log goes on too.

    Raises:
        RecordError: It holds no record.
    """
    with _with_log(RunFolder.take_up(run, command=("hil", *sys.argv[1:]))) as folder:
        yield folder


@contextmanager
def _with_log(made: RunFolder) -> Iterator[RunFolder]:
    with made as folder:
        handler = logging.FileHandler(folder.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter(_LOG_FORMAT))
        logger = logging.getLogger("hil")
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield folder
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)
            handler.close()
