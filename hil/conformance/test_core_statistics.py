"""What every core owes to its cells under noise: laws of means, with few pulses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hil import CellRead, Chip, Core, CoreSettings, MvmRequest, Pulse, PulseFamily
from hil.conformance.requests import block_places, inputs
from hil.info import Capability

Codes = np.ndarray[Any, Any]
REPEATS = 64
"""Looks at the same thing; their mean is known to an eighth of their spread."""
SIGMAS = 6.0
"""Standard errors that a difference may have: exceeded by chance once in 5e8."""
QUANTUM = 1.0
"""What a converter's step adds to a difference of means, codes."""


def difference_limit(a: Codes, b: Codes) -> Codes:
    """How far means over axis 0 may lie apart, codes."""
    error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    return np.asarray(SIGMAS * error + QUANTUM)


def zero_outputs(core: Core) -> Codes:
    codes = np.zeros((min(REPEATS, core.info.max_batch), core.info.rows), np.int16)
    return core.mvm(MvmRequest(input_codes=codes)).output_codes.astype(float)


def cell_codes(core: Core, places: tuple[Codes, Codes, Codes]) -> Codes:
    device, rows, cols = places
    request = CellRead.of(device=device, rows=rows, cols=cols)
    return np.stack([core.read(request).codes.astype(float) for _ in range(16)])


def reset_pulse(core: Core, places: tuple[Codes, Codes, Codes]) -> Pulse:
    limits = core.info.limits(PulseFamily.RESET)
    if limits is None:
        pytest.skip("this core has no reset pulses")
    device, rows, cols = places
    return Pulse.of(
        PulseFamily.RESET,
        device=device,
        rows=rows,
        cols=cols,
        amplitude=core.info.device.reset_amplitude_codes[-1],
        width=limits.width.min_code,
    )


@pytest.mark.pulses(at_most=8)
def test_on_average_zero_input_gives_the_offset_whatever_the_cells_hold(chip: Chip) -> None:
    core = chip.cores[0]
    core.configure(CoreSettings(output_range=0))
    before = zero_outputs(core)
    device, rows, cols = (place[:8] for place in block_places(core.info))
    core.program(reset_pulse(core, (device, rows, cols)))
    after = zero_outputs(core)
    apart = np.abs(after.mean(axis=0) - before.mean(axis=0))
    assert (apart <= difference_limit(before, after)).all()


@pytest.mark.pulses(at_most=8)
def test_on_average_a_pulse_moves_its_own_devices_and_no_neighbour(chip: Chip) -> None:
    core = chip.cores[0]
    if Capability.CELL_READ not in core.info.capabilities:
        pytest.skip("this core reads no single cells")
    places = block_places(core.info)
    chosen = np.zeros(places[0].size, bool)
    chosen[:: max(2, places[0].size // 8)] = True
    chosen[np.flatnonzero(chosen)[8:]] = False
    device, rows, cols = places
    before = cell_codes(core, places)
    core.program(reset_pulse(core, (device[chosen], rows[chosen], cols[chosen])))
    after = cell_codes(core, places)
    apart = np.abs(after.mean(axis=0) - before.mean(axis=0))
    limit = difference_limit(before, after)
    assert (apart <= limit)[~chosen].all()
    fell = (after.mean(axis=0) <= before.mean(axis=0) + limit)[chosen]
    assert fell.mean() > 0.5  # the strongest RESET raises no device; a stuck one may stay


def test_on_average_a_batch_gives_what_its_vectors_give_alone(chip: Chip) -> None:
    core = chip.cores[0]
    core.configure(CoreSettings(output_range=len(core.info.output_ranges_siemens) - 1))
    x = inputs(core.info, 1)
    together = core.mvm(MvmRequest(input_codes=np.repeat(x, REPEATS, axis=0)))
    alone = [core.mvm(MvmRequest(input_codes=x)).output_codes[0] for _ in range(REPEATS)]
    one, other = together.output_codes.astype(float), np.stack(alone).astype(float)
    apart = np.abs(one.mean(axis=0) - other.mean(axis=0))
    assert (apart <= difference_limit(one, other)).all()
