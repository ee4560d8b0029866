"""The tile circuit: bit lines, word lines, pulse-width inputs and oscillator converters."""

from sim_backend.circuit.nodal import (
    EffectiveNet,
    NetCache,
    NetState,
    effective_net,
    net_state,
)
from sim_backend.circuit.nodal_wires import NetWires, ReadEnds
from sim_backend.circuit.wire import IdealWire, LadderWire, Wire

__all__ = [
    "EffectiveNet",
    "IdealWire",
    "LadderWire",
    "NetCache",
    "NetState",
    "NetWires",
    "ReadEnds",
    "Wire",
    "effective_net",
    "net_state",
]
