"""Speech Commands: joined and published forms, their splits, and what is said of what is wrong."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hil.errors import RequestError
from hil.training.data import Dataset, load_dataset

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = ("bed", "cat")
PER_WORD = 4
CLASSES = ("_silence_", "_unknown_", *WORDS)


def clip(number: int, samples: int = 16_000) -> np.ndarray:
    """Noise that tells the clip: no two numbers give the same."""
    return np.random.default_rng(number).integers(-9000, 9000, samples).astype(np.int16)


def write_words(folder: Path) -> dict[bytes, str]:
    """Write a small set as the publisher does; return the word of each clip's bytes."""
    word_of = {}
    lists: dict[str, list[str]] = {"testing": [], "validation": []}
    for word in (*WORDS, *OTHERS):
        (folder / word).mkdir(parents=True)
        for speaker in range(PER_WORD):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            samples = clip(len(word_of))
            soundfile.write(folder / name, samples, 16_000)
            word_of[samples.tobytes()] = word
            if speaker >= 2:
                lists["testing" if speaker == 2 else "validation"].append(name)
    for part, names in lists.items():
        (folder / f"{part}_list.txt").write_text("\n".join(names) + "\n")
    noise = folder / "_background_noise_"
    noise.mkdir()
    soundfile.write(noise / "tap.wav", clip(999, 6 * 16_000), 16_000)
    (noise / "README.md").write_text("noise")
    return word_of


def packed(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=".")


def counts(data: Dataset, part: str) -> dict[str, int]:
    return Counter(data.class_names[i] for i in getattr(data, part).labels.tolist())


def test_published_form_follows_the_lists_and_labels_by_word(tmp_path):
    word_of = write_words(tmp_path)
    data = load_dataset("speech-commands", tmp_path)
    assert data.form == "words"
    assert data.class_names == CLASSES
    # Two speakers are for training, one for test, one in neither part; extras are a tenth.
    assert counts(data, "train") == {**dict.fromkeys(WORDS, 2), "_silence_": 2, "_unknown_": 2}
    assert counts(data, "test") == {**dict.fromkeys(WORDS, 1), "_silence_": 1, "_unknown_": 1}
    listed = {line.split("/")[0] for line in (tmp_path / "testing_list.txt").read_text().split()}
    assert listed == {*WORDS, *OTHERS}
    for part in (data.train, data.test):
        for samples, label in zip(part.samples.numpy(), part.labels.tolist(), strict=True):
            word = word_of.get(samples.tobytes())
            if CLASSES[label] in WORDS:
                assert word == CLASSES[label]
            else:
                assert word in (OTHERS if CLASSES[label] == "_unknown_" else [None])


def test_silence_is_cut_from_the_noise_at_random_levels(tmp_path):
    write_words(tmp_path)
    data = load_dataset("speech-commands", tmp_path)
    noise = clip(999, 6 * 16_000).astype(np.float64)
    border = int(0.8 * len(noise))
    for part, stretch in ((data.train, noise[:border]), (data.test, noise[border:])):
        for samples in part.samples[part.labels == 0].double().numpy():
            match = np.correlate(stretch, samples, "valid")
            start = int(match.argmax())
            found = stretch[start : start + 16_000]
            level = (found @ samples) / (found @ found)
            assert 0 <= level <= 1
            assert np.abs(samples - level * found).max() <= 1


def test_folder_and_archive_give_the_same_set_twice(tmp_path):
    write_words(tmp_path / "words")
    packed(tmp_path / "words", tmp_path / "speech_commands_v0.02.tar.gz")
    folder = load_dataset("speech-commands", tmp_path / "words")
    archive = load_dataset("speech-commands", tmp_path)
    assert archive.form == "archive"
    for part in ("train", "test"):
        assert getattr(folder, part).sha256 == getattr(archive, part).sha256


def test_few_samples_are_the_first_of_the_whole(tmp_path):
    write_words(tmp_path)
    whole = load_dataset("speech-commands", tmp_path)
    few = load_dataset("speech-commands", tmp_path, train_samples=5, test_samples=3)
    assert torch.equal(few.train.samples, whole.train.samples[:5])
    assert torch.equal(few.test.labels, whole.test.labels[:3])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: (d / "up" / "00000002_nohash_0.wav").unlink(), "lacks up/00000002.* names"),
        (lambda d: [p.unlink() for p in (d / "go").iterdir()], "lacks go/|no train clips of go"),
        (lambda d: (d / "no" / "00000000_nohash_0.wav").write_bytes(b"x"), "cannot be read as"),
        (lambda d: soundfile.write(d / "no/00000000_nohash_0.wav", clip(1), 8_000), "8000 Hz"),
        (lambda d: (d / "_background_noise_" / "tap.wav").unlink(), "no noise of 16000 Hz"),
        (lambda d: (d / "testing_list.txt").write_bytes(b"\xff\xfe\xff"), "is no text"),
        (lambda d: (d / "testing_list.txt").unlink(), r"testing_list\.txt missing"),
    ],
    ids=["clip", "word", "bytes", "rate", "noise", "text", "list"],
)
def test_a_spoilt_published_set_is_one_sentence(tmp_path, spoil, sentence):
    write_words(tmp_path)
    spoil(tmp_path)
    with pytest.raises(RequestError, match=sentence):
        load_dataset("speech-commands", tmp_path)


@pytest.mark.parametrize("keep", [0, 40, 2000])
def test_a_truncated_archive_is_one_sentence(tmp_path, keep):
    write_words(tmp_path / "words")
    path = tmp_path / "speech_commands_v0.02.tar.gz"
    packed(tmp_path / "words", path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RequestError, match="cannot be read"):
        load_dataset("speech-commands", tmp_path)


def write_joined(folder: Path, train: int = 5, test: int = 3, **arrays: np.ndarray) -> None:
    for part, clips in (("train", train), ("test", test)):
        samples = np.concatenate([clip(100 * train + i) for i in range(clips)])
        soundfile.write(folder / f"kws12_{part}.flac", samples, 16_000)
    labels = {"train_label": np.arange(train), "test_label": np.arange(test)}
    table = {name: value.astype(np.uint8) for name, value in labels.items()}
    np.savez(folder / "kws12_index.npz", **{**table, **arrays})


def test_joined_clips_are_read_in_order(tmp_path):
    write_joined(tmp_path)
    data = load_dataset("speech-commands", tmp_path, train_samples=2)
    assert data.form == "joined"
    assert torch.equal(data.train.samples, torch.from_numpy(np.stack([clip(500), clip(501)])))
    assert data.test.labels.tolist() == [0, 1, 2]
    assert data.image_shape == (1, 49, 10)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.full(5, 12, np.uint8), r"holds 12, outside 0\.\.\.11"),
        (np.zeros(6, np.uint8), "as its index says"),
        (np.zeros(5, np.int64), "train_label"),
    ],
    ids=["class", "number", "type"],
)
def test_an_index_that_does_not_fit_is_one_sentence(tmp_path, labels, sentence):
    write_joined(tmp_path, train_label=labels)
    with pytest.raises(RequestError, match=sentence):
        load_dataset("speech-commands", tmp_path)


@pytest.mark.data
def test_the_12_class_set_is_as_its_readme_says(data_dir):
    data = load_dataset("speech-commands", data_dir)
    in_train = [100, 231, 220, 208, 219, 226, 231, 215, 209, 211, 209, 215]
    in_test = [60, 101, 51, 56, 60, 58, 56, 62, 56, 65, 59, 56]
    assert torch.bincount(data.train.labels).tolist() == in_train
    assert torch.bincount(data.test.labels).tolist() == in_test
    assert data.train.samples.shape == (2494, 16_000)
    assert data.train.samples.dtype == torch.int16
