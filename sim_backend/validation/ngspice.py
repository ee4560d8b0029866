"""Exact solvers against ngspice: nets at rest, and pulse-width inputs integrated over a window.

ngspice need not be installed: its results are kept, with the nets they belong to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from hil.validation import Tolerance
from sim_backend.circuit.exact import ExactSolver
from sim_backend.circuit.network import Drive, IdleDevices, LineNetwork, tile_network
from sim_backend.circuit.nodal import effective_net
from sim_backend.circuit.spice_golden import PulseGolden, RestGolden, golden_names, load_golden
from sim_backend.circuit.spice_netlist import Idle, PulseInput
from sim_backend.validation.base import Family, FamilyResult, Measuring, Reference

__all__ = ["NGSPICE"]

PERCENT = 100.0
SPICE_LIMIT = 1e-4
"""Goal, over full scale."""
LONGEST_QUICK_ROWS = 256


def _measure(measuring: Measuring) -> FamilyResult:
    """Largest error of every kept net, over its full scale."""
    rows = []
    for name in golden_names():
        kept = load_golden(name)
        size = kept.net.device_siemens[0].shape
        if not measuring.full and size[0] > LONGEST_QUICK_ROWS:
            continue
        if isinstance(kept, RestGolden):
            what, worst = "net at rest", _rest_error(kept)
        elif kept.net.wires.word_ohm or kept.net.wires.source_ohm:
            continue  # word lines are in the net at rest; the tile circuit has ideal ones
        else:
            what, worst = "pulse widths over a window", _pulse_error(kept)
        rows.append(_reference(what).row(name, PERCENT * SPICE_LIMIT, PERCENT * worst))
        measuring.task.say(name)
        measuring.task.advance()
    return FamilyResult(rows=rows)


def _rest_error(kept: RestGolden) -> float:
    found = effective_net(torch.from_numpy(kept.net.device_siemens), kept.net.wires)
    ours = found.currents(torch.from_numpy(kept.net.drive_volt), kept.net.read_volt).numpy()
    return float(np.abs(ours - kept.output_ampere).max() / kept.full_scale_ampere)


def _pulse_error(kept: PulseGolden) -> float:
    widths = torch.from_numpy(kept.net.codes.astype(np.float64))[None]
    charge = ExactSolver().prepare(_network(kept.net)).charge(widths, kept.net.slots)
    return float(np.abs(charge.numpy()[0] - kept.charge_coulomb).max() / kept.full_scale_coulomb)


def _network(net: PulseInput) -> LineNetwork:
    """The bit lines of a net that was given to ngspice."""
    drive = Drive(
        add_volt=net.add_volt,
        subtract_volt=net.subtract_volt,
        idle_volt=net.idle_volt,
        adc_volt=net.read_volt,
        slot_s=net.slot_s,
    )
    clamped = net.idle is Idle.CLAMPED
    made = tile_network(
        torch.from_numpy(net.device_siemens[0]),
        torch.from_numpy(net.device_siemens[1]),
        ohm_per_cell=net.wires.bit_ohm,
        drive=drive,
        idle=IdleDevices.CLAMPED if clamped else IdleDevices.DISCONNECTED,
    )
    return replace(made, from_bottom=~net.wires.read_at_first_row(made.cols))


def _reference(what: str) -> Reference:
    return Reference(
        family=NGSPICE.name,
        group=f"exact solver, {what}, worst of full scale",
        source="ngspice",
        unit="%",
        judged=Tolerance.AT_MOST,
        tolerance=0.0,
    )


NGSPICE = Family(name="ngspice", measure=_measure, steps=(len(golden_names()),) * 2)
