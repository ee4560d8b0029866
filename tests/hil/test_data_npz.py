"""Arrays in .npz files: read as saved, checked before they are unpacked, damage is one sentence."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import RequestError
from hil.training.data.npz import ArraySpec, read_npz

SPECS = {
    "label": ArraySpec(dtype="uint8", shape=("n",)),
    "image": ArraySpec(dtype="uint8", shape=("n", 2, 3)),
}


def saved(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD = {"label": np.zeros(4, np.uint8), "image": np.arange(24, dtype=np.uint8).reshape(4, 2, 3)}


def test_arrays_are_read_as_saved_in_either_order(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(saved(**(GOOD | {"image": np.asfortranarray(GOOD["image"])}), other=[1]))
    read = read_npz(path, SPECS)
    assert set(read) == set(SPECS)
    assert np.array_equal(read["image"], GOOD["image"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"label": np.zeros(4, np.int64)}, r"label .* is int64 \(4,\); uint8 \(n,\) is needed"),
        ({"label": np.zeros(0, np.uint8)}, r"is uint8 \(0,\)"),
        ({"image": np.zeros((4, 3, 2), np.uint8)}, r"image .* \(4, 3, 2\); uint8 \(n, 2, 3\)"),
        ({"image": np.zeros((5, 2, 3), np.uint8)}, r"is needed with n = 4"),
        ({"image": np.array([b"x", 1], dtype=object)}, r"is object"),
    ],
    ids=["dtype", "empty", "shape", "length", "pickle"],
)
def test_an_array_of_another_kind_is_refused(tmp_path, changed, sentence):
    path = tmp_path / "a.npz"
    path.write_bytes(saved(**(GOOD | changed)))
    with pytest.raises(RequestError, match=sentence):
        read_npz(path, SPECS)


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(saved(label=GOOD["label"], more=[1]))
    with pytest.raises(RequestError, match=r"lacks image; it holds label, more"):
        read_npz(path, SPECS)


@pytest.mark.parametrize("size", [-1, 1], ids=["too short", "too long"])
def test_an_array_of_another_size_than_announced_is_refused(tmp_path, size):
    buffer = io.BytesIO()
    np.save(buffer, GOOD["image"])
    content = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", content[:size] if size < 0 else content + b"x")
    with pytest.raises(RequestError, match="announces 24 bytes and holds"):
        read_npz(tmp_path / "a.npz", {"image": SPECS["image"]})


@given(at=st.integers(0, 10_000), to=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_npz_gives_the_arrays_or_one_sentence(tmp_path_factory, at, to, cut):
    content = bytearray(saved(**GOOD))
    at %= len(content)
    content[at] = to
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    path.write_bytes(content[:at] if cut else content)
    try:
        arrays = read_npz(path, SPECS)
    except RequestError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right
    else:
        assert all(np.array_equal(arrays[name], GOOD[name]) for name in SPECS)
