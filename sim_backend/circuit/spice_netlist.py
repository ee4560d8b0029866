"""Nets of a crossbar as text for ngspice: at rest, and driven by pulse-width inputs. Runs nothing.

Conductances, wires and inputs come as values; the text names node `w<line>_<row>_<col>` on a word
line, `b<row>_<col>` on a bit line, and source `vo<col>` at a converter, whose current is the
output. An ideal wire is one node, an open device is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from hil.errors import RequestError
from sim_backend.circuit.nodal_wires import NetWires

__all__ = ["Idle", "PulseInput", "RestInput", "output_names", "pulse_netlist", "rest_netlist"]

EDGE_S = 1e-12
"""Fall time of an input, s: 1/1000 of a slot, centred on the end of the pulse."""

_SAVED_PER_LINE = 8


class Idle(Enum):
    """What an input does once its pulse is over."""

    CLAMPED = "its devices stay on the bit line, driven at the idle voltage"
    DISCONNECTED = "its devices leave the bit line: their access transistors open"


@dataclass(frozen=True, kw_only=True)
class RestInput:
    """A net at rest, for a batch of input vectors.

    Attributes:
        device_siemens: Conductances, (lines, rows, cols), S; 0 is open.
        wires: Resistances and read ends.
        drive_volt: Driver voltages, (batch, lines, rows), V.
        read_volt: Voltage of all read nodes, V.
    """

    device_siemens: npt.NDArray[np.float64]
    wires: NetWires
    drive_volt: npt.NDArray[np.float64]
    read_volt: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PulseInput:
    """Pairs of devices driven by pulse widths: one input vector, integrated over the window.

    While row i is on, |codes[i]| slots long, the adding device of each of its pairs sees
    `add_volt` and the subtracting one `subtract_volt`; a negative code swaps them. Defaults are
    those of the time-stepped tile of aihwkit (Luquin 2025, arXiv 2506.00004).

    Attributes:
        device_siemens: g+ and g-, (2, rows, cols), S; 0 is open.
        wires: Resistances and read ends.
        codes: Signed pulse widths, (rows,), slots.
        idle: What becomes of a row whose pulse is over.
        slots, slot_s: Length of the window; of a slot, s.
        add_volt, subtract_volt, idle_volt, read_volt: Voltages, V.
    """

    device_siemens: npt.NDArray[np.float64]
    wires: NetWires
    codes: npt.NDArray[np.int64]
    idle: Idle
    slots: int = 127
    slot_s: float = 1e-9
    add_volt: float = 0.6
    subtract_volt: float = 0.2
    idle_volt: float = 0.4
    read_volt: float = 0.4005

    def __post_init__(self) -> None:
        if int(np.abs(self.codes).max(initial=0)) > self.slots:
            raise RequestError(
                f"codes {self.codes.min()}...{self.codes.max()} are outside -{self.slots}..."
                f"{self.slots}, the slots of the window"
            )


def rest_netlist(net: RestInput, raw_name: str) -> str:
    """Return a netlist that writes every output, a point per vector, to `raw_name`.

    The vectors are a sweep of one analysis: ngspice spends its time on ordering the matrix, and
    does it once per analysis. V(vector) is the number of the vector.
    """
    lines, rows, _ = net.device_siemens.shape
    last = len(net.drive_volt) - 1
    text = ["* crossbar at rest", "VVECTOR vector 0 dc 0"]
    for line in range(lines):
        for row in range(rows):
            volts = net.drive_volt[:, line, row]
            points = ", ".join(f"{n}, {_number(volt)}" for n, volt in enumerate(volts))
            past = f"{last + 1}, {_number(volts[-1])}"  # a table needs two points
            text.append(f"BI{line}_{row} s{line}_{row} 0 V=pwl(V(vector), {points}, {past})")
    text += _wires(net.device_siemens.shape, net.wires, net.read_volt)
    text += _resistors(net.device_siemens, net.wires)
    text += _control(net.device_siemens.shape[2], f"dc vvector 0 {last} 1", raw_name)
    return "\n".join(text) + "\n"


def pulse_netlist(net: PulseInput, raw_name: str) -> str:
    """Return a netlist that writes time and every output over the window to `raw_name`.

    A row that is disconnected keeps its drive, as nothing sees it any more: were both to change,
    the current would fall as the square of the edge and its charge be off by a sixth of the edge.
    """
    text = ["* crossbar driven by pulse widths"]
    window_s = net.slots * net.slot_s
    for row, code in enumerate(net.codes.tolist()):
        end_s = abs(code) * net.slot_s
        for line in range(2):
            adds = (code > 0) == (line == 0)
            on = net.add_volt if adds else net.subtract_volt
            off = net.idle_volt if net.idle is Idle.CLAMPED else on
            shape = _pulse(on, off, end_s, window_s)
            text.append(f"VI{line}_{row} s{line}_{row} 0 {shape}")
        if net.idle is Idle.DISCONNECTED:
            text.append(f"VG{row} gate{row} 0 {_pulse(1.0, 0.0, end_s, window_s)}")
    text += _wires(net.device_siemens.shape, net.wires, net.read_volt)
    if net.idle is Idle.CLAMPED:
        text += _resistors(net.device_siemens, net.wires)
    else:
        text += _switched(net.device_siemens, net.wires)
    step = f"tran {_number(net.slot_s)} {_number(window_s)} 0 {_number(net.slot_s)}"
    text += _control(net.device_siemens.shape[2], step, raw_name)
    return "\n".join(text) + "\n"


def output_names(cols: int) -> tuple[str, ...]:
    """Return the names of the output currents in a result, col by col."""
    return tuple(f"i(vo{col})" for col in range(cols))


def _pulse(on: float, off: float, end_s: float, window_s: float) -> str:
    if end_s == 0.0:
        return f"dc {_number(off)}"
    if end_s >= window_s:
        return f"dc {_number(on)}"
    before, after = end_s - EDGE_S / 2, end_s + EDGE_S / 2
    return (
        f"PWL(0 {_number(on)} {_number(before)} {_number(on)} "
        f"{_number(after)} {_number(off)} {_number(2 * window_s)} {_number(off)})"
    )


def _wires(shape: tuple[int, ...], wires: NetWires, read_volt: float) -> Iterator[str]:
    lines, rows, cols = shape
    for line in range(lines):
        for row in range(rows):
            first = _word(wires, line, row, 0)
            yield _segment(f"S{line}_{row}", f"s{line}_{row}", first, wires.source_ohm)
            if wires.word_ohm:
                for col in range(1, cols):
                    left, right = _word(wires, line, row, col - 1), _word(wires, line, row, col)
                    yield _segment(f"W{line}_{row}_{col}", left, right, wires.word_ohm)
    top = wires.read_at_first_row(cols).tolist()
    for col in range(cols):
        if wires.bit_ohm:
            for row in range(1, rows):
                above, below = _bit(wires, row - 1, col), _bit(wires, row, col)
                yield _segment(f"B{row}_{col}", above, below, wires.bit_ohm)
        end = _bit(wires, 0 if top[col] else rows - 1, col)
        yield _segment(f"O{col}", end, f"o{col}", wires.read_ohm)
        yield f"VO{col} o{col} 0 dc {_number(read_volt)}"


def _segment(name: str, one: str, other: str, ohm: float) -> str:
    """Return a wire; an ideal one is a source of 0 V, whose current ngspice knows exactly."""
    return f"R{name} {one} {other} {_number(ohm)}" if ohm else f"VZ{name} {one} {other} dc 0"


def _resistors(device_siemens: npt.NDArray[np.float64], wires: NetWires) -> Iterator[str]:
    for (line, row, col), siemens in np.ndenumerate(device_siemens):
        if siemens:
            ends = f"{_word(wires, line, row, col)} {_bit(wires, row, col)}"
            yield f"RD{line}_{row}_{col} {ends} {_number(1.0 / siemens)}"


def _switched(device_siemens: npt.NDArray[np.float64], wires: NetWires) -> Iterator[str]:
    """Return devices behind ideal switches: conductance times the gate, which goes from 1 to 0."""
    for (line, row, col), siemens in np.ndenumerate(device_siemens):
        if siemens:
            word, bit = _word(wires, line, row, col), _bit(wires, row, col)
            current = f"{_number(siemens)}*V(gate{row})*V({word},{bit})"
            yield f"BD{line}_{row}_{col} {word} {bit} I={current}"


def _control(cols: int, analysis: str, raw_name: str) -> Iterator[str]:
    yield ".options reltol=1e-9 abstol=1e-18 vntol=1e-15 gmin=1e-18"
    names = output_names(cols)
    for first in range(0, cols, _SAVED_PER_LINE):
        yield ".save " + " ".join(names[first : first + _SAVED_PER_LINE])
    yield from (".control", "set filetype=ascii", "set numdgt=16", analysis)
    yield from (f"write {raw_name}", "quit", ".endc", ".end")


def _word(wires: NetWires, line: int, row: int, col: int) -> str:
    return f"w{line}_{row}_{col if wires.word_ohm else 0}"


def _bit(wires: NetWires, row: int, col: int) -> str:
    return f"b{row if wires.bit_ohm else 0}_{col}"


def _number(value: float) -> str:
    return f"{value:.17g}"
