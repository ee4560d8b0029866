"""Finds the files of a data set in a folder, by its card. Opens none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hil.errors import RequestError
from hil.training.data.card import DataFile, DataForm, DatasetCard

__all__ = ["FoundForm", "find_form", "look_for_form"]


@dataclass(frozen=True, kw_only=True)
class FoundForm:
    """A form of a set that is there: its files in the order of the card."""

    form: DataForm
    folder: Path
    files: tuple[Path, ...]


def look_for_form(card: DatasetCard, data_dir: Path) -> FoundForm | None:
    """Return the first form of the card whose files are all there, or None."""
    for form in card.forms:
        for folder in _folders(card, data_dir):
            files = [_present(file, folder) for file in form.files]
            present = tuple(file for file in files if file is not None)
            if len(present) == len(files):
                return FoundForm(form=form, folder=folder, files=present)
    return None


def find_form(card: DatasetCard, data_dir: Path | None) -> FoundForm:
    """Return the first form of the card whose files are all there.

    Raises:
        RequestError: No folder given, or it holds no form whole; the sentence names what is
            missing of the form that is nearest to whole.
    """
    name = card.name
    if data_dir is None:
        raise RequestError(
            f"dataset {name!r} is read from a folder; give it with --data DIR{_how_to_get(card)}",
            dataset=name,
        )
    found = look_for_form(card, data_dir)
    if found is not None:
        return found
    missing = min((_missing(form, card, data_dir) for form in card.forms), key=len)
    others = f" ({len(card.forms)} forms are known)" if len(card.forms) > 1 else ""
    raise RequestError(
        f"data folder {data_dir} does not hold dataset {name!r}: {', '.join(missing)} missing "
        f"there and in {', '.join(f'{folder}/' for folder in card.folders)}{others}"
        f"{_refused(card, data_dir)}; give its folder with --data DIR{_how_to_get(card)}",
        dataset=name,
        data_dir=str(data_dir),
        missing=missing,
    )


def _folders(card: DatasetCard, data_dir: Path) -> list[Path]:
    return [*(data_dir / folder for folder in card.folders), data_dir]


def _present(file: DataFile, folder: Path) -> Path | None:
    for name in file.names:
        place = folder / name
        if _is_there(place, is_folder=name.endswith("/")):
            return place
    return None


def _is_there(place: Path, *, is_folder: bool) -> bool:
    try:
        return place.is_dir() if is_folder else place.is_file()
    except OSError as error:
        raise RequestError(
            f"{place} cannot be looked at ({error.strerror}); check who may read the folder",
            path=str(place),
        ) from error


def _missing(form: DataForm, card: DatasetCard, data_dir: Path) -> list[str]:
    """Names of the files that the folder with most of this form lacks."""
    lacks = (
        [file.names[0] for file in form.files if _present(file, folder) is None]
        for folder in _folders(card, data_dir)
    )
    return min(lacks, key=len)


def _refused(card: DatasetCard, data_dir: Path) -> str:
    for refused in card.refused:
        for folder in _folders(card, data_dir):
            for name in refused.names:
                if (folder / name).exists():
                    return f"; {folder / name} is there, but {refused.reason}"
    return ""


def _how_to_get(card: DatasetCard) -> str:
    return f", or get it with: hil data fetch {card.name} --to DIR" if card.published else ""
