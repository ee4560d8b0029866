"""CIFAR-10 from its files: the publisher's binary records, the small pixel file, JPEG coefficients.

The publisher's Python form holds pickles and is not read; the binary form has the same images.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import numpy.typing as npt
import torch

from hil.errors import RequestError
from hil.training.data.card import dataset_card
from hil.training.data.cifar10 import SIDE, decode_blocks, normalise
from hil.training.data.find import FoundForm, find_form
from hil.training.data.npz import ArraySpec, read_npz
from hil.training.data.split import Dataset, Limits, Split

__all__ = ["load_cifar10"]

PIXELS = 3 * SIDE * SIDE
RECORD = 1 + PIXELS
"""Bytes of a record: the label, then red, green and blue row by row (the publisher's page)."""
MAX_RECORDS = 100_000
"""Most records that one file may hold; the published ones hold 10,000."""
BATCHES = {
    "train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    "test": ("test_batch.bin",),
}
PARTS = ("train", "test")

Bytes = npt.NDArray[np.uint8]


def load_cifar10(name: str, data_dir: Path | None, limits: Limits) -> Dataset:
    """Load the set of this card, from the first of its forms that is there.

    Raises:
        RequestError: Files missing, damaged or of another shape, a label without class.
    """
    card = dataset_card(name)
    found = find_form(card, data_dir)
    wanted = {"train": limits.train, "test": limits.test}
    read = {
        "batches": _read_folder,
        "archive": _read_archive,
        "coefficients": _read_coefficients,
        "pixels": _read_pixels,
    }[found.form.name]
    parts = {
        part: _split(pixels, labels, len(card.class_names), found)
        for part, (pixels, labels) in read(found, wanted).items()
    }
    return Dataset(
        name=name,
        class_names=card.class_names,
        train=parts["train"],
        test=parts["test"],
        form=found.form.name,
    )


def _split(pixels: Bytes, labels: Bytes, classes: int, found: FoundForm) -> Split:
    if labels.max() >= classes:
        where = found.files[0] if len(found.files) == 1 else found.files[0].parent
        raise RequestError(
            f"{where} holds label {labels.max()}, outside 0...{classes - 1}", path=str(where)
        )
    return Split(
        samples=torch.from_numpy(pixels),
        labels=torch.from_numpy(labels.astype(np.int64)),
        prepare=normalise,
    )


def _read_folder(found: FoundForm, wanted: dict[str, int | None]) -> dict[str, tuple[Bytes, Bytes]]:
    files = dict(zip((*BATCHES["train"], *BATCHES["test"]), found.files, strict=True))
    parts = {}
    for part in PARTS:
        records: list[Bytes] = []
        for batch in BATCHES[part]:
            still = _still_wanted(wanted[part], records)
            if still == 0:
                break
            path = files[batch]
            try:
                size = path.stat().st_size
                with path.open("rb") as file:
                    records.append(_read_records(file, size, still, path))
            except OSError as error:
                raise RequestError(f"{path} cannot be read ({error})", path=str(path)) from error
        parts[part] = _pixels_and_labels(records)
    return parts


def _read_archive(
    found: FoundForm, wanted: dict[str, int | None]
) -> dict[str, tuple[Bytes, Bytes]]:
    """Read the records in place; nothing is unpacked to a disk, and no link is followed."""
    (path,) = found.files
    batches: dict[str, Bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in _batches_of(archive):
                batch = PurePosixPath(member.name).name
                file = archive.extractfile(member)
                if file is not None:
                    with file:
                        whole = f"{path}: {member.name}"
                        limit = wanted["test" if batch in BATCHES["test"] else "train"]
                        batches[batch] = _read_records(file, member.size, limit, whole)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise RequestError(
            f"{path} cannot be read as a .tar.gz file ({error}); fetch it again", path=str(path)
        ) from error
    missing = [batch for part in PARTS for batch in BATCHES[part] if batch not in batches]
    if missing:
        raise RequestError(f"{path} lacks {', '.join(missing)}; fetch it again", path=str(path))
    parts = {}
    for part in PARTS:
        pixels, labels = _pixels_and_labels([batches[batch] for batch in BATCHES[part]])
        parts[part] = pixels[: wanted[part]], labels[: wanted[part]]
    return parts


def _batches_of(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    known = {batch for part in PARTS for batch in BATCHES[part]}
    for member in archive:
        if member.isreg() and PurePosixPath(member.name).name in known:
            yield member


def _still_wanted(wanted: int | None, records: list[Bytes]) -> int | None:
    return None if wanted is None else wanted - sum(map(len, records))


def _read_records(file: IO[bytes], size: int, wanted: int | None, where: object) -> Bytes:
    """Read the first records of a file of `size` bytes: (records, 3073)."""
    count, rest = divmod(size, RECORD)
    if rest or not 1 <= count <= MAX_RECORDS:
        raise RequestError(
            f"{where} has {size} bytes, not 1...{MAX_RECORDS} records of {RECORD}; fetch it again",
            path=str(where),
        )
    take = count if wanted is None else min(wanted, count)
    content = file.read(take * RECORD)
    if len(content) != take * RECORD:
        raise RequestError(
            f"{where} ends after {len(content)} of {size} bytes; fetch it again", path=str(where)
        )
    return np.frombuffer(content, np.uint8).reshape(take, RECORD)


def _pixels_and_labels(records: list[Bytes]) -> tuple[Bytes, Bytes]:
    whole = np.concatenate(records)
    return whole[:, 1:].reshape(-1, 3, SIDE, SIDE), whole[:, 0]


def _read_coefficients(
    found: FoundForm, wanted: dict[str, int | None]
) -> dict[str, tuple[Bytes, Bytes]]:
    tables = {name: ArraySpec(dtype="uint16", shape=(8, 8)) for name in ("qt_y", "qt_c")}
    specs = dict(tables)
    for part in PARTS:
        specs[f"{part}_label"] = ArraySpec(dtype="uint8", shape=(part,))
        specs[f"{part}_y"] = ArraySpec(dtype="int16", shape=(64, part, 16))
        specs[f"{part}_c"] = ArraySpec(dtype="int16", shape=(64, part, 8))
    arrays = read_npz(found.files[0], specs)
    parts = {}
    for part in PARTS:
        first = slice(wanted[part])
        pixels = decode_blocks(
            arrays[f"{part}_y"][:, first],
            arrays[f"{part}_c"][:, first],
            arrays["qt_y"],
            arrays["qt_c"],
        )
        parts[part] = pixels, arrays[f"{part}_label"][first]
    return parts


def _read_pixels(found: FoundForm, wanted: dict[str, int | None]) -> dict[str, tuple[Bytes, Bytes]]:
    specs = {}
    for part in PARTS:
        specs[f"{part}_label"] = ArraySpec(dtype="uint8", shape=(part,))
        specs[f"{part}_image"] = ArraySpec(dtype="uint8", shape=(part, SIDE, SIDE, 3))
    arrays = read_npz(found.files[0], specs)
    return {
        part: (
            np.ascontiguousarray(arrays[f"{part}_image"][: wanted[part]].transpose(0, 3, 1, 2)),
            arrays[f"{part}_label"][: wanted[part]],
        )
        for part in PARTS
    }
