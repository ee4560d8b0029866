"""Speech Commands, 12 classes: joined clips or the publisher's files to recordings and labels.

The publisher's files (P. Warden, arXiv:1804.03209) are divided as usual for 12 classes: the test
part is what testing_list.txt names, the training part is what neither list names; in each part
_unknown_ (other words, chosen at random) and _silence_ (cut from the background noise at random
levels) have a tenth of the number of clips of the ten words. What is chosen never changes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hil.errors import RequestError
from hil.training.data.audio import decode, one_second, read_joined
from hil.training.data.audio_files import FileSource, open_files
from hil.training.data.card import dataset_card
from hil.training.data.find import find_form
from hil.training.data.npz import ArraySpec, read_npz
from hil.training.data.split import Dataset, Limits, Split
from hil.training.speech.mfcc import SAMPLE_RATE_HZ, SAMPLES, speech_inputs

__all__ = ["load_speech_commands"]

SILENCE, UNKNOWN = "_silence_", "_unknown_"
NOISE_FOLDER = "_background_noise_"
LISTS = {"test": "testing_list.txt", "validation": "validation_list.txt"}
EXTRA_SHARE = 0.1
"""_silence_ and _unknown_, each over the clips of the ten words (the publisher's 10 %)."""
CHOICE_SEED = 20_180_409
"""Seed of the order, of the unknown words and of the cuts; part of the set's definition."""
TRAIN_NOISE = 0.8
"""Share of each noise file, from its beginning, that training clips are cut from."""

Clips = npt.NDArray[np.int16]
Labels = npt.NDArray[np.int64]


def load_speech_commands(name: str, data_dir: Path | None, limits: Limits) -> Dataset:
    """Load the set from either form.

    Raises:
        RequestError: Files missing, damaged, of another rate or length, a label without class.
    """
    card = dataset_card(name)
    found = find_form(card, data_dir)
    classes = card.class_names
    if found.form.name == "joined":
        index, *parts = found.files
        train, test = (
            _joined(index, file, part, len(classes), limit)
            for file, part, limit in zip(
                parts, ("train", "test"), (limits.train, limits.test), strict=True
            )
        )
    else:
        first = found.files[0]
        source = open_files(first if found.form.name == "archive" else first.parent)
        train, test = (
            _published(source, part, classes, limit)
            for part, limit in (("train", limits.train), ("test", limits.test))
        )
    return Dataset(name=name, class_names=classes, train=train, test=test, form=found.form.name)


def _joined(index: Path, file: Path, part: str, classes: int, limit: int | None) -> Split:
    label = f"{part}_label"
    labels = read_npz(index, {label: ArraySpec(dtype="uint8", shape=("clips",))})[label]
    if labels.max() >= classes:
        raise RequestError(
            f"{label} of {index} holds {labels.max()}, outside 0...{classes - 1}", path=str(index)
        )
    wanted = None if limit is None else limit * SAMPLES
    joined = read_joined(file, rate_hz=SAMPLE_RATE_HZ, samples=len(labels) * SAMPLES, wanted=wanted)
    clips = joined.reshape(-1, SAMPLES)
    return _split(clips, labels[: len(clips)].astype(np.int64))


def _published(source: FileSource, part: str, classes: tuple[str, ...], limit: int | None) -> Split:
    """Read one part: choose all of it by name first, then only the clips that are wanted."""
    rng = np.random.default_rng([CHOICE_SEED, len(part)])
    names = _names_of_part(source, part)
    word_of = {name: name.partition("/")[0] for name in names}
    known = [name for name in names if word_of[name] in classes]
    lacking = sorted(set(classes) - {SILENCE, UNKNOWN} - set(word_of.values()))
    if lacking:
        raise RequestError(
            f"{source.name} has no {part} clips of {', '.join(lacking)}; get the set again",
            path=source.name,
        )
    extra = math.ceil(len(known) * EXTRA_SHARE)
    others = [name for name in names if word_of[name] not in classes]
    if len(others) < extra:
        raise RequestError(
            f"{source.name} has {len(others)} {part} clips of other words, fewer than the {extra} "
            f"of {UNKNOWN}; get the set again",
            path=source.name,
        )
    unknown = [others[i] for i in rng.permutation(len(others))[:extra]]
    clips = [*known, *unknown, *([""] * extra)]
    labels = np.array(
        [classes.index(word_of[n]) for n in known]
        + [classes.index(UNKNOWN)] * extra
        + [classes.index(SILENCE)] * extra
    )
    order = rng.permutation(len(clips))[:limit]
    silence = _silence(source, part, extra, rng)
    place = {clips[at]: row for row, at in enumerate(order) if clips[at]}
    recordings = np.empty((len(order), SAMPLES), np.int16)
    quiet = [row for row, at in enumerate(order) if not clips[at]]
    recordings[quiet] = silence[: len(quiet)]
    for name, content in source.read(place):
        recordings[place[name]] = _clip(content, f"{name} of {source.name}")
    return _split(recordings, labels[order])


def _names_of_part(source: FileSource, part: str) -> list[str]:
    """Sorted names of the clips of all words in a part."""
    listed = {key: source.text_lines(file) for key, file in LISTS.items()}
    every = [
        name
        for name in source.names()
        if name.endswith(".wav") and "/" in name and not name.startswith(NOISE_FOLDER)
    ]
    if part == "train":
        held_back = listed["test"] | listed["validation"]
        return [name for name in every if name not in held_back]
    missing = sorted(listed[part] - set(every))
    if missing:
        raise RequestError(
            f"{source.name} lacks {missing[0]} and {len(missing) - 1} more that {LISTS[part]} "
            "names; get the set again",
            path=source.name,
        )
    return sorted(listed[part])


def _clip(content: bytes, name: str) -> Clips:
    waveform, rate = decode(content, name)
    if rate != SAMPLE_RATE_HZ or len(waveform) > SAMPLES:
        raise RequestError(
            f"{name} has {len(waveform)} samples at {rate} Hz; up to {SAMPLES} at "
            f"{SAMPLE_RATE_HZ} Hz are needed",
            path=name,
        )
    return one_second(waveform, rate)


def _silence(source: FileSource, part: str, count: int, rng: np.random.Generator) -> Clips:
    """Cut clips from the noise files; training and test clips come from different stretches."""
    names = [n for n in source.names() if n.startswith(NOISE_FOLDER) and n.endswith(".wav")]
    stretches = []
    for name, content in sorted(source.read(names)):
        waveform, rate = decode(content, f"{name} of {source.name}")
        border = int(TRAIN_NOISE * len(waveform))
        stretch = waveform[:border] if part == "train" else waveform[border:]
        if rate == SAMPLE_RATE_HZ and len(stretch) >= SAMPLES:
            stretches.append(stretch)
    if not stretches:
        raise RequestError(
            f"{source.name} has no noise of {SAMPLE_RATE_HZ} Hz and 5 s or more in "
            f"{NOISE_FOLDER}; get the set again",
            path=source.name,
        )
    clips = np.empty((count, SAMPLES), np.int16)
    for row in range(count):
        stretch = stretches[rng.integers(len(stretches))]
        start = rng.integers(len(stretch) - SAMPLES + 1)
        clips[row] = one_second(rng.random() * stretch[start : start + SAMPLES], SAMPLE_RATE_HZ)
    return clips


def _split(clips: Clips, labels: Labels) -> Split:
    return Split(
        samples=torch.from_numpy(clips), labels=torch.from_numpy(labels), prepare=speech_inputs
    )
