"""Recordings as files: what was written comes back; a torn tail is told, damage is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from drivers.tape import HEAD_BYTES, MAGIC, MAX_UNPACKED_BYTES, Kind, TapeReader, TapeWriter
from hil import RecordError

RECORDS = (
    {"request": None, "result": 1.5},
    {
        "codes": np.arange(-3, 9, dtype=np.int16).reshape(3, 4),
        "saturated": np.eye(3, 5, dtype=bool),
    },
    {"nested": {"empty": np.zeros((0, 7), np.int32), "list": [1, "two", None]}},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "one.rec"
    tape = TapeWriter(path)
    for number, values in enumerate(RECORDS):
        tape.write(Kind.VERB, values, verb=number + 1, core=number)
    tape.close()
    return path


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return a == b


def test_what_was_written_comes_back(file: Path) -> None:
    with TapeReader(file) as tape:
        assert tape.torn == 0
        assert [(p.kind, p.verb, p.core) for p in tape.places] == [
            (Kind.VERB, 1, 0),
            (Kind.VERB, 2, 1),
            (Kind.VERB, 3, 2),
        ]
        for place, values in zip(tape.places, RECORDS, strict=True):
            assert same(tape.read(place), values)


@given(
    array=st.sampled_from(
        [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64, np.bool_]
    ).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    )
)
def test_any_array_of_codes_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("tape") / "a.rec"
    tape = TapeWriter(path)
    tape.write(Kind.VERB, {"array": array, "other": 1})
    tape.close()
    with TapeReader(path) as reader:
        assert same(reader.read(reader.places[0]), {"array": array, "other": 1})


def test_a_recording_is_never_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(RecordError, match="exists already"):
        TapeWriter(file)
    assert file.read_bytes() == before


def test_a_recording_cut_anywhere_keeps_its_whole_records_and_tells_the_torn_tail(
    file: Path, tmp_path: Path
) -> None:
    whole = file.read_bytes()
    with TapeReader(file) as tape:
        ends = [p.offset + HEAD_BYTES + p.length for p in tape.places]
    for length in range(len(MAGIC), len(whole)):
        cut = tmp_path / "cut.rec"
        cut.write_bytes(whole[:length])
        with TapeReader(cut) as tape:
            kept = [end for end in ends if end <= length]
            assert len(tape.places) == len(kept)
            assert tape.torn == length - (kept[-1] if kept else len(MAGIC))
            assert bool(tape.tail_text) == bool(tape.torn)
            for place, values in zip(tape.places, RECORDS, strict=False):
                assert same(tape.read(place), values)


def test_a_flipped_byte_is_refused_in_one_sentence_or_told_as_the_tail(
    file: Path, tmp_path: Path
) -> None:
    whole = file.read_bytes()
    with TapeReader(file) as tape:
        last = tape.places[-1].offset + HEAD_BYTES
    for index in range(0, len(whole), 3):
        bad = tmp_path / "bad.rec"
        bad.write_bytes(whole[:index] + bytes([whole[index] ^ 0x10]) + whole[index + 1 :])
        if index >= last:
            with TapeReader(bad) as tape:
                assert tape.torn == len(whole) - last + HEAD_BYTES
            continue
        with pytest.raises(RecordError) as caught:
            TapeReader(bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", MAGIC[:-1], b"\x80\x04pickle"])
def test_another_file_is_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.rec"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="is no recording of version 1"):
        TapeReader(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.rec cannot be read"):
        TapeReader(tmp_path / "none.rec")


def with_payload(path: Path, payload: bytes) -> TapeReader:
    head = struct.pack("<IIBBH", len(payload), zlib.crc32(payload), Kind.VERB, 1, 0)
    path.write_bytes(MAGIC + head + struct.pack("<I", zlib.crc32(head)) + payload)
    return TapeReader(path)


def document(text: str, data: bytes = b"") -> bytes:
    return zlib.compress(struct.pack("<I", len(text)) + text.encode() + data)


@pytest.mark.parametrize(
    "payload",
    [
        b"not zlib",
        document("no json"),
        document("[1, 2]"),
        document('{"values": 3, "arrays": []}'),
        document('{"values": {"array": 0}, "arrays": []}'),
        document('{"values": {"a": {"array": -1}}, "arrays": [["<i2", "|i1", [0]]]}'),
        document('{"values": {}, "arrays": [["<i2", "|i1", [4]]]}', b"\x00"),
        document('{"values": {}, "arrays": [["<i2", "|i1", [-4, -1]]]}', b"\x00" * 4),
        document('{"values": {}, "arrays": [["|O8", "|O8", [1]]]}', b"\x00" * 8),
        document('{"values": {}, "arrays": [["<i2", "|i1", [1]]]}', b"\x00\x00"),
        document("{}")[:-4],
    ],
)
def test_a_record_that_makes_no_sense_is_refused_in_one_sentence(
    tmp_path: Path, payload: bytes
) -> None:
    with with_payload(tmp_path / "odd.rec", payload) as tape:
        with pytest.raises(RecordError, match="record 0 at byte 21 makes no sense") as caught:
            tape.read(tape.places[0])
        assert "\n" not in str(caught.value)


def test_a_decompression_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_UNPACKED_BYTES <= 1 << 30
    monkeypatch.setattr("drivers.tape.MAX_UNPACKED_BYTES", 1 << 12)
    with (
        with_payload(tmp_path / "bomb.rec", zlib.compress(bytes(1 << 20))) as tape,
        pytest.raises(RecordError, match="does not unpack to at most 4096 bytes"),
    ):
        tape.read(tape.places[0])


def test_a_recording_that_cannot_grow_is_told(tmp_path: Path) -> None:
    tape = TapeWriter(tmp_path / "closed.rec")
    tape.close()
    with pytest.raises(RecordError, match="cannot be written"):
        tape.write(Kind.VERB, {})
