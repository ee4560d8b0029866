"""Options of an address that belong to wires and tile circuit. Knows options and combinations.

With fidelity=circuit: solver (rapid, the default; exact; linear), idle (clamped, the default;
disconnected), input_mode (one_pass, the default; split; bit_serial), wordline_ohm (per cell, with
solver=linear). With any fidelity of a chip with wires: ohm (bit-line resistance per cell).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hil.errors import RequestError
from sim_backend.circuit.network import IdleDevices
from sim_backend.circuit.options import CircuitOptions, SolverName
from sim_backend.circuit.passes import InputMode
from sim_backend.circuit.read_noise import INTEGRATION_NOISE
from sim_backend.circuit.readout import CircuitReadout
from sim_backend.fidelity import Fidelity
from sim_backend.params import WireParams

if TYPE_CHECKING:
    from hil.address import Address
    from sim_backend.effects import Effects
    from sim_backend.params import Preset

__all__ = ["CIRCUIT_OPTIONS", "circuit_of", "circuit_readout", "wired"]

OF_CIRCUIT = ("idle", "input_mode", "solver", "wordline_ohm")
CIRCUIT_OPTIONS = (*OF_CIRCUIT, "ohm")

MOST_OHM = 1000.0
"""Most resistance per cell of a line: some thousand times a real one."""


def circuit_of(address: Address, fidelity: Fidelity) -> CircuitOptions | None:
    """Return the tile circuit that an address asks for; None without fidelity=circuit.

    Raises:
        RequestError: An option of the circuit without one, an unknown value, or a solver that does
            not solve the circuit asked for.
    """
    if fidelity is not Fidelity.CIRCUIT:
        for name in OF_CIRCUIT:
            if name in address.options:
                raise RequestError(
                    f"address {address.text!r}: {name} is an option of the tile circuit; "
                    "add fidelity=circuit"
                )
        return None
    given = CircuitOptions()
    return CircuitOptions(
        solver=SolverName(address.choice("solver", given.solver, tuple(SolverName))),
        idle=IdleDevices(address.choice("idle", given.idle, tuple(IdleDevices))),
        input_mode=InputMode(address.choice("input_mode", given.input_mode, tuple(InputMode))),
        wordline_ohm=address.number("wordline_ohm", given.wordline_ohm, 0.0, MOST_OHM),
    )


def wired(
    address: Address, preset: Preset, effects: Effects, circuit: CircuitOptions | None
) -> Preset:
    """Return the preset with the wires and the times that an address asks for.

    Raises:
        RequestError: A resistance for a chip without wires, or out of range.
    """
    if "ohm" in address.options:
        if preset.wire is None or not effects.wire:
            raise RequestError(
                f"address {address.text!r}: ohm is the resistance of bit lines, and this chip has "
                "ideal ones; leave it out"
            )
        ohm = address.number("ohm", preset.wire.ohm_per_cell, 0.0, MOST_OHM)
        preset = replace(preset, wire=WireParams(ohm_per_cell=ohm))
    if circuit is not None and circuit.input_mode is not InputMode.ONE_PASS:
        assert preset.converters is not None  # noqa: S101 - a circuit has devices and converters
        most = preset.converters.input_max
        preset = replace(preset, mvm_s=(circuit.mvm_s(most, 1), circuit.mvm_s(most, 4)))
    return preset


def circuit_readout(
    circuit: CircuitOptions | None, preset: Preset, effects: Effects
) -> CircuitReadout | None:
    """Return how the tiles of a chip are read; None without a circuit."""
    if circuit is None or preset.converters is None:
        return None
    wire = preset.wire if effects.wire else None
    return CircuitReadout(
        options=circuit,
        ohm_per_cell=0.0 if wire is None else wire.ohm_per_cell,
        max_code=preset.converters.input_max,
        noise=INTEGRATION_NOISE.get(preset.name) if effects.read_noise else None,
    )
