"""From input codes to output codes through the tile circuit: passes, charges, noise, oscillators.

An MVM is a number of conversions: one per pass of the input mode and, with four read phases, per
sign combination, of inputs of one sign with devices of one polarity, all read with one polarity of
the voltage. Each conversion loses its unfinished oscillation; counts are added up digitally.
Knows devices as conductances and their noise, and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.linear import line_shares
from sim_backend.circuit.network import IdleDevices, LineNetwork, tile_network
from sim_backend.circuit.oscillator import counts
from sim_backend.circuit.passes import Pass, passes
from sim_backend.circuit.read_noise import mean_on_ns
from sim_backend.circuit.word_lines import tile_wires, word_line_tile

if TYPE_CHECKING:
    from sim_backend.circuit.options import CircuitOptions
    from sim_backend.circuit.read_noise import IntegrationNoise
    from sim_backend.circuit.solver import PreparedTile
    from sim_backend.deviates import NormalSource

__all__ = ["Adc", "CircuitReadout", "TileDevices", "TileReadout"]

TYPICAL_LOADING = 0.25
"""Share of a tile's conductance on the line that noise is attenuated by where idle devices are
disconnected: half of the inputs on, for half of the window [asm]. Noise is a few percent of the
signal, and what the wire takes of it is a few percent of that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileDevices:
    """Devices of a tile at one moment.

    Attributes:
        plus_siemens, minus_siemens: What adds and what subtracts in each cell, S.
        plus_variance, minus_variance: Variance of what each shows anew at every MVM, S^2.
    """

    plus_siemens: Float[Tensor, "rows cols"]
    minus_siemens: Float[Tensor, "rows cols"]
    plus_variance: Float[Tensor, "rows cols"]
    minus_variance: Float[Tensor, "rows cols"]

    def of(self, polarity: int) -> TileDevices:
        """Return the devices of one polarity as adding ones, beside none that subtract."""
        nothing = torch.zeros_like(self.plus_siemens)
        plus = polarity > 0
        return TileDevices(
            plus_siemens=self.plus_siemens if plus else self.minus_siemens,
            minus_siemens=nothing,
            plus_variance=self.plus_variance if plus else self.minus_variance,
            minus_variance=nothing,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Adc:
    """The converters of some cols.

    Attributes:
        gain: Oscillations over nominal ones.
        offset_counts: Counts of the offset current over the whole window of one pass.
        noise_variance: Counts squared of the converter's noise over such a window, one element.
        count_coulomb: Charge of one oscillation, C.
    """

    gain: Float[Tensor, " cols"]
    offset_counts: Float[Tensor, " cols"]
    noise_variance: Float[Tensor, " 1"]
    count_coulomb: float


@dataclass(frozen=True, kw_only=True)
class CircuitReadout:
    """How the tiles of a core are read.

    Attributes:
        options: Circuit, solver and input mode.
        ohm_per_cell: Bit-line resistance per cell, ohm.
        max_code: Highest input code.
        noise: Read noise against integration time; None where it was not measured, or is off.
    """

    options: CircuitOptions
    ohm_per_cell: float
    max_code: int
    noise: IntegrationNoise | None

    def prepare(self, devices: TileDevices) -> TileReadout:
        """Return the readout of a tile whose devices stay as they are."""
        return TileReadout(readout=self, devices=devices)

    def count_coulomb(self, step_siemens: float) -> float:
        """Charge of one oscillation, C, where a count stands for so many siemens.

        The count of a col that conducts `step_siemens` net and whose inputs are on for the window.
        Of the ranges of an array, the one nearest to 62.4 MHz/µA, 16 fC [code aihwkit], is that
        with a step near 0.63 µS: 80 µS at 8 bits.
        """
        drive = self.options.drive
        return step_siemens * _swing(self) * drive.slot_s * self.max_code


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reading:
    """One way to read a tile: its circuit, and the variance of its charge per slot squared, C^2."""

    tile: PreparedTile
    variance: Float[Tensor, "terms_rows cols"]

    def only_cols(self, cols: slice) -> _Reading:
        return _Reading(tile=self.tile.only_cols(cols), variance=self.variance[:, cols])


@dataclass(frozen=True, kw_only=True, eq=False)
class TileReadout:
    """A tile of known conductances; what is prepared is kept."""

    readout: CircuitReadout
    devices: TileDevices
    _kept: dict[tuple[int, int, int], _Reading] = field(default_factory=dict, init=False)

    def one_phase(
        self, codes: Float[Tensor, "batch rows"], cols: slice, adc: Adc, draws: Draws
    ) -> Float[Tensor, "batch cols"]:
        """Convert all signs at once; return counts, whole numbers."""
        return self._converted(self._reading(0, cols), codes, adc, draws)

    def four_phase(
        self, codes: Float[Tensor, "batch rows"], cols: slice, adc: Adc, draws: Draws
    ) -> Float[Tensor, "batch cols"]:
        """Convert one sign combination after the other; return counts, whole numbers.

        What the four conversions have in common, such as an offset, falls out of their sum.
        """
        out = codes.new_zeros((codes.shape[0], adc.gain.shape[0]))
        for polarity in (1, -1):
            reading = self._reading(polarity, cols)
            for sign in (1, -1):
                chosen = (codes * sign).clamp(min=0)
                out = out + sign * polarity * self._converted(reading, chosen, adc, draws)
        return out

    def _converted(
        self, reading: _Reading, codes: Float[Tensor, "batch rows"], adc: Adc, draws: Draws
    ) -> Float[Tensor, "batch cols"]:
        made = list(passes(codes, self.readout.options.input_mode, self.readout.max_code))
        shape = (codes.shape[0], adc.gain.shape[0])
        per_coulomb = adc.gain / adc.count_coulomb
        shared = self._shared_noise(reading, codes, made, draws) if len(made) > 1 else None
        out = codes.new_zeros(shape)
        for index, each in enumerate(made):
            charge = reading.tile.charge(each.widths, each.slots).to(codes.dtype)
            if shared is not None:
                charge = charge + shared[index]
            share = each.slots / self.readout.max_code
            variance = self._variance(reading, each.widths, alone=shared is not None)
            of_devices = variance.sqrt() * per_coulomb
            noise = (of_devices.square() + adc.noise_variance * share).sqrt()
            noise = noise * draws.conversion.draw(*shape)
            oscillations = charge * per_coulomb + adc.offset_counts * share + noise
            out = out + each.factor * counts(oscillations)
        return out

    def _shared_noise(
        self, reading: _Reading, codes: Tensor, made: list[Pass], draws: Draws
    ) -> list[Float[Tensor, "batch cols"]]:
        """Noise charges of each pass from what devices show all through an MVM.

        Their sum has the variance of the whole code; each has its part by its own.
        """
        whole = self._slow_variance(reading, codes).sqrt()
        parts = [self._slow_variance(reading, each.widths).sqrt() for each in made]
        weighted = sum((p * each.factor for p, each in zip(parts, made, strict=True)), 0 * whole)
        z = draws.shared.draw(*whole.shape) * whole / weighted.clamp(min=1e-30)
        return [z * part for part in parts]

    def _slow_variance(self, reading: _Reading, widths: Tensor) -> Float[Tensor, "batch cols"]:
        rows = widths.shape[1]
        return widths.square() @ reading.variance[:rows]

    def _variance(
        self, reading: _Reading, widths: Tensor, *, alone: bool
    ) -> Float[Tensor, "batch cols"]:
        """Variance of the charge of one pass, C^2; `alone`: of what no other pass shares."""
        squares = widths.square()
        noise = self.readout.noise
        if noise is None:
            return 0 * squares @ reading.variance if alone else squares @ reading.variance
        mean, some = mean_on_ns(widths, self.readout.options.drive.slot_s)
        slope, offset = squares.new_zeros((2, len(squares)))
        slope[some], offset[some] = noise.coefficients(mean)
        terms = (slope.square(), 2 * slope * offset, offset.square())
        seen = [squares * term[:, None] for term in terms]
        if alone:
            return torch.cat(seen, 1) @ reading.variance[widths.shape[1] :]
        return torch.cat([squares, *seen], 1) @ reading.variance

    def _reading(self, polarity: int, cols: slice) -> _Reading:
        """Polarity 0 is both; prepared once, and once for each set of cols."""
        total = self.devices.plus_siemens.shape[1]
        start, stop, _ = cols.indices(total)
        key = (polarity, start, stop)
        if key not in self._kept:
            if (start, stop) != (0, total):
                self._kept[key] = self._reading(polarity, slice(0, total)).only_cols(cols)
            else:
                self._kept[key] = self._prepared(polarity)
        return self._kept[key]

    def _prepared(self, polarity: int) -> _Reading:
        options = self.readout.options
        read, loading = self.devices, None
        if polarity:
            read = self.devices.of(polarity)
            if options.idle is IdleDevices.CLAMPED:
                loading = self.devices.of(-polarity).plus_siemens
        network = tile_network(
            read.plus_siemens.double(),  # symmetric potentials must stay so to rounding
            read.minus_siemens.double(),
            ohm_per_cell=self.readout.ohm_per_cell,
            drive=options.drive,
            idle=options.idle,
            loading_siemens=None if loading is None else loading.double(),
        )
        swing = _swing(self.readout) * options.drive.slot_s
        power = (_noise_shares(network).to(read.plus_siemens) * swing).square()
        terms = [(read.plus_variance + read.minus_variance) * power]
        if self.readout.noise is not None:
            net = (read.plus_siemens - read.minus_siemens).abs()
            terms += [net.square() * power, net * power, power]
        return _Reading(tile=self._solved(network, polarity), variance=torch.cat(terms))

    def _solved(self, network: LineNetwork, polarity: int) -> PreparedTile:
        options = self.readout.options
        if not options.wordline_ohm:
            return options.solver.make().prepare(network)
        return word_line_tile(
            self.devices.plus_siemens,
            self.devices.minus_siemens,
            wires=tile_wires(self.readout.ohm_per_cell, options.wordline_ohm),
            drive=options.drive,
            read=(0, 1) if polarity == 0 else ((1 - polarity) // 2,),
        ).to(self.devices.plus_siemens.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Running streams of deviates.

    Attributes:
        conversion: What every conversion sees of its own.
        shared: What the passes of an MVM see in common; drawn from only where there are several.
    """

    conversion: NormalSource
    shared: NormalSource


def _noise_shares(network: LineNetwork) -> Float[Tensor, "rows cols"]:
    loading = network.idle_siemens
    if not network.fixed:
        loading = loading + TYPICAL_LOADING * (network.on_siemens - loading)
    return line_shares(network, loading)


def _swing(readout: CircuitReadout) -> float:
    """Voltage that an input puts on a pair, V: half of what is between its two devices."""
    drive = readout.options.drive
    return float((drive.add_volt - drive.subtract_volt) / 2)
