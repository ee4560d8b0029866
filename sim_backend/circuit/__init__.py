"""The tile circuit: bit lines, word lines, pulse-width inputs and oscillator converters."""

from sim_backend.circuit.wire import IdealWire, LadderWire, Wire

__all__ = ["IdealWire", "LadderWire", "Wire"]
