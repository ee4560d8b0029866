"""The fuzz target runs, reaches both decoders and repeats itself."""

from __future__ import annotations

import pytest

from protocols.wire.fuzz import BUFFER_BYTES, WINDOW, fuzz_decoders


@pytest.mark.parametrize("seed", range(3))
def test_no_stream_gets_more_than_documented_errors_out_of_the_decoders(seed):
    report = fuzz_decoders(seed=seed, cases=80)
    assert report.cases == 80
    assert report.decoded > 40
    assert report.dropped > 50
    assert report.peak_bytes <= BUFFER_BYTES + WINDOW * 8192 + 4 * (1 << 20)


def test_a_seed_repeats_its_run():
    assert fuzz_decoders(seed=9, cases=20) == fuzz_decoders(seed=9, cases=20)


def test_a_run_ends_when_it_is_told_to():
    answers = iter([False, False, True])
    assert fuzz_decoders(seed=1, until=lambda: next(answers)).cases == 3
