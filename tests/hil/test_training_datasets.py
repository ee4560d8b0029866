"""Data sets: the fixed split, the idx format, and the sentences for what is missing."""

from __future__ import annotations

import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hil.errors import RequestError
from hil.training.data import Split, dataset_names, load_dataset
from hil.training.data.idx import read_idx

MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def gzipped(data: bytes) -> bytes:
    """Pack without the time of day, so that a test's name is the same in every process."""
    return gzip.compress(data, mtime=0)


def idx_bytes(array: np.ndarray, *, type_code: int = 8) -> bytes:
    """An array in idx form, from the format's description."""
    header = bytes((0, 0, type_code, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist_like(folder: Path, *, train: int = 12, test: int = 5) -> np.random.Generator:
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for count, (images, labels) in ((train, MNIST_FILES[:2]), (test, MNIST_FILES[2:])):
        pixels = rng.integers(0, 256, (count, 28, 28))
        (folder / images).write_bytes(gzipped(idx_bytes(pixels)))
        (folder / labels).write_bytes(gzipped(idx_bytes(rng.integers(0, 10, count))))
    return rng


def test_digits_split_is_1437_to_360_disjoint_and_complete():
    data = load_dataset("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.image_shape == (1, 8, 8)
    pixels, labels = load_digits(return_X_y=True)
    ours = torch.cat([data.train.images, data.test.images]).reshape(-1, 64).numpy() * 16
    together = np.column_stack([ours, torch.cat([data.train.labels, data.test.labels])])
    theirs = np.column_stack([pixels, labels])
    assert _rows(together) == _rows(theirs)


def _rows(table: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in np.ascontiguousarray(table, dtype=np.int64))


def test_digits_classes_keep_their_share_in_both_parts():
    data = load_dataset("digits")
    in_test = torch.bincount(data.test.labels, minlength=10)
    of_all = in_test + torch.bincount(data.train.labels, minlength=10)
    assert torch.all((in_test - of_all * 360 / 1797).abs() < 1)


def test_digits_split_never_changes():
    first, second = load_dataset("digits"), load_dataset("digits")
    assert first.test.sha256 == second.test.sha256
    # The split is part of every published accuracy: a change of it must be noticed here.
    assert first.test.sha256.startswith("fb1c85c1171fe791")


def test_background_is_zero_and_full_scale_is_one():
    images = load_dataset("digits").train.images
    assert images.dtype == torch.float32
    assert float(images.min()) == 0.0
    assert float(images.max()) == 1.0


def test_digest_depends_on_order_images_and_labels():
    images = torch.arange(8.0).reshape(2, 1, 2, 2)
    labels = torch.tensor([0, 1])
    digests = {
        Split(samples=images, labels=labels).sha256,
        Split(samples=images.flip(0), labels=labels).sha256,
        Split(samples=images, labels=labels.flip(0)).sha256,
    }
    assert len(digests) == 3


def test_take_keeps_the_first_samples_and_refuses_none():
    split = load_dataset("digits").test
    assert torch.equal(split.take(7).labels, split.labels[:7])
    assert len(split.take(10_000)) == len(split)
    with pytest.raises(RequestError, match="samples 0 is below 1"):
        split.take(0)


def test_unknown_dataset_lists_the_known_ones():
    with pytest.raises(RequestError, match=r"digitz.*digits.*mnist"):
        load_dataset("digitz")
    assert set(dataset_names()) >= {"digits", "mnist"}


@pytest.mark.parametrize("nested", [True, False], ids=["in its folder", "directly"])
def test_mnist_like_files_load_as_written(tmp_path, nested):
    write_mnist_like(tmp_path / "mnist" if nested else tmp_path)
    data = load_dataset("mnist", tmp_path)
    assert data.train.images.shape == (12, 1, 28, 28)
    assert data.test.images.shape == (5, 1, 28, 28)
    pixels = np.random.default_rng(3).integers(0, 256, (12, 28, 28))
    assert np.array_equal(np.rint(data.train.images[:, 0].numpy() * 255), pixels)


def test_folder_not_given_missing_or_empty_is_one_sentence(tmp_path):
    with pytest.raises(RequestError, match="--data DIR"):
        load_dataset("mnist")
    with pytest.raises(RequestError, match=r"does not exist.*--data DIR"):
        load_dataset("mnist", tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"train-images-idx3-ubyte\.gz.*missing"):
        load_dataset("mnist", tmp_path)


def test_images_and_labels_must_be_as_many(tmp_path):
    write_mnist_like(tmp_path)
    (tmp_path / MNIST_FILES[1]).write_bytes(gzipped(idx_bytes(np.zeros(11))))
    with pytest.raises(RequestError, match=r"12 images.*11 labels"):
        load_dataset("mnist", tmp_path)


def test_label_outside_the_classes_is_refused(tmp_path):
    write_mnist_like(tmp_path)
    (tmp_path / MNIST_FILES[3]).write_bytes(gzipped(idx_bytes(np.full(5, 10))))
    with pytest.raises(RequestError, match=r"label 10, outside 0\.\.\.9"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no idx file"),
        (b"no gzip at all", "cannot be read as a gzip file"),
        (gzipped(idx_bytes(np.zeros((3, 28, 28))))[:-20], "cannot be read as a gzip file"),
        (gzipped(idx_bytes(np.zeros((3, 28, 28)))[:-1]), "only 2351 data bytes"),
        (gzipped(idx_bytes(np.zeros((3, 28, 28))) + b"x"), "more than 2352 data bytes"),
        (gzipped(idx_bytes(np.zeros((3, 28, 28)), type_code=13)), "begins with 00000d03"),
        (gzipped(idx_bytes(np.zeros(3))), "begins with 00000801"),
        (gzipped(idx_bytes(np.zeros((3, 28, 28)))[:9]), "ends within its header"),
        (gzipped(idx_bytes(np.zeros((3, 28, 27)))), r"announces shape \(3, 28, 27\)"),
        (gzipped(idx_bytes(np.zeros((0, 28, 28)))), r"announces shape \(0, 28, 28\)"),
    ],
)
def test_damaged_idx_file_is_refused_with_its_path(tmp_path, content, sentence):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=sentence) as caught:
        read_idx(path, (28, 28))
    assert str(path) in str(caught.value)


@given(junk=st.binary(max_size=64), packed=st.booleans())
def test_any_bytes_give_an_array_or_a_request_error(tmp_path_factory, junk, packed):
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(gzipped(junk) if packed else junk)
    with contextlib.suppress(RequestError):
        assert read_idx(path, ()).ndim == 1


@given(data=st.data(), shape=st.tuples(*[st.integers(1, 5)] * 3))
def test_idx_round_trip(tmp_path_factory, data, shape):
    size = int(np.prod(shape))
    values = data.draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(values, np.uint8).reshape(shape)
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(gzipped(idx_bytes(array)))
    assert np.array_equal(read_idx(path, shape[1:]), array)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_sets_load(data_dir, name):
    data = load_dataset(name, data_dir)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert torch.bincount(data.test.labels).sum() == 10_000
    assert float(data.test.images.max()) == 1.0


def test_a_missing_folder_is_refused_for_an_embedded_set_too(tmp_path):
    with pytest.raises(RequestError, match=r"nowhere does not exist.*'digits'"):
        load_dataset("digits", tmp_path / "nowhere")
