"""What is programmed stays: a chip that was preserved and closed opens as it stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil import Chip, open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse
from hil.info import BackendKind, Capability, PulseFamily


def _some_cells(chip: Chip) -> dict[str, np.ndarray]:
    info = chip.cores[0].info
    n = min(info.rows, info.cols, 12)
    index = np.arange(n)
    return {"device": index % info.devices_per_cell, "rows": index, "cols": index}


def _answers(chip: Chip) -> list[np.ndarray]:
    core = chip.cores[0]
    codes = np.full((3, core.info.rows), core.info.input.max_code, core.info.input.dtype)
    seen = [core.mvm(MvmRequest(input_codes=codes)).output_codes]
    if Capability.CELL_READ in core.info.capabilities:
        seen.append(core.read(CellRead.of(**_some_cells(chip))).codes)
    return seen


def test_a_preserved_chip_opens_as_it_stood(chip: Chip, tmp_path: Path) -> None:
    core, cells = chip.cores[0], _some_cells(chip)
    limits = core.info.limits(PulseFamily.RESET)
    assert limits is not None
    amplitude = (limits.amplitude.min_code + limits.amplitude.max_code) // 3
    core.program(Pulse.of(PulseFamily.RESET, **cells, amplitude=amplitude, width=1))
    core.configure(CoreSettings(output_range=0))
    address = chip.preserve(tmp_path)
    before, settings, info = core.status(), core.settings(), chip.info
    expected = _answers(chip)
    chip.close()
    with open_chip(address) as again:
        now, there = again.cores[0].status(), again.cores[0].settings()
        assert (again.serial, again.backend) == (info.serial, info.backend)
        assert again.info.cores == info.cores
        assert (now.generation, now.pulses) == (before.generation, before.pulses)
        assert now.now_s >= before.now_s
        for name in ("output_range", "gain_trim", "offset_trim"):
            assert np.array_equal(getattr(there, name), getattr(settings, name))
        if info.backend is BackendKind.SIM:
            assert all(map(np.array_equal, _answers(again), expected))


def test_preserving_silicon_writes_nothing_and_a_simulator_one_file(
    chip: Chip, tmp_path: Path
) -> None:
    address = chip.preserve(tmp_path)
    written = list(tmp_path.iterdir())
    if chip.backend is BackendKind.SILICON:
        assert (address, written) == (chip.address, [])
    else:
        assert len(written) == 1
        assert str(written[0]) in address
