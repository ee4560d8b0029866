"""`sim:` addresses: from address to chip. Knows options and their ranges; physics lives below."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hil.address import address_with
from hil.core import Chip
from hil.errors import RequestError
from hil.info import BackendKind, ChipInfo
from sim_backend.array import PhysicalArray
from sim_backend.chip_info import ideal_info, physical_info
from sim_backend.circuit import IdealWire, LadderWire
from sim_backend.circuit_address import CIRCUIT_OPTIONS, circuit_of, circuit_readout, wired
from sim_backend.clock import Clock
from sim_backend.fidelity import Fidelity
from sim_backend.ideal import IdealArray
from sim_backend.params import PRESETS, Preset
from sim_backend.pcm import Effects, PcmArray
from sim_backend.preset_file import preset_from_file
from sim_backend.sim_core import SimCore
from sim_backend.state import Making, load_state, save_state
from sim_backend.statistical import StatisticalArray, lumped_devices, statistical_info
from sim_backend.streams import Streams

if TYPE_CHECKING:
    from hil.address import Address
    from hil.info import CoreInfo
    from sim_backend.circuit.options import CircuitOptions
    from sim_backend.device_array import DeviceArray
    from sim_backend.params import ConverterParams, DeviceParams

__all__ = ["SimSetup", "build_chip", "open_sim"]

OPTIONS = (
    "adc_bits",
    "compute",
    "cores",
    "cols",
    "devices",
    "fidelity",
    "noise",
    "off",
    "params",
    "rows",
    "seed",
    "serial",
    "state",
    *CIRCUIT_OPTIONS,
)


@dataclass(frozen=True, kw_only=True)
class SimSetup:
    """What a simulated chip is made of.

    Attributes:
        preset: The chip type, array size included.
        address: The address it answers to.
        serial: Its serial number.
        seed: Seed of all its random streams.
        cores: Number of cores.
        devices_per_polarity: PCM devices per cell and polarity.
        compute: Where tensors live.
        effects: Which effects it has.
        fidelity: How much physics stands behind a pulse.
        circuit: Its tile circuit; None has the wire's effective matrix.
        state: File with the state to go on from; None is a chip as delivered.
    """

    preset: Preset
    address: str
    serial: str
    seed: int = 0
    cores: int = 1
    devices_per_polarity: int = 1
    compute: torch.device = field(default_factory=lambda: torch.device("cpu"))
    effects: Effects = field(default_factory=Effects)
    fidelity: Fidelity = Fidelity.PULSE
    circuit: CircuitOptions | None = None
    state: Path | None = None

    @property
    def made(self) -> Making:
        """What tells this chip from all others."""
        return Making(
            preset=self.preset.name,
            serial=self.serial,
            seed=self.seed,
            cores=self.cores,
            rows=self.preset.rows,
            cols=self.preset.cols,
            devices_per_polarity=self.devices_per_polarity,
            compute=self.compute.type,
            fidelity=self.fidelity,
            circuit=() if self.circuit is None else self.circuit.words,
            effects_off=tuple(f.name for f in fields(Effects) if not getattr(self.effects, f.name)),
            parameters=Making.digest(self.preset),
        )


def open_sim(address: Address) -> Chip:
    """Open "sim:PRESET?key=value&...".

    Options: cores, rows, cols, devices (per polarity), fidelity (statistical|pulse|circuit), seed,
    adc_bits (2...12), ohm (per cell of the bit lines), compute (cpu|cuda), serial, noise=off (no
    read and no converter noise), off=EFFECT+EFFECT (any of the effects), params=FILE (a preset
    file: its values in place of the preset's; it is another chip then), state=FILE (go on as
    `Chip.preserve` left it; the file is only read). With fidelity=circuit also those of
    `circuit_address`.

    Raises:
        RequestError: Unknown preset, option or value; the state of another chip.
        RecordError: The state file or the preset file is missing or damaged.
    """
    return build_chip(_setup(address))


def build_chip(setup: SimSetup) -> Chip:
    """Make the chip that a setup describes; its cores share one clock.

    Raises:
        RequestError: The state is that of another chip.
        RecordError: The state file is missing or damaged.
    """
    clock = Clock()
    cores = tuple(_core(setup, index, clock) for index in range(setup.cores))
    if setup.state is not None:
        now_s, kept = load_state(setup.state, setup.made)
        clock.advance(now_s)
        for core, snapshot in zip(cores, kept, strict=True):
            core.restore(snapshot)
    info = ChipInfo(
        serial=setup.serial,
        backend=BackendKind.SIM,
        model=cores[0].info.model,
        address=setup.address,
        cores=tuple(core.info for core in cores),
    )

    def preserve(folder: Path) -> str:
        path = save_state(folder, setup.made, clock.now_s, [core.snapshot() for core in cores])
        return address_with(setup.address, state=str(path))

    return Chip(info=info, cores=cores, _preserve=preserve)


def _core(setup: SimSetup, index: int, clock: Clock) -> SimCore:
    preset, effects = setup.preset, setup.effects
    shape = (2 * setup.devices_per_polarity, preset.rows, preset.cols)
    if preset.device is None or preset.converters is None:
        ideal = ideal_info(preset, shape, serial=setup.serial, index=index)
        return SimCore(ideal, IdealArray(ideal), clock)
    streams = Streams(setup.seed, index, setup.compute)
    info, pcm = _devices(setup, preset.device, preset.converters, streams, index)
    wire = preset.wire if effects.wire else None
    array = PhysicalArray(
        info=info,
        pcm=pcm,
        wire=IdealWire() if wire is None else LadderWire(ohm_per_cell=wire.ohm_per_cell),
        converters=preset.converters,
        streams=streams,
        device=setup.compute,
        effects=effects,
        readout=circuit_readout(setup.circuit, preset, effects),
    )
    return SimCore(info, array, clock)


def _devices(
    setup: SimSetup, device: DeviceParams, converters: ConverterParams, streams: Streams, index: int
) -> tuple[CoreInfo, DeviceArray]:
    """The devices of a core, and what the core says of itself."""
    each, compute, effects = setup.devices_per_polarity, setup.compute, setup.effects
    one_for_all = setup.fidelity is Fidelity.STATISTICAL
    if one_for_all:
        device = lumped_devices(device, each)
    shape = (2 if one_for_all else 2 * each, setup.preset.rows, setup.preset.cols)
    info = physical_info(setup.preset, device, converters, shape, serial=setup.serial, index=index)
    if one_for_all:
        devices = StatisticalArray(device, shape, streams, compute, effects)
        return statistical_info(info, each), devices
    return info, PcmArray(device, shape, streams, compute, effects)


def _setup(address: Address) -> SimSetup:
    preset = PRESETS.get(address.target)
    if preset is None:
        raise RequestError(
            f"address {address.text!r}: unknown preset {address.target!r}; "
            f"known: {', '.join(PRESETS)}"
        )
    address.refuse_unknown(OPTIONS)
    file = address.path("params")
    mark = ""
    if file is not None:
        preset = preset_from_file(file, preset)
        mark = f"-{Making.digest(preset)[:6].upper()}"  # other parameters are another chip
    seed = address.integer("seed", 0, 0, 2**62)
    allowed = tuple(str(n) for n in preset.devices_per_polarity)
    converters = preset.converters
    bits = address.integer("adc_bits", 8 if converters is None else converters.adc_bits, 2, 12)
    if converters is not None:
        converters = replace(converters, adc_bits=bits)
    effects = _effects(address)
    fidelity = _fidelity(address, preset)
    circuit = circuit_of(address, fidelity)
    return SimSetup(
        preset=replace(
            wired(address, preset, effects, circuit),
            rows=address.integer("rows", preset.rows, 1, 4096),
            cols=address.integer("cols", preset.cols, 1, 4096),
            converters=converters,
        ),
        address=address.text,
        serial=address.options.get("serial", f"{_serial(preset, fidelity, seed)}{mark}"),
        seed=seed,
        cores=address.integer("cores", 1, 1, 64),
        devices_per_polarity=int(address.choice("devices", allowed[0], allowed)),
        compute=_compute(address),
        effects=effects,
        fidelity=fidelity,
        circuit=circuit,
        state=address.path("state"),
    )


def _fidelity(address: Address, preset: Preset) -> Fidelity:
    known = (Fidelity.PULSE,) if preset.device is None else tuple(Fidelity)
    return Fidelity(address.choice("fidelity", Fidelity.PULSE, known))


def _serial(preset: Preset, fidelity: Fidelity, seed: int) -> str:
    """Serial number of a chip without one: what answers otherwise is another chip."""
    kind = "" if fidelity is Fidelity.PULSE else f"-{fidelity.upper()}"
    return f"SIM-{preset.name.upper()}{kind}-{seed:07d}"


def _compute(address: Address) -> torch.device:
    name = address.choice("compute", "cpu", ("cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            f"address {address.text!r}: compute=cuda, but torch sees no CUDA device; "
            "use compute=cpu"
        )
    return torch.device(name)


def _effects(address: Address) -> Effects:
    noise = address.choice("noise", "on", ("on", "off"))
    names = tuple(f.name for f in fields(Effects))
    off = set(filter(None, address.options.get("off", "").split("+")))
    if noise == "off":
        off |= {"read_noise", "output_noise"}
    unknown = sorted(off.difference(names))
    if unknown:
        raise RequestError(
            f"address {address.text!r}: off={unknown[0]!r} is no effect; known: {', '.join(names)}"
        )
    return Effects(**dict.fromkeys(off, False))
