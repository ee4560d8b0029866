"""Cards: one for every set, true to the sets as loaded and to the README of the data."""

import re

import pytest
import torch

from hil.errors import RequestError
from hil.training.data import dataset_names, load_dataset, preparation
from hil.training.data.card import card_names, dataset_card
from hil.training.data.check import check_dataset
from hil.training.data.find import find_form, look_for_form
from hil.training.data.verify import verify_files

NAMES = dataset_names()
IN_THE_FOLDER = [name for name in NAMES if dataset_card(name).forms]
PICTURES = [name for name in NAMES if dataset_card(name).kind == "picture"]


def test_every_set_has_a_card_and_every_card_a_set():
    assert card_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_one_piece(name):
    card = dataset_card(name)
    assert card.name == name
    assert len(set(card.class_names)) == len(card.class_names)
    assert len({form.name for form in card.forms}) == len(card.forms)
    assert not card.forms or name in card.folders  # where `hil data fetch` puts it
    for published in card.published:
        usual = {file.names[0]: file for form in card.forms for file in form.files}
        digest = usual[published.file].sha256  # it is a file that the loader looks for
        unpacked = any(form.unpacked_digests for form in card.forms)
        assert unpacked or digest == published.sha256
        assert published.url.startswith("https://")
        assert published.source


def test_an_unknown_card_lists_the_known_ones():
    with pytest.raises(RequestError, match=r"'imagenet' is not known; known: cifar10"):
        dataset_card("imagenet")
    with pytest.raises(RequestError, match=r"'imagenet' is not known; known: cifar10"):
        preparation("imagenet")


@pytest.mark.parametrize("name", NAMES)
def test_preparation_needs_no_data_and_gives_inputs_of_the_cards_shape(name):
    card = dataset_card(name)
    samples = torch.zeros(2, *card.sample_shape, dtype=getattr(torch, card.sample_dtype))
    inputs = preparation(name)(samples)
    assert inputs.dtype == torch.float32
    assert tuple(inputs.shape) == (2, *card.input_shape)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_first_samples_are_those_of_the_whole_set(data_dir, name):
    few = load_dataset(name, data_dir, train_samples=30, test_samples=20)
    more = load_dataset(name, data_dir, train_samples=60, test_samples=50)
    assert (len(few.train), len(few.test)) == (30, 20)
    for part in ("train", "test"):
        one, other = getattr(few, part), getattr(more, part)
        assert torch.equal(one.samples, other.samples[: len(one)])
        assert torch.equal(one.labels, other.labels[: len(one)])
        assert torch.equal(one.images, preparation(name)(one.samples))


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(set(PICTURES) - {"cifar10"}))
def test_the_sets_are_what_their_cards_say(data_dir, name):
    dataset = load_dataset(name, data_dir)
    check_dataset(dataset, dataset_card(name))
    assert dataset.class_names == dataset_card(name).class_names


@pytest.mark.data
@pytest.mark.parametrize("name", IN_THE_FOLDER)
def test_the_files_of_the_folder_are_those_of_the_card(data_dir, name):
    files = verify_files(find_form(dataset_card(name), data_dir))
    assert all(file.as_published for file in files)


@pytest.mark.data
def test_the_cards_agree_with_the_readme_of_the_data(data_dir):
    readme = (data_dir / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w/.-]+)` \| [\d,]+ \| `([0-9a-f]{64})` \|$", readme, re.M))
    counts = {
        name: (int(train.replace(",", "")), int(test.replace(",", "")))
        for name, train, test in re.findall(
            r"^\| `([\w-]+)` \| [^|]+ \| ([\d,]+) \| ([\d,]+) \|", readme, re.M
        )
    }
    checked = 0
    for name in IN_THE_FOLDER:
        found = look_for_form(dataset_card(name), data_dir)
        assert found is not None
        folder = found.folder.relative_to(data_dir).as_posix()
        if name != "cifar10-small":
            assert (found.form.train, found.form.test) == counts[folder]
        for file, path in zip(found.form.files, found.files, strict=True):
            if not found.form.unpacked_digests:
                assert file.sha256 == listed[f"{folder}/{path.name}"]
                checked += 1
    assert checked >= 7


@pytest.mark.data
def test_cifar10_decodes_to_the_readmes_means_and_close_to_the_pixel_file(data_dir):
    whole = load_dataset("cifar10", data_dir, train_samples=1, test_samples=8000)
    small = load_dataset("cifar10-small", data_dir)
    means = whole.test.samples.double().mean(dim=(0, 2, 3))
    assert means.tolist() == pytest.approx([126.18, 123.75, 114.78], abs=0.01)
    first = whole.test.samples[:1000].int()
    assert int((first - small.test.samples.int()).abs().max()) <= 4
    assert torch.equal(whole.test.labels[:1000], small.test.labels)
    assert torch.bincount(whole.test.labels).tolist() == [800] * 10


def test_a_number_of_samples_below_one_is_refused():
    for part in ("train", "test"):
        with pytest.raises(RequestError, match=f"{part}_samples 0 is below 1"):
            load_dataset("digits", **{f"{part}_samples": 0})
    assert len(load_dataset("digits", train_samples=10**6).train) == 1437
