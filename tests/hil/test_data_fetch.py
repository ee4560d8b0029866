"""Fetching: the published bytes or nothing, from a local server and from file addresses."""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import time

import pytest

from hil.errors import RequestError
from hil.progress import Progress, Task
from hil.training.data import fetch
from hil.training.data.card import PublishedFile, dataset_card
from hil.training.data.fetch import fetch_dataset, published_files

CONTENT = bytes(range(256)) * 4096  # 1 MiB
FILE = "cifar-10-binary.tar.gz"


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """A card whose only file has CONTENT; returns how to give it another."""

    def publish(content=CONTENT, *, announced=None):
        file = PublishedFile(
            file=FILE,
            url=f"https://127.0.0.1:9/{FILE}",
            bytes=len(content) if announced is None else announced,
            sha256=hashlib.sha256(content).hexdigest(),
            source="this test",
        )
        card = dataset_card("cifar10").model_copy(update={"published": (file,)})
        monkeypatch.setattr(fetch, "dataset_card", lambda _name: card)

    publish()
    return publish


@pytest.fixture
def server(local_server):
    """A local server of a folder: serve(answer) gives its address."""
    return lambda answer: f"{local_server(answer)}folder/"


def reply(content, *, length=None, status=200):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def drip(handler):
    """A byte now and then, for ever as far as a caller can tell."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    for byte in CONTENT[:200]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


class Collected(Progress, Task):
    """Adds up what it is told."""

    def __init__(self):
        self.total = self.done = 0.0

    @contextlib.contextmanager
    def task(self, name, total=None):
        self.total += total
        yield self

    def advance(self, steps=1.0):
        self.done += steps

    def say(self, text):
        pass


def test_a_fetched_file_is_in_its_place_whole_and_progress_adds_up(tmp_path, server):
    progress = Collected()
    (file,) = fetch_dataset("cifar10", tmp_path, url=server(reply(CONTENT)), progress=progress)
    place = tmp_path / "cifar10" / FILE
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]
    assert (file.fetched, file.bytes) == (True, len(CONTENT))
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert progress.done == pytest.approx(progress.total) == pytest.approx(len(CONTENT) / 1e6)


@pytest.mark.parametrize("whole", [True, False], ids=["address of the file", "of its folder"])
def test_file_addresses_are_read(tmp_path, whole):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / FILE).write_bytes(CONTENT)
    folder = (tmp_path / "mirror").as_uri()
    (file,) = fetch_dataset("cifar10", tmp_path, url=f"{folder}/{FILE}" if whole else f"{folder}/")
    assert file.fetched


def test_what_is_there_is_not_fetched_again(tmp_path, server):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        reply(CONTENT)(handler)

    url = server(answer)
    for fetched in (True, False):
        (file,) = fetch_dataset("cifar10", tmp_path, url=url)
        assert file.fetched is fetched
    assert asked == [f"/folder/{FILE}"]


def test_another_file_in_the_place_is_left_alone(tmp_path, server):
    place = tmp_path / "cifar10" / FILE
    place.parent.mkdir()
    place.write_bytes(b"mine")
    with pytest.raises(RequestError, match=r"not the published file.*move it away"):
        fetch_dataset("cifar10", tmp_path, url=server(reply(CONTENT)))
    assert place.read_bytes() == b"mine"


WRONG = bytes(len(CONTENT))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (reply(WRONG), hashlib.sha256(WRONG).hexdigest()),
        (reply(WRONG), hashlib.sha256(CONTENT).hexdigest()),
        (reply(CONTENT + b"x"), f"more than the {len(CONTENT)} bytes published"),
        (reply(CONTENT[:-1]), f"only {len(CONTENT) - 1} of the {len(CONTENT)} bytes"),
        (reply(CONTENT[:99], length=len(CONTENT)), f"only 99 of the {len(CONTENT)} bytes|broke"),
        (reply(b"", status=404), "answers 404 Not Found"),
        (drip, "too slow"),
    ],
    ids=[
        "digest found",
        "digest published",
        "too long",
        "too short",
        "broken off",
        "not there",
        "slow",
    ],
)
def test_whatever_goes_wrong_is_one_sentence_and_leaves_nothing(
    tmp_path, server, monkeypatch, answer, sentence
):
    monkeypatch.setattr(fetch, "LOWEST_RATE", 1e9)
    url = server(answer)
    with pytest.raises(RequestError, match=sentence) as caught:
        fetch_dataset("cifar10", tmp_path, url=url, timeout_s=0.3)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_noticed_before_and_while_writing(tmp_path, server, published, monkeypatch):
    url = server(reply(CONTENT))

    def no_space(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(RequestError, match=r"cannot be written \(No space left on device\)"):
            fetch_dataset("cifar10", tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []
    published(announced=2 * shutil.disk_usage(tmp_path).total)
    with pytest.raises(RequestError, match=r"MB left and .* MB are to be fetched"):
        fetch_dataset("cifar10", tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_kind_leaves_nothing(tmp_path):
    with pytest.raises(RequestError, match="not fetched from; give https"):
        fetch_dataset("cifar10", tmp_path, url="http://example.org/")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be made"):
        fetch_dataset("cifar10", tmp_path / "file")


def test_the_keyboard_leaves_nothing_behind(tmp_path, server):
    class Interrupts(Collected):
        def advance(self, steps=1.0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_dataset("cifar10", tmp_path, url=server(reply(CONTENT)), progress=Interrupts())
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_of_several_files_is_a_folder(monkeypatch):
    monkeypatch.setattr(fetch, "dataset_card", dataset_card)
    urls = [file.url for file in published_files("mnist", "https://host/mnist/")]
    assert urls[0] == "https://host/mnist/train-images-idx3-ubyte.gz"
    assert len(urls) == 4
    with pytest.raises(RequestError, match="4 files; give --url of a folder"):
        published_files("mnist", "https://host/mnist")
    with pytest.raises(RequestError, match="nothing to fetch"):
        published_files("digits")


@pytest.mark.data
def test_a_published_file_packed_anew_counts_as_there(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(fetch, "dataset_card", dataset_card)
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.chmod(0o644)
    labels.write_bytes(gzip.compress(gzip.decompress(labels.read_bytes()), 1, mtime=0))
    files = fetch_dataset("mnist", tmp_path, url="https://127.0.0.1:9/")
    assert [file.fetched for file in files] == [False] * 4
