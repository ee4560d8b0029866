"""Packed arrays: what is read is what was written; every damage and every cut is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.backends import open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse
from hil.errors import RecordError
from hil.info import PulseFamily
from hil.journal import Journal, digest_of, read_journal, whole_lines
from hil.journal_blobs import BlobReader, BlobWriter, pack_arrays, unpack_arrays
from hil.verb_codec import later, pack_pulse, pack_result, unpack_pulse, unpack_result

DTYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_]


@given(st.data())
def test_arrays_come_back_with_name_type_shape_and_value(data):
    arrays = {}
    for name in data.draw(st.lists(st.sampled_from("abc"), unique=True)):
        dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
        shape = data.draw(st.sampled_from([(0,), (1,), (7,), (3, 5), (2, 0, 4)]))
        low, high = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        number = int(np.prod(shape))
        values = data.draw(st.lists(st.integers(low, high), min_size=number, max_size=number))
        arrays[name] = np.array(values, dtype).reshape(shape)
    back = unpack_arrays(pack_arrays(arrays, compress=data.draw(st.booleans())))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)


def test_a_whole_core_of_pulses_takes_a_few_bytes_a_device():
    device, rows, cols = np.indices((4, 256, 256)).reshape(3, -1)
    amplitude = np.random.default_rng(0).integers(0, 256, device.size)
    pulse = Pulse.of(
        PulseFamily.RESET, device=device, rows=rows, cols=cols, amplitude=amplitude, width=20
    )
    packed = pack_pulse(pulse)
    assert len(packed) < 1.5 * len(pulse)
    assert digest_of(unpack_pulse(PulseFamily.RESET.value, packed)) == digest_of(pulse)


def test_results_of_every_verb_come_back_to_the_bit():
    with open_chip("sim:hermes?rows=8&cols=6&seed=1") as chip:
        core = chip.cores[0]
        limits = core.info.limits(PulseFamily.RESET)
        pulse = Pulse.of(
            PulseFamily.RESET,
            device=0,
            rows=[0, 1],
            cols=0,
            amplitude=limits.amplitude.max_code // 2,
            width=limits.width.max_code,
        )
        core.configure(CoreSettings(output_range=1))
        inputs = np.full((3, 8), 50, core.info.input.dtype)
        results = {
            "program": core.program(pulse),
            "read": core.read(CellRead.of(device=0, rows=[0, 1], cols=0)),
            "mvm": core.mvm(MvmRequest(input_codes=inputs)),
            "status": core.status(),
            "settings": core.settings(),
            "wait": core.wait(3.25),
            "configure": None,
        }
    for verb, result in results.items():
        fields, body = pack_result(result)
        at_s = getattr(result, "at_s", None)
        back = unpack_result(verb, {**fields, "at_s": at_s, "n": 1}, body)
        assert type(back) is type(result)
        assert digest_of(back) == digest_of(result)
        if isinstance(result, float):
            assert back == result
        assert later(back, 0.0) is back
        if at_s is not None:
            assert back.at_s == at_s
            assert later(back, 2.0).at_s == at_s + 2.0


def test_records_are_found_by_their_offset_and_any_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.bin"
    writer = BlobWriter(path)
    first, second = writer.write(b"one"), writer.write(b"two" * 5)
    writer.close()
    reader = BlobReader(path)
    assert (reader.read(first), reader.read(second)) == (b"one", b"two" * 5)
    whole = path.read_bytes()
    assert reader.end(second) == len(whole)
    for bit in range(8 * second):
        bad = bytearray(whole)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        with pytest.raises(RecordError):
            BlobReader(path).read(first)


def written(path, lines):
    journal = Journal(path)
    for k in range(lines):
        values = {"core": 0, "verb": "mvm", "phase": "end", "batch": k}
        journal.write(values, blob=bytes([k]) * 9, to_disk=k == 1)
    journal.close()


def test_a_journal_goes_on_behind_a_torn_line_as_if_it_had_not_been(tmp_path):
    whole = tmp_path / "whole.jsonl"
    written(whole, 5)
    lines, blobs = whole.read_bytes(), (tmp_path / "whole.bin").read_bytes()
    third = [i for i, byte in enumerate(lines) if byte == ord("\n")][2] + 1
    for cut in range(third, third + 12):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(lines[:cut])
        (tmp_path / "cut.bin").write_bytes(blobs)  # the array of the torn line came through
        journal = Journal(path)
        assert (journal.lines, journal.torn_bytes) == (3, cut - third)
        for k in (3, 4):
            values = {"core": 0, "verb": "mvm", "phase": "end", "batch": k}
            journal.write(values, blob=bytes([k]) * 9)
        journal.close()
        assert path.read_bytes() == lines
        assert (tmp_path / "cut.bin").read_bytes() == blobs


def test_arrays_lost_with_the_power_end_the_journal_unless_they_had_reached_the_disk(tmp_path):
    path = tmp_path / "j.jsonl"
    written(path, 4)
    blobs = (tmp_path / "j.bin").read_bytes()
    (tmp_path / "j.bin").write_bytes(blobs[:-3])
    assert len(whole_lines(path)) == 3
    assert len(list(read_journal(path))) == 4
    (tmp_path / "j.bin").write_bytes(blobs[:30])  # line 1 was synced
    with pytest.raises(RecordError, match="damaged or cut off"):
        whole_lines(path)


def test_a_missing_line_is_damage_and_named(tmp_path):
    path = tmp_path / "j.jsonl"
    written(path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2] + lines[3])
    with pytest.raises(RecordError, match="line 2 says that it is number 2"):
        list(read_journal(path))
