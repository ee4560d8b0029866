"""Mapping: encoding and its inverse, tiles that cover, places that do not overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from hil import RequestError
from hil.mapping import (
    Block,
    CoreSize,
    Placement,
    Scaling,
    balanced_lengths,
    encode_weights,
    place_blocks,
    place_in_rounds,
    tile_matrix,
)

G_MAX = 2e-5
MATRICES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-1e6, 1e6, allow_subnormal=True),
)


@given(MATRICES, st.sampled_from(Scaling))
def test_decode_undoes_encode(weights: np.ndarray, scaling: Scaling) -> None:
    encoded = encode_weights(weights, scaling=scaling)
    np.testing.assert_allclose(encoded.decode(), weights, rtol=1e-12, atol=1e-300)
    assert np.abs(encoded.to_siemens(G_MAX)).max() <= G_MAX
    assert (encoded.scale > 0).all()


@given(MATRICES, st.sampled_from(Scaling), st.integers(1, 300))
def test_rounding_to_levels_errs_by_half_a_level(
    weights: np.ndarray, scaling: Scaling, levels: int
) -> None:
    encoded = encode_weights(weights, scaling=scaling, levels=levels)
    error = np.abs(encoded.decode() - weights)
    assert (error <= encoded.scale / levels * 0.5000001 + 1e-300).all()
    codes = encoded.fraction * levels
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-9)


def test_per_column_scale_uses_the_whole_range_of_each_col() -> None:
    weights = np.array([[1.0, -0.01, 0.0], [-4.0, 0.002, 0.0]])
    per_col = encode_weights(weights, scaling="per_column").to_siemens(G_MAX)
    whole = encode_weights(weights, scaling="per_matrix").to_siemens(G_MAX)
    np.testing.assert_allclose(np.abs(per_col).max(axis=0), [G_MAX, G_MAX, 0.0])
    np.testing.assert_allclose(np.abs(whole).max(axis=0) / G_MAX, [1.0, 0.0025, 0.0])


def test_zeros_encode_to_zeros() -> None:
    for scaling in Scaling:
        encoded = encode_weights(np.zeros((3, 2)), scaling=scaling)
        assert not encoded.decode().any()
        assert np.isfinite(encoded.scale).all()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.array([[1.0, np.nan]]), ("nan", "row 0, col 1", "finite")),
        (np.array([[1.0], [-np.inf]]), ("-inf", "row 1, col 0")),
        (np.zeros((0, 3)), ("(0, 3)", "empty")),
        (np.zeros(3), ("(3,)", "(rows, cols)")),
        (np.array([["a"]]), ("dtype",)),
        (np.array([[1j]]), ("dtype",)),
    ],
)
def test_what_is_no_matrix_is_refused(weights: np.ndarray, words: tuple[str, ...]) -> None:
    with pytest.raises(RequestError) as caught:
        encode_weights(weights, name="conv3")
    assert all(word in str(caught.value) for word in ("conv3", *words))


def test_unknown_scaling_lists_the_known() -> None:
    with pytest.raises(RequestError, match=r"per_row.*per_matrix, per_column"):
        encode_weights(np.ones((2, 2)), scaling="per_row")


@given(st.integers(1, 5000), st.integers(1, 600))
def test_parts_are_fewest_and_equal(total: int, largest: int) -> None:
    parts = balanced_lengths(total, largest)
    assert sum(parts) == total
    assert max(parts) <= largest
    assert max(parts) - min(parts) <= 1
    assert len(parts) == -(-total // largest)


def test_504_rows_become_two_equal_blocks() -> None:
    blocks = tile_matrix("conv6", 504, 56, max_rows=256, max_cols=256)
    assert [(b.row, b.rows, b.cols) for b in blocks] == [(0, 252, 56), (252, 252, 56)]


def covers(placements: list[Placement], layers: list[tuple[str, int, int]]) -> None:
    """Every weight has exactly one cell; every cell at most one weight (of a round)."""
    seen = {name: np.zeros((rows, cols), int) for name, rows, cols in layers}
    for placement in placements:
        cells = [np.zeros((c.rows, c.cols), int) for c in placement.cores]
        for b in placement.blocks:
            seen[b.layer][b.row : b.row + b.rows, b.col : b.col + b.cols] += 1
            core = cells[b.core][b.core_row : b.core_row + b.rows, b.core_col : b.core_col + b.cols]
            assert core.shape == (b.rows, b.cols)
            core += 1
        assert max(int(c.max()) for c in cells) <= 1
    assert all((count == 1).all() for count in seen.values())


def tiles(layers: list[tuple[str, int, int]], rows: int, cols: int) -> list[Block]:
    return [b for n, r, c in layers for b in tile_matrix(n, r, c, max_rows=rows, max_cols=cols)]


def test_analognet_kws_fits_one_large_array_at_57_percent() -> None:
    layers = [
        ("conv0", 40, 84),
        ("conv1", 756, 112),
        ("conv2", 1008, 84),
        ("conv3", 756, 84),
        ("conv4", 756, 84),
        ("dense", 84, 12),
    ]
    placement = place_blocks(tiles(layers, 1024, 512), [CoreSize(rows=1024, cols=512)])
    covers([placement], layers)
    assert placement.utilisation == pytest.approx(0.5736, abs=5e-5)
    assert len(placement.blocks) == 6


def test_two_core_resnet9_fits_in_whole_252_row_blocks() -> None:
    layers = [
        ("conv0", 27, 28),
        *[(f"conv{k}", 252, 28) for k in range(1, 5)],
        ("conv5", 252, 56),
        ("conv6", 504, 56),
        ("conv7", 504, 56),
        ("dense", 56, 10),
    ]
    placement = place_blocks(tiles(layers, 256, 256), [CoreSize(rows=256, cols=256)] * 2)
    covers([placement], layers)
    assert len(placement.blocks) == 11


SIZES = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=8)


@settings(max_examples=60)
@given(SIZES, st.integers(1, 3))
def test_a_network_fits_exactly_if_it_has_cells_enough(
    sizes: list[tuple[int, int]], cores: int
) -> None:
    layers = [(f"l{k}", r, c) for k, (r, c) in enumerate(sizes)]
    arrays = [CoreSize(rows=40, cols=32)] * cores
    need = sum(r * c for r, c in sizes)
    blocks = tiles(layers, 40, 32)
    if need <= 40 * 32 * cores:
        placement = place_blocks(blocks, arrays)
        covers([placement], layers)
        assert placement.cells_used == need
        assert placement == place_blocks(blocks, arrays)
        assert Placement.model_validate_json(placement.model_dump_json()) == placement
    else:
        with pytest.raises(RequestError, match="reprogram"):
            place_blocks(blocks, arrays)
    covers(place_in_rounds(blocks, arrays), layers)


def test_refusal_names_layer_size_free_cells_and_next_step() -> None:
    layers = [("small", 100, 100), ("big", 300, 200)]
    with pytest.raises(RequestError) as caught:
        place_blocks(tiles(layers, 256, 256), [CoreSize(rows=256, cols=256)])
    text = str(caught.value)
    for word in ("'big'", "300 x 200", "60000 cells", "55536 of 65536", 'plan = "reprogram"'):
        assert word in text
    assert caught.value.fields["free"] == 55536


def test_rounds_refuse_a_block_larger_than_every_core() -> None:
    block = Block(layer="wide", row=0, col=0, rows=10, cols=300)
    with pytest.raises(RequestError, match=r"10 x 300.*tile it first"):
        place_in_rounds([block], [CoreSize(rows=256, cols=256)])


@pytest.mark.parametrize(
    "change", [{"core": 1}, {"core_col": 5}, {"core_row": 7}, {"core_row": 0, "core_col": 1}]
)
def test_a_document_that_overlaps_or_leaves_the_array_is_refused(change: dict[str, int]) -> None:
    block = {"layer": "a", "row": 0, "col": 0, "rows": 4, "cols": 4, "core": 0}
    good = {
        "cores": [{"rows": 8, "cols": 8}],
        "blocks": [
            {**block, "core_row": 0, "core_col": 0},
            {**block, "core_row": 4, "core_col": 4},
        ],
    }
    assert Placement.model_validate(good).cells_used == 32
    bad = {**good, "blocks": [good["blocks"][0], {**good["blocks"][1], **change}]}
    with pytest.raises(ValidationError):
        Placement.model_validate(bad)
