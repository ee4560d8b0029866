"""hil data: one JSON line, the exit codes, and docs/data.md true to both."""

import gzip
import json
import re
import shlex
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from hil import cli_data
from hil.cli import main
from hil.training.data import dataset_names
from hil.training.data import fetch as fetch_module
from hil.training.data.card import PublishedFile, dataset_card

GUIDE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def hil(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIL_DATA", raising=False)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["hil", "data", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def one_line(out):
    assert out.count("\n") == 1
    return json.loads(out)


def write_mnist(folder, *, train, test, classes=10):
    """A set in the form of MNIST; returns the labels of the training part."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    labels = {}
    for part, count in (("train", train), ("t10k", test)):
        labels[part] = np.arange(count) % classes
        for what, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28))),
            ("labels-idx1", labels[part]),
        ):
            header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            packed = gzip.compress(header + array.astype(np.uint8).tobytes(), 1, mtime=0)
            (folder / f"{part}-{what}-ubyte.gz").write_bytes(packed)
    return labels["train"]


@pytest.fixture
def small_mnist(monkeypatch):
    """Let the card of mnist announce (train, test) samples, so that a small set is whole."""

    def announce(train, test):
        card = dataset_card("mnist")
        form = card.forms[0].model_copy(update={"train": train, "test": test})
        changed = card.model_copy(update={"forms": (form,)})
        monkeypatch.setattr("hil.training.data.card.dataset_card", lambda _name: changed)

    return announce


def test_list_names_every_set_and_where_it_is(hil, tmp_path):
    code, out, err = hil("list")
    listed = {row["name"]: row for row in one_line(out)["datasets"]}
    assert code == 0
    assert tuple(listed) == dataset_names()
    assert all(name in err for name in listed)
    assert listed["digits"]["embedded"]
    assert listed["mnist"]["folder"] is None
    write_mnist(tmp_path / "mnist", train=1, test=1)
    _, out, err = hil("list", "--data", tmp_path)
    listed = {row["name"]: row for row in one_line(out)["datasets"]}
    assert listed["mnist"]["folder"] == str(tmp_path / "mnist")
    assert listed["mnist"]["form"] == "idx"
    assert listed["cifar10"]["folder"] is None


def test_check_counts_each_class_and_tells_files_that_are_not_the_published_ones(
    hil, tmp_path, small_mnist
):
    labels = write_mnist(tmp_path / "mnist", train=37, test=20)
    small_mnist(37, 20)
    code, out, err = hil("check", "mnist", "--data", tmp_path)
    said = one_line(out)
    assert code == 0
    assert said["train"]["per_class"] == np.bincount(labels, minlength=10).tolist()
    assert said["train"]["sample_shape"] == [1, 28, 28]
    assert re.fullmatch(r"[0-9a-f]{64}", said["test"]["sha256"])
    assert [file["as_published"] for file in said["files"]] == [False] * 4
    assert "not as published" in err


def test_check_of_the_embedded_set_needs_no_folder(hil):
    code, out, _ = hil("check", "digits")
    said = one_line(out)
    assert code == 0
    assert (said["train"]["samples"], said["test"]["samples"]) == (1437, 360)
    assert said["files"] == []


@pytest.mark.parametrize(
    ("announced", "sentence"),
    [
        ((36, 20, 10), "has 37 samples; its form 'idx' has 36"),
        ((37, 21, 10), "has 20 samples; its form 'idx' has 21"),
        ((37, 20, 9), "no sample of 9"),
    ],
    ids=["training part", "test part", "class"],
)
def test_a_set_that_is_not_whole_is_exit_2_and_one_sentence(
    hil, tmp_path, small_mnist, announced, sentence
):
    *counts, classes = announced
    write_mnist(tmp_path / "mnist", train=37, test=20, classes=classes)
    small_mnist(*counts)
    code, out, err = hil("check", "mnist", "--data", tmp_path)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "--data", "nowhere"], "nowhere does not exist"),
        (["check", "imagenet"], "'imagenet' is not known"),
        (["check", "mnist"], "--data DIR"),
        (["check", "mnist", "--data", "."], "hil data fetch mnist"),
        (["fetch", "imagenet", "--to", "."], "'imagenet' is not known"),
        (["fetch", "digits", "--to", ".", "--yes"], "nothing to fetch"),
        (["fetch", "cifar10", "--to", "."], "add --yes"),
        (["fetch", "mnist", "--to", ".", "--yes", "--url", "http://a.org/"], "give https"),
    ],
)
def test_a_wrong_request_is_exit_2_and_leaves_nothing(hil, tmp_path, args, words):
    code, out, err = hil(*args)
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_fetch_puts_the_set_where_check_finds_it(hil, tmp_path, monkeypatch):
    write_mnist(tmp_path / "mirror", train=20, test=10)
    files = []
    for path in sorted((tmp_path / "mirror").iterdir(), reverse=True):
        content = path.read_bytes()
        files.append(
            PublishedFile(
                file=path.name,
                url=f"https://example.org/{path.name}",
                bytes=len(content),
                sha256=fetch_module.digest_of(path),
                source="this test",
            )
        )
    card = dataset_card("mnist").model_copy(update={"published": tuple(files)})
    monkeypatch.setattr(fetch_module, "dataset_card", lambda _name: card)
    mirror = (tmp_path / "mirror").as_uri() + "/"
    code, out, err = hil("fetch", "mnist", "--to", tmp_path / "data", "--url", mirror, "--yes")
    said = one_line(out)
    assert code == 0
    assert [file["fetched"] for file in said["files"]] == [True] * 4
    assert "CC BY-SA" in err
    _, out, _ = hil("list", "--data", tmp_path / "data")
    assert str(tmp_path / "data" / "mnist") in out


def test_nothing_is_fetched_without_a_yes(hil, tmp_path, monkeypatch):
    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return "n\n"

    monkeypatch.setattr(cli_data.sys, "stdin", Terminal())
    monkeypatch.setattr("typer.confirm", lambda *_args, **_options: False)
    code, out, err = hil("fetch", "mnist", "--to", tmp_path / "data")
    assert (code, out) == (2, "")
    assert "nothing was fetched" in err
    assert not (tmp_path / "data").exists()


def test_the_guide_lists_every_set_with_its_numbers_and_forms():
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([\d,]+) \| ([\d,]+) \|", GUIDE, re.MULTILINE)
    counts = {name: (int(a.replace(",", "")), int(b.replace(",", ""))) for name, a, b in rows}
    assert set(counts) == set(dataset_names())
    for name, numbers in counts.items():
        forms = dataset_card(name).forms
        assert not forms or numbers in {(form.train, form.test) for form in forms}
        for form in forms:
            assert f"`{form.name}`" in GUIDE


@pytest.mark.parametrize(
    "line", re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)[0].splitlines()
)
def test_the_commands_of_the_guide_exist(hil, monkeypatch, line):
    command = shlex.split(line)
    assert command[:2] == ["hil", "data"]
    code, out, _ = hil(command[2], "--help")
    assert code == 0
    options = [word for word in command[3:] if word.startswith("--")]
    assert all(option in out for option in options)


def test_help_names_the_three_commands(hil):
    _, out, _ = hil("--help")
    assert all(word in out for word in ("list", "check", "fetch"))
