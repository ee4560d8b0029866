"""Commands data list, data check, data fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli_options import DataOption
from hil.cli_output import emit, make_progress, say, table
from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.training.data import Split
    from hil.training.data.card import DatasetCard
    from hil.training.data.find import FoundForm
    from hil.training.data.verify import FileCheck

__all__ = ["data"]

MEGABYTE = 1e6
NAME_WIDTH = 18
"""Characters of the column of names."""

data = typer.Typer(
    help="The data sets: which there are, whether they are whole, and how to get them.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the data set, see hil data list.")
]


@data.command("list")
def list_(*, folder: DataOption = None) -> None:
    """Show the data sets that are known, and where each is found.

    Looks into the folder of --data (or of HIL_DATA), opens no file and fetches nothing. Example:

    hil data list --data ~/data
    """
    from hil.training.data import dataset_names  # noqa: PLC0415
    from hil.training.data.card import dataset_card  # noqa: PLC0415
    from hil.training.data.find import look_for_form  # noqa: PLC0415

    _check_folder(folder)
    values = []
    for name in dataset_names():
        card = dataset_card(name)
        found = look_for_form(card, folder) if folder and card.forms else None
        values.append(_listed(card, found))
        say(f"{name:{NAME_WIDTH}}{card.title}: {_place(card, found)}")
    emit({"command": "data list", "data": str(folder) if folder else None, "datasets": values})


@data.command()
def check(name: NameArgument, *, folder: DataOption = None) -> None:
    """Read a data set whole and show what it holds; exit with 2 if anything is wrong.

    Damaged files, another number of samples than the set has, or a class without samples are
    wrong. Files that are not those of the publisher are told, and are not wrong. Example:

    hil data check mnist --data ~/data
    """
    from hil.training.data import load_dataset  # noqa: PLC0415
    from hil.training.data.card import dataset_card  # noqa: PLC0415
    from hil.training.data.check import check_dataset  # noqa: PLC0415
    from hil.training.data.find import find_form  # noqa: PLC0415
    from hil.training.data.verify import verify_files  # noqa: PLC0415

    dataset = load_dataset(name, folder)
    card = dataset_card(name)
    check_dataset(dataset, card)
    found = find_form(card, folder) if card.forms else None
    files = verify_files(found) if found else ()
    parts = {"train": dataset.train, "test": dataset.test}
    say(f"{card.title}; form: {dataset.form}; licence: {card.licence}")
    table(
        "samples",
        ("class", *parts),
        [
            (words, *(str(count) for count in counts))
            for words, *counts in zip(
                (*card.class_names, "all"),
                *([*_per_class(split, card), len(split)] for split in parts.values()),
                strict=True,
            )
        ],
    )
    for file in files:
        say(f"{file.path}: {_verdict(file)}")
    emit(
        {
            "command": "data check",
            "dataset": name,
            "form": dataset.form,
            "input_shape": dataset.image_shape,
            "class_names": card.class_names,
            **{part: _described(split, card) for part, split in parts.items()},
            "files": [file.model_dump(mode="json") for file in files],
        }
    )


@data.command()
def fetch(
    name: NameArgument,
    *,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="DIR", help="Data folder; the set gets a folder in it."),
    ],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Fetch from here instead: a folder, ending in /, or the set's only file; https "
            "or file. The digests asked for are the same.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before anything is fetched.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Longest silence of the server, s.")
    ] = 30.0,
) -> None:
    """Fetch a data set from its publisher, check its digests, and put it into its folder.

    The only command that uses the network. What is there already stays. Example:

    hil data fetch fashion-mnist --to ~/data
    """
    from hil.training.data.card import dataset_card  # noqa: PLC0415
    from hil.training.data.fetch import fetch_dataset, published_files  # noqa: PLC0415

    files = published_files(name, url)
    card = dataset_card(name)
    size = sum(file.bytes for file in files) / MEGABYTE
    say(f"{card.title}: {len(files)} files, {size:.1f} MB, from {files[0].url.rpartition('/')[0]}")
    say(f"by {card.source}; licence: {card.licence}")
    if not yes:
        _ask(name)
    with make_progress() as progress:
        fetched = fetch_dataset(name, to, url=url, timeout_s=timeout, progress=progress)
    new = sum(file.fetched for file in fetched)
    say(f"{new} fetched, {len(fetched) - new} there before, every digest as published: {to / name}")
    emit(
        {
            "command": "data fetch",
            "dataset": name,
            "folder": str(to / name),
            "files": [file.model_dump(mode="json") for file in fetched],
        }
    )


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise RequestError(f"nobody is here to agree to fetching {name!r}; add --yes")
    if not typer.confirm("fetch?", err=True):
        raise RequestError("nothing was fetched")


def _check_folder(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise RequestError(f"data folder {folder} does not exist; give one with --data DIR")


def _listed(card: DatasetCard, found: FoundForm | None) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "classes": len(card.class_names),
        "input_shape": card.input_shape,
        "licence": card.licence,
        "can_be_fetched": bool(card.published),
        "embedded": not card.forms,
        "form": found.form.name if found else None,
        "folder": str(found.folder) if found else None,
        "train": found.form.train if found else None,
        "test": found.form.test if found else None,
    }


def _place(card: DatasetCard, found: FoundForm | None) -> str:
    if not card.forms:
        return "comes with scikit-learn"
    if found:
        return f"{found.folder} ({found.form.name})"
    return "not found" + (f"; hil data fetch {card.name} --to DIR" if card.published else "")


def _per_class(split: Split, card: DatasetCard) -> list[int]:
    return [int((split.labels == k).sum()) for k in range(len(card.class_names))]


def _described(split: Split, card: DatasetCard) -> dict[str, Any]:
    return {
        "samples": len(split),
        "sample_shape": tuple(split.samples.shape[1:]),
        "sample_dtype": str(split.samples.dtype).removeprefix("torch."),
        "per_class": _per_class(split, card),
        "sha256": split.sha256,
    }


def _verdict(file: FileCheck) -> str:
    if file.as_published is None:
        return f"sha256 {file.sha256}, no published one is known"
    return (
        "content as published" if file.as_published else f"not as published (sha256 {file.sha256})"
    )
