"""The tile circuit: bit lines, word lines, pulse-width inputs and oscillator converters."""

from sim_backend.circuit.exact import ExactSolver
from sim_backend.circuit.linear import EffectiveTile, LinearSolver
from sim_backend.circuit.network import Drive, IdleDevices, LineNetwork, padding, tile_network
from sim_backend.circuit.rapid import RapidSolver
from sim_backend.circuit.solver import PreparedTile, TileSolver
from sim_backend.circuit.wire import IdealWire, LadderWire, Wire

__all__ = [
    "Drive",
    "EffectiveTile",
    "ExactSolver",
    "IdealWire",
    "IdleDevices",
    "LadderWire",
    "LineNetwork",
    "LinearSolver",
    "PreparedTile",
    "RapidSolver",
    "TileSolver",
    "Wire",
    "padding",
    "tile_network",
]
