"""A random but repeatable conversation with a chip, and everything that it said."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from hil.conformance.requests import some_pulses
from hil.core import CellRead, Chip, CoreSettings, MvmRequest
from hil.info import Capability

__all__ = ["transcript"]

_VERBS = 25


def transcript(chip: Chip, rng: np.random.Generator) -> list[Any]:
    """Run a random sequence of verbs on random cores; return every value they gave."""
    seen: list[Any] = [core.info for core in chip.cores]
    for _ in range(_VERBS):
        core = chip.cores[rng.integers(len(chip.cores))]
        info = core.info
        match rng.integers(6):
            case 0:
                family = info.pulses[rng.integers(len(info.pulses))].family
                done = core.program(some_pulses(info, family, few=False))
                seen += [done.outcome, done.pulses, done.at_s]
            case 1 if Capability.CELL_READ in info.capabilities:
                place = rng.integers(0, (info.devices_per_cell, info.rows, info.cols), (9, 3))
                request = CellRead.of(
                    device=place[:, 0], rows=place[:, 1], cols=place[:, 2], averages=2
                )
                cells = core.read(request)
                seen += [cells.codes, cells.saturated, cells.temperature_kelvin, cells.at_s]
            case 2:
                seen.append(core.wait(float(rng.exponential(1e4))))
            case 3:
                which = int(rng.integers(len(info.output_ranges_siemens)))
                core.configure(CoreSettings(output_range=which))
                held = core.settings()
                seen += [getattr(held, f.name) for f in fields(held)]
            case _:
                batch = int(rng.integers(0, 6))
                low, high = info.input.min_code, info.input.max_code + 1
                codes = rng.integers(low, high, (batch, info.rows)).astype(np.int16)
                out = core.mvm(MvmRequest(input_codes=codes))
                seen += [out.output_codes, out.saturated, out.temperature_kelvin, out.at_s]
        seen += [core.status(), core.now_s()]
    return seen
