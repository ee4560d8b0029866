"""The forms of the picture sets: what was written is read, and damage is one sentence."""

import gzip
import struct
import tarfile

import numpy as np
import pytest
import torch

from hil.errors import RequestError
from hil.training.data import load_dataset

BATCHES = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]


def record_bytes(labels, pixels):
    """CIFAR-10's binary form, from the description on its page."""
    return b"".join(
        bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)
    )


def write_batches(folder, *, each=4, seed=1):
    """Six batch files; returns labels and pixels of all of them, in order."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    labels = rng.integers(0, 10, 6 * each)
    pixels = rng.integers(0, 256, (6 * each, 3, 32, 32), np.uint8)
    for k, batch in enumerate(BATCHES):
        part = slice(k * each, (k + 1) * each)
        (folder / batch).write_bytes(record_bytes(labels[part], pixels[part]))
    return torch.from_numpy(labels), torch.from_numpy(pixels)


def pack(folder, archive, *, reverse=False):
    with tarfile.open(archive, "w:gz") as tar:
        for batch in sorted(BATCHES, reverse=reverse):
            tar.add(folder / batch, f"cifar-10-batches-bin/{batch}")


def test_binary_batches_are_read_as_written(tmp_path):
    labels, pixels = write_batches(tmp_path / "cifar10" / "cifar-10-batches-bin")
    data = load_dataset("cifar10", tmp_path)
    assert data.form == "batches"
    assert torch.equal(data.train.samples, pixels[:20])
    assert torch.equal(data.train.labels, labels[:20])
    assert torch.equal(data.test.samples, pixels[20:])
    assert torch.equal(data.test.labels, labels[20:])
    direct = load_dataset("cifar10", tmp_path / "cifar10" / "cifar-10-batches-bin")
    assert direct.train.sha256 == data.train.sha256


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "test first"])
@pytest.mark.parametrize(("train", "test"), [(None, None), (3, 1), (6, 99)], ids=str)
def test_the_archive_holds_the_same_set_as_its_folder(tmp_path, reverse, train, test):
    write_batches(tmp_path / "plain" / "cifar-10-batches-bin")
    (tmp_path / "packed").mkdir()
    pack(
        tmp_path / "plain" / "cifar-10-batches-bin",
        tmp_path / "packed" / "cifar-10-binary.tar.gz",
        reverse=reverse,
    )
    wanted = {"train_samples": train, "test_samples": test}
    plain = load_dataset("cifar10", tmp_path / "plain", **wanted)
    packed = load_dataset("cifar10", tmp_path / "packed", **wanted)
    assert packed.form == "archive"
    assert len(plain.train) == (train or 20)
    assert packed.train.sha256 == plain.train.sha256
    assert packed.test.sha256 == plain.test.sha256


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has 0 bytes, not 1...100000 records of 3073"),
        (bytes(3073 + 5), "has 3078 bytes"),
        (bytes([10]) + bytes(3072), "label 10, outside 0...9"),
    ],
)
def test_a_damaged_batch_is_refused(tmp_path, content, sentence):
    folder = tmp_path / "cifar-10-batches-bin"
    write_batches(folder)
    (folder / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(RequestError, match=sentence):
        load_dataset("cifar10", tmp_path)


def test_a_missing_batch_is_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    write_batches(folder)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(RequestError, match=r"data_batch_3.bin missing.*hil data fetch cifar10"):
        load_dataset("cifar10", tmp_path)


def test_damaged_archives_are_refused(tmp_path):
    write_batches(tmp_path / "plain")
    path = tmp_path / "cifar-10-binary.tar.gz"
    pack(tmp_path / "plain", path)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], gzip.compress(b"no tar")):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"cifar-10-binary\.tar\.gz"):
            load_dataset("cifar10", tmp_path)


def test_links_in_an_archive_are_not_followed(tmp_path):
    write_batches(tmp_path / "plain")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for batch in BATCHES:
            link = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "plain" / batch)
            tar.addfile(link)
    with pytest.raises(RequestError, match="lacks data_batch_1"):
        load_dataset("cifar10", tmp_path)


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(RequestError, match=r"pickles.*never opened.*cifar-10-binary\.tar\.gz"):
        load_dataset("cifar10", tmp_path)


IDX = [
    ("train-images", "idx3", (7, 28, 28)),
    ("train-labels", "idx1", (7,)),
    ("t10k-images", "idx3", (3, 28, 28)),
    ("t10k-labels", "idx1", (3,)),
]


@pytest.mark.parametrize("between", ["-", "."], ids=["dash", "dot"])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")]
)
def test_plain_idx_files_are_read_where_torchvision_puts_them(tmp_path, name, folder, between):
    rng = np.random.default_rng(5)
    (tmp_path / folder).mkdir(parents=True)
    written = []
    for stem, kind, shape in IDX:
        array = rng.integers(0, 10, shape, np.uint8)
        header = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
        (tmp_path / folder / f"{stem}{between}{kind}-ubyte").write_bytes(header + array.tobytes())
        written.append(torch.from_numpy(array))
    data = load_dataset(name, tmp_path)
    assert torch.equal(data.train.samples[:, 0], written[0])
    assert torch.equal(data.test.labels, written[3].long())
    assert len(load_dataset(name, tmp_path, train_samples=2).train) == 2
