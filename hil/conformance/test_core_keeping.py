"""What is programmed stays: a chip that was preserved and closed opens as it stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil import Chip, CoreSettings, MvmRequest, open_chip
from hil.conformance.board import Board
from hil.conformance.requests import PulseMaker, inputs


@pytest.mark.pulses(at_most=16)
def test_a_preserved_chip_opens_as_it_stood(
    board: Board, chip: Chip, make_pulses: PulseMaker, tmp_path: Path
) -> None:
    if board.taped:
        pytest.skip("a recording holds one opening: what comes after it is another")
    core = chip.cores[0]
    core.program(make_pulses(core.info))
    core.configure(CoreSettings(output_range=0))
    request = MvmRequest(input_codes=inputs(core.info, 3))
    address = chip.preserve(tmp_path)
    stored = any(tmp_path.iterdir())
    before, settings, info = core.status(), core.settings(), chip.info
    expected = core.mvm(request).output_codes
    chip.close()
    with open_chip(address) as again:
        now, there = again.cores[0].status(), again.cores[0].settings()
        assert (again.serial, again.backend) == (info.serial, info.backend)
        assert again.info.cores == info.cores
        assert (now.generation, now.pulses) == (before.generation, before.pulses)
        assert now.now_s >= before.now_s
        for name in ("output_range", "gain_trim", "offset_trim"):
            assert np.array_equal(getattr(there, name), getattr(settings, name))
        if stored or board.facts.quiet:
            assert np.array_equal(again.cores[0].mvm(request).output_codes, expected)


def test_preserving_writes_one_file_or_nothing_where_the_cells_last(
    board: Board, chip: Chip, tmp_path: Path
) -> None:
    address = chip.preserve(tmp_path)
    written = list(tmp_path.iterdir())
    if written:
        assert len(written) == 1
        assert str(written[0]) in address
        assert not board.facts.silicon
    elif not board.taped:
        assert address == chip.address
