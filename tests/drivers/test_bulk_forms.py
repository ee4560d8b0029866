"""Bulk forms: packed codes, regions, pulse maps and seeded inputs stand for what they replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import translate_bulk
from drivers.board_core import BoardCore
from drivers.packing import pack_codes, unpack_codes
from drivers.seeded_inputs import seeded_batch
from drivers.translate_bulk import SeededMvm
from hil import CellRead, Chip, CoreInfo, DeviceFaultError
from hil.core import Pulse, Window
from hil.info import PulseFamily
from hil.stimulus import InputKind
from hil.units import CodeScale
from protocols.wire.errors import RemoteProtocolError
from protocols.wire.seeded import seeded_codes
from protocols.wire.vocabulary import Distribution

Opened = Callable[..., tuple[Any, Chip]]
SCALES = {
    (0, 1): 1,
    (-1, 0): 1,
    (0, 3): 2,
    (-2, 1): 2,
    (-7, 7): 4,
    (-127, 127): 8,
    (0, 255): 8,
    (-512, 511): 12,
    (0, 4095): 12,
    (-30_000, 30_000): 16,
    (0, 65_535): 16,
    (-100_000, 100_000): 32,
}


@given(st.sampled_from(sorted(SCALES)), st.integers(0, 40), st.integers(0, 2**32))
def test_codes_are_a_bit_string_with_the_first_in_the_lowest_bits(
    limits: tuple[int, int], count: int, seed: int
) -> None:
    scale = CodeScale(min_code=limits[0], max_code=limits[1], step=1.0, unit="1")
    codes = np.random.default_rng(seed).integers(limits[0], limits[1] + 1, count)
    bits, data = pack_codes(codes, scale)
    assert bits == SCALES[limits]
    number = sum((int(code) % (1 << bits)) << (bits * k) for k, code in enumerate(codes))
    assert data == number.to_bytes(-(-bits * count // 8), "little")
    assert np.array_equal(unpack_codes(bits, data, scale, count), codes)


def test_a_bit_string_of_another_length_or_packing_is_refused() -> None:
    scale = CodeScale(min_code=-7, max_code=7, step=1.0, unit="1")
    for bits, data, count in ((4, b"\0\0", 5), (4, b"\0\0\0\0", 5), (3, b"\0\0", 5), (0, b"", 0)):
        with pytest.raises(RemoteProtocolError, match="are not"):
            unpack_codes(bits, data, scale, count)
    with pytest.raises(DeviceFaultError, match="leave the scale"):
        pack_codes(np.array([8]), scale)


@given(
    st.sampled_from(Distribution),
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**64 - 1),
            "first": st.integers(0, 2**40),
            "batch": st.integers(1, 12),
            "inputs": st.integers(1, 9),
            "full": st.sampled_from([1, 7, 127, 32_767]),
        }
    ),
)
def test_a_batch_is_drawn_as_the_reference_draws_it(
    distribution: Distribution, place: dict[str, int]
) -> None:
    drawn = seeded_batch(distribution, **place)
    assert drawn.ravel().tolist() == list(seeded_codes(distribution, **place))


@pytest.mark.parametrize("kind", InputKind)
def test_a_seeded_product_is_the_product_of_what_it_draws(opened: Opened, kind: InputKind) -> None:
    line, chip = opened()
    core = chip.cores[0]
    assert isinstance(core, BoardCore)
    rng = np.random.default_rng(1)
    line.device.device.chip.cores[0].cells[:] = rng.integers(0, 9, (2, 6, 5))
    request = SeededMvm(
        kind=kind, seed=2**63 + 5, first=3, batch=40, window=Window(row=1, col=2, rows=4, cols=3)
    )
    before = core.board.statistics.sent_bytes
    seeded = core.mvm_seeded(request)
    assert core.board.statistics.sent_bytes - before < 100
    drawn = request.drawn(core.info)
    assert np.array_equal(seeded.output_codes, core.mvm(drawn).output_codes)
    assert drawn.input_codes.any()


def test_a_region_stands_for_its_list_and_no_other_list_becomes_one(make_cells: Any) -> None:
    info: CoreInfo = make_cells().cores[0].info
    rows, cols = np.repeat(np.arange(1, 4), 3), np.tile(np.arange(2, 5), 3)
    whole = CellRead.of(device=1, rows=rows, cols=cols, averages=7)
    message = translate_bulk.region_to_wire(whole)
    assert message is not None
    back = translate_bulk.region_from_wire(info, message)
    for name in ("device", "rows", "cols"):
        assert np.array_equal(getattr(back, name), getattr(whole, name))
    assert back.averages == 7
    for change in ({"rows": rows[::-1]}, {"cols": np.roll(cols, 1)}, {"device": rows % 2}):
        given_ = {"device": 1, "rows": rows, "cols": cols, **change}
        assert translate_bulk.region_to_wire(CellRead.of(**given_)) is None


def test_a_map_stands_for_its_list_entry_by_entry(make_cells: Any) -> None:
    info: CoreInfo = make_cells().cores[0].info
    rng = np.random.default_rng(2)
    maps = 0
    for _ in range(200):
        cells = np.sort(rng.choice(60, rng.integers(1, 60), replace=False))
        rows, cols, device = cells // 10, cells % 10 // 2, cells % 2
        pulse = Pulse.of(
            PulseFamily.SET,
            device=device,
            rows=rows,
            cols=cols,
            amplitude=np.where(device, 9, 3),
            width=np.where(device, 2, 1),
            count=3,
        )
        message = translate_bulk.map_to_wire(info, pulse, token=1, mutation=1)
        if message is None:
            continue
        maps += 1
        back = translate_bulk.map_from_wire(info, message)
        for name in ("device", "rows", "cols", "amplitude", "width", "count"):
            assert np.array_equal(getattr(back, name), getattr(pulse, name)), name
    assert maps > 100
