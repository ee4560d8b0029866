"""The Free Spoken Digit Dataset: joined or single files to recordings of one second and labels.

Published at 8 kHz in any length (Z. Jackson and contributors); brought to 16 kHz and one second.
The official test part is recordings 0...4 of each digit and speaker.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hil.errors import RequestError
from hil.training.data.audio import decode, one_second, read_joined
from hil.training.data.audio_files import open_files
from hil.training.data.card import dataset_card
from hil.training.data.find import find_form
from hil.training.data.npz import ArraySpec, read_npz
from hil.training.data.split import Dataset, Limits, Split
from hil.training.speech.mfcc import FULL_SCALE, SAMPLES, speech_inputs

__all__ = ["load_spoken_digits"]

RATE_HZ = 8_000
TEST_RECORDINGS = 5
FILE_NAME = re.compile(r"(?:recordings/)?([0-9])_([a-z0-9]+)_([0-9]{1,6})\.wav")
INDEX = {
    "offset": ArraySpec(dtype="int32", shape=("recordings",)),
    "length": ArraySpec(dtype="int32", shape=("recordings",)),
    "label": ArraySpec(dtype="uint8", shape=("recordings",)),
    "speaker": ArraySpec(dtype="<U8", shape=("recordings",)),
    "recording": ArraySpec(dtype="uint8", shape=("recordings",)),
    "is_test": ArraySpec(dtype="bool", shape=("recordings",)),
}

Clips = npt.NDArray[np.int16]
Labels = npt.NDArray[np.int64]


def load_spoken_digits(name: str, data_dir: Path | None, limits: Limits) -> Dataset:
    """Load the set from any form; every form has its clips in the order recording, speaker, digit.

    In that order the first clips of a part are of all digits and speakers.

    Raises:
        RequestError: Files missing, damaged, of another rate, or an index that does not fit.
    """
    card = dataset_card(name)
    found = find_form(card, data_dir)
    if found.form.name == "joined":
        index, file = found.files
        train, test = (
            _joined(index, file, limit, is_test=is_test)
            for limit, is_test in ((limits.train, False), (limits.test, True))
        )
    else:
        train, test = (
            _published(found.files[0], limit, is_test=is_test)
            for limit, is_test in ((limits.train, False), (limits.test, True))
        )
    return Dataset(
        name=name, class_names=card.class_names, train=train, test=test, form=found.form.name
    )


def _joined(index: Path, file: Path, limit: int | None, *, is_test: bool) -> Split:
    table = read_npz(index, INDEX)
    offset, length = table["offset"].astype(np.int64), table["length"].astype(np.int64)
    ends = offset + length
    gapless = offset[0] == 0 and np.array_equal(offset[1:], ends[:-1]) and length.min() >= 1
    if not gapless or table["label"].max() > 9:
        raise RequestError(
            f"{index} does not say where each of its recordings of a digit 0...9 is: offsets must "
            "follow from lengths; get it again",
            path=str(index),
        )
    if not np.array_equal(table["is_test"], table["recording"] < TEST_RECORDINGS):
        raise RequestError(
            f"{index} does not follow the official split (recordings 0..."
            f"{TEST_RECORDINGS - 1} are the test part); get it again",
            path=str(index),
        )
    joined = read_joined(file, rate_hz=RATE_HZ, samples=int(ends[-1]))
    order = np.lexsort((table["label"], table["speaker"], table["recording"]))
    chosen = order[table["is_test"][order] == is_test][:limit]
    clips = [one_second(joined[offset[i] : ends[i]] / FULL_SCALE, RATE_HZ) for i in chosen]
    return _split(np.stack(clips), table["label"][chosen].astype(np.int64))


def _published(path: Path, limit: int | None, *, is_test: bool) -> Split:
    source = open_files(path)
    found = []
    for name in source.names():
        parts = FILE_NAME.fullmatch(name)
        if parts is not None and (int(parts[3]) < TEST_RECORDINGS) == is_test:
            found.append((int(parts[3]), parts[2], int(parts[1]), name))
    chosen = sorted(found)[:limit]
    if {digit for _, _, digit, _ in found} != set(range(10)):
        part = "test" if is_test else "training"
        raise RequestError(
            f"{source.name} has not every digit 0...9 in its {part} part (files "
            f"DIGIT_SPEAKER_NUMBER.wav, numbers 0...{TEST_RECORDINGS - 1} are for test); get the "
            "set again",
            path=source.name,
        )
    row = {name: at for at, (_, _, _, name) in enumerate(chosen)}
    clips = np.empty((len(row), SAMPLES), np.int16)
    for name, content in source.read(row):
        waveform, rate = decode(content, f"{name} of {source.name}")
        if rate != RATE_HZ:
            raise RequestError(
                f"{name} of {source.name} has {rate} samples a second, not {RATE_HZ}; get it again",
                path=source.name,
            )
        clips[row[name]] = one_second(waveform, rate)
    return _split(clips, np.array([digit for _, _, digit, _ in chosen]))


def _split(clips: Clips, labels: Labels) -> Split:
    return Split(
        samples=torch.from_numpy(clips), labels=torch.from_numpy(labels), prepare=speech_inputs
    )
