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
from sim_backend.clock import Clock
from sim_backend.ideal import IdealArray
from sim_backend.params import PRESETS, Preset
from sim_backend.pcm import Effects, PcmArray
from sim_backend.preset_file import preset_from_file
from sim_backend.sim_core import SimCore
from sim_backend.state import Making, load_state, save_state
from sim_backend.streams import Streams

if TYPE_CHECKING:
    from hil.address import Address

__all__ = ["SimSetup", "build_chip", "open_sim"]

OPTIONS = (
    "adc_bits",
    "compute",
    "cores",
    "cols",
    "devices",
    "noise",
    "off",
    "params",
    "rows",
    "seed",
    "serial",
    "state",
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
            effects_off=tuple(f.name for f in fields(Effects) if not getattr(self.effects, f.name)),
            parameters=Making.digest(self.preset),
        )


def open_sim(address: Address) -> Chip:
    """Open "sim:PRESET?key=value&...".

    Options: cores, rows, cols, devices (per polarity), seed, adc_bits (2...12), compute (cpu|cuda),
    serial, noise=off (no read and no converter noise), off=EFFECT+EFFECT (any of the effects),
    params=FILE (a preset file: its values in place of the preset's; it is another chip then),
    state=FILE (go on as `Chip.preserve` left it; the file is only read).

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
        model=setup.preset.name,
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
    info = physical_info(
        preset, preset.device, preset.converters, shape, serial=setup.serial, index=index
    )
    wired = preset.wire if effects.wire else None
    array = PhysicalArray(
        info=info,
        pcm=PcmArray(preset.device, shape, streams, setup.compute, effects),
        wire=IdealWire() if wired is None else LadderWire(ohm_per_cell=wired.ohm_per_cell),
        converters=preset.converters,
        streams=streams,
        device=setup.compute,
        effects=effects,
    )
    return SimCore(info, array, clock)


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
    return SimSetup(
        preset=replace(
            preset,
            rows=address.integer("rows", preset.rows, 1, 4096),
            cols=address.integer("cols", preset.cols, 1, 4096),
            converters=converters,
        ),
        address=address.text,
        serial=address.options.get("serial", f"SIM-{preset.name.upper()}-{seed:07d}{mark}"),
        seed=seed,
        cores=address.integer("cores", 1, 1, 64),
        devices_per_polarity=int(address.choice("devices", allowed[0], allowed)),
        compute=_compute(address),
        effects=_effects(address),
        state=address.path("state"),
    )


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
