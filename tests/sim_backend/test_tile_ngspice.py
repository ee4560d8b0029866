"""The tile solvers against ngspice: charges of pulse-width windows, in its kept results."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sim_backend.circuit import (
    Drive,
    ExactSolver,
    IdleDevices,
    LinearSolver,
    RapidSolver,
    ReadEnds,
    TileSolver,
    tile_network,
)
from sim_backend.circuit.spice_golden import PulseGolden, golden_names, load_golden

BIT_LINES_ALONE = [n for n in golden_names("pulse") if "words" not in n]


def _charge(kept: PulseGolden, solver: TileSolver) -> Tensor:
    net = kept.net
    assert not net.wires.word_ohm
    assert net.wires.ends is ReadEnds.ALTERNATE
    assert net.wires.read_ohm == pytest.approx(net.wires.bit_ohm / 2)
    plus, minus = torch.from_numpy(net.device_siemens)
    network = tile_network(
        plus,
        minus,
        ohm_per_cell=net.wires.bit_ohm,
        drive=Drive(
            add_volt=net.add_volt,
            subtract_volt=net.subtract_volt,
            idle_volt=net.idle_volt,
            adc_volt=net.read_volt,
            slot_s=net.slot_s,
        ),
        idle=IdleDevices[net.idle.name],
    )
    return solver.prepare(network).charge(torch.from_numpy(net.codes)[None].double(), net.slots)[0]


@pytest.mark.parametrize("name", BIT_LINES_ALONE)
def test_exact_is_the_charge_that_ngspice_integrates(name: str) -> None:
    kept = load_golden(name)
    assert isinstance(kept, PulseGolden)
    error = _charge(kept, ExactSolver()) - torch.from_numpy(kept.charge_coulomb)
    assert error.abs().max() < 1e-8 * kept.full_scale_coulomb


@pytest.mark.parametrize("name", BIT_LINES_ALONE)
def test_the_fast_solvers_stay_near_it(name: str) -> None:
    """One effective matrix is exact with clamped devices; the rapid solver is not, disconnected."""
    kept = load_golden(name)
    assert isinstance(kept, PulseGolden)
    clamped = IdleDevices[kept.net.idle.name] is IdleDevices.CLAMPED
    solver = LinearSolver(dtype=torch.float64) if clamped else RapidSolver()
    limit = 1e-8 if clamped else 0.005 if kept.net.codes.size <= 512 else 0.01
    error = _charge(kept, solver) - torch.from_numpy(kept.charge_coulomb)
    assert error.abs().max() < limit * kept.full_scale_coulomb
