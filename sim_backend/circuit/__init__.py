"""The tile circuit: bit lines, word lines, pulse-width inputs and oscillator converters."""

from sim_backend.circuit.exact import ExactSolver
from sim_backend.circuit.linear import EffectiveTile, LinearSolver
from sim_backend.circuit.network import Drive, IdleDevices, LineNetwork, padding, tile_network
from sim_backend.circuit.nodal import (
    EffectiveNet,
    NetCache,
    NetState,
    effective_net,
    net_state,
)
from sim_backend.circuit.nodal_wires import NetWires, ReadEnds
from sim_backend.circuit.rapid import RapidSolver
from sim_backend.circuit.solver import PreparedTile, TileSolver
from sim_backend.circuit.wire import IdealWire, LadderWire, Wire
from sim_backend.circuit.word_lines import tile_wires, word_line_tile

__all__ = [
    "Drive",
    "EffectiveNet",
    "EffectiveTile",
    "ExactSolver",
    "IdealWire",
    "IdleDevices",
    "LadderWire",
    "LineNetwork",
    "LinearSolver",
    "NetCache",
    "NetState",
    "NetWires",
    "PreparedTile",
    "RapidSolver",
    "ReadEnds",
    "TileSolver",
    "Wire",
    "effective_net",
    "net_state",
    "padding",
    "tile_network",
    "tile_wires",
    "word_line_tile",
]
