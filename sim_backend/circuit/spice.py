"""A crossbar solved by ngspice: currents at rest, and charge over a window of pulse widths."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from sim_backend.circuit.spice_netlist import (
    PulseInput,
    RestInput,
    output_names,
    pulse_netlist,
    rest_netlist,
)
from sim_backend.circuit.spice_run import SpiceError, run_ngspice

__all__ = ["spice_charges", "spice_currents"]


def spice_currents(net: RestInput, *, timeout_s: float = 600.0) -> npt.NDArray[np.float64]:
    """Return the current into every converter, (batch, cols), A.

    Seconds for 64 x 64 cells, minutes for 128 x 128: ngspice orders a matrix of every node.

    Raises:
        SpiceError: ngspice is missing, failed or took too long.
    """
    result = run_ngspice(partial(rest_netlist, net), timeout_s=timeout_s)
    current = result.columns(output_names(net.device_siemens.shape[2]))
    if len(current) != len(net.drive_volt):
        raise SpiceError(f"ngspice gave {len(current)} points for {len(net.drive_volt)} vectors")
    return current


def spice_charges(net: PulseInput, *, timeout_s: float = 600.0) -> npt.NDArray[np.float64]:
    """Return the charge into every converter over the window, (cols,), C.

    The trapezoidal rule on the points of the analysis is exact but for the edges: nothing in the
    net has a memory, so currents are constant between them.

    Raises:
        SpiceError: ngspice is missing, failed or took too long.
    """
    result = run_ngspice(partial(pulse_netlist, net), timeout_s=timeout_s)
    current = result.columns(output_names(net.device_siemens.shape[2]))
    time = result.columns(("time",))[:, 0]
    window_s = net.slots * net.slot_s
    if abs(time[0]) > 0.0 or abs(time[-1] - window_s) > 1e-6 * net.slot_s:
        raise SpiceError(f"ngspice computed {time[0]}...{time[-1]} s of a window of {window_s} s")
    return np.asarray(np.trapezoid(current, time, axis=0))
