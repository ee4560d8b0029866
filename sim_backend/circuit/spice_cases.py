"""Crossbars to compare with a circuit simulator, by recipe: patterns, seeds, wires. Solves nothing.

The same recipe gives the same bits for ever: numbers come from SHAKE-256, not from a library's
generator, and through nothing but addition and multiplication.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sim_backend.circuit.nodal_wires import NetWires, ReadEnds
from sim_backend.circuit.spice_netlist import Idle, PulseInput, RestInput

__all__ = ["CASES", "Case", "Codes", "Pattern", "PulseCase", "RestCase", "inputs_sha256"]

G_MIN_SIEMENS = 0.25e-6  # S, lowest of the window that the peers' comparison uses
G_MAX_SIEMENS = 25e-6  # S, g_max of the 90 nm set (device and circuit models, 2.2)
STUCK_SIEMENS = 10 * G_MAX_SIEMENS  # S, a short far above any programmed state
SWING_VOLT = 0.2  # V, full-scale input (device and circuit models, 6)
SLOTS = 127  # full-scale pulse width, slots (device and circuit models, 6)
WEIGHT_SIGMA = 0.246  # of the reference's Gaussian weights (device and circuit models, 8)


class Pattern(Enum):
    """How conductances lie in the array."""

    RANDOM = "random"  # uniform over the window
    WEIGHTS = "weights"  # one device of a pair by a bell-shaped weight, the other open; pairs only
    ALL_ON = "all-on"  # all at the highest
    ONE_SIDED = "one-sided"  # g+ at the highest, g- at the lowest; pairs only
    FAR_HALF = "far-half"  # the half far from the converters at the highest, the rest at the lowest
    CHECKERBOARD = "checkerboard"  # highest and lowest in turn
    FARTHEST_CELL = "farthest-cell"  # only the one farthest from driver and converter is not lowest
    STUCK_ROW = "stuck-row"  # uniform, the middle row stuck at ten times the highest
    SPARSE = "sparse"  # uniform, three in ten open


class Codes(Enum):
    """Pulse widths of the rows."""

    RANDOM = "random"  # signed, uniform, every second row at 0
    FULL = "full"  # all at full width
    STAIRS = "stairs"  # longer by the row, signs in turn


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resistances(_Document):
    """`NetWires` as a document."""

    word_ohm: float
    bit_ohm: float
    source_ohm: float
    read_ohm: float
    ends: Literal["BOTTOM", "ALTERNATE"]

    def wires(self) -> NetWires:
        """Return the value."""
        return NetWires(
            word_ohm=self.word_ohm,
            bit_ohm=self.bit_ohm,
            source_ohm=self.source_ohm,
            read_ohm=self.read_ohm,
            ends=ReadEnds[self.ends],
        )


class _Array(_Document):
    pattern: Pattern
    lines: int
    rows: int
    cols: int
    seed: int
    wires: Resistances

    def device_siemens(self) -> npt.NDArray[np.float64]:  # noqa: PLR0911 - one per pattern
        """Return conductances, (lines, rows, cols), S."""
        shape = (self.lines, self.rows, self.cols)
        low, high = np.full(shape, G_MIN_SIEMENS), np.full(shape, G_MAX_SIEMENS)
        uniform = np.asarray(low + (high - low) * _uniform(self.seed, "devices", shape))
        top = self.wires.wires().read_at_first_row(self.cols).numpy()
        row = np.arange(self.rows)[:, None]
        farness = np.broadcast_to(np.where(top, row, self.rows - 1 - row), shape)
        match self.pattern:
            case Pattern.RANDOM:
                return uniform
            case Pattern.WEIGHTS:
                parts = _uniform(self.seed, "weights", (3, self.rows, self.cols))
                weight = 2.0 * WEIGHT_SIGMA * (parts[0] + parts[1] + parts[2] - 1.5)
                signed = np.stack([weight, -weight])[: self.lines]
                return np.asarray(np.maximum(signed, 0.0) * G_MAX_SIEMENS)
            case Pattern.ALL_ON:
                return high
            case Pattern.ONE_SIDED:
                return np.concatenate([high[:1], low[1:]])
            case Pattern.FAR_HALF:
                return np.where(2 * farness >= self.rows, high, low)
            case Pattern.CHECKERBOARD:
                return np.where((row + np.arange(self.cols)) % 2 == 0, high, low)
            case Pattern.FARTHEST_CELL:
                last = np.arange(self.cols) == self.cols - 1
                return np.where((farness == self.rows - 1) & last, high, low)
            case Pattern.STUCK_ROW:
                return np.where(row == self.rows // 2, STUCK_SIEMENS, uniform)
            case Pattern.SPARSE:
                return np.where(_uniform(self.seed, "open", shape) < 0.3, 0.0, uniform)


class RestCase(_Array):
    """A net at rest under three inputs: all full, signed random, and the first row alone."""

    kind: Literal["rest"] = "rest"
    read_volt: float = 0.0

    def build(self) -> RestInput:
        """Return the net."""
        shape = (self.lines, self.rows)
        drive = np.zeros((3, *shape))
        drive[0] = SWING_VOLT
        drive[1] = SWING_VOLT * (2.0 * _uniform(self.seed, "drive", shape) - 1.0)
        drive[2, :, 0] = SWING_VOLT
        if self.lines == 2:  # a pair is driven apart, about the read node
            drive[:, 1] = -drive[:, 0]
        return RestInput(
            device_siemens=self.device_siemens(),
            wires=self.wires.wires(),
            drive_volt=drive,
            read_volt=self.read_volt,
        )


class PulseCase(_Array):
    """Pairs driven by pulse widths over one window."""

    kind: Literal["pulse"] = "pulse"
    lines: Literal[2] = 2
    codes: Codes
    idle: Literal["CLAMPED", "DISCONNECTED"]

    def build(self) -> PulseInput:
        """Return the net."""
        row = np.arange(self.rows)
        codes = np.full(self.rows, SLOTS)
        if self.codes is Codes.RANDOM:
            whole = np.floor((2 * SLOTS + 1) * _uniform(self.seed, "codes", (self.rows,)))
            codes = np.where(row % 2 == 0, whole.astype(np.int64) - SLOTS, 0)
        elif self.codes is Codes.STAIRS:
            codes = (1 + row * (SLOTS - 1) // max(1, self.rows - 1)) * np.where(row % 2, -1, 1)
        return PulseInput(
            device_siemens=self.device_siemens(),
            wires=self.wires.wires(),
            codes=codes.astype(np.int64),
            idle=Idle[self.idle],
            slots=SLOTS,
        )


Case = Annotated[RestCase | PulseCase, Field(discriminator="kind")]


def inputs_sha256(net: RestInput | PulseInput) -> str:
    """Return a digest of all numbers of a net."""
    digest = hashlib.sha256(net.device_siemens.tobytes())
    digest.update((net.drive_volt if isinstance(net, RestInput) else net.codes).tobytes())
    return digest.hexdigest()


def _uniform(seed: int, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1) of 53 bits, a stream of its own for every name."""
    count = int(np.prod(shape))
    raw = hashlib.shake_256(f"{seed}/{name}".encode()).digest(8 * count)
    whole = np.frombuffer(raw, dtype="<u8") >> np.uint64(11)
    return (whole.astype(np.float64) * 2.0**-53).reshape(shape)


_EQUAL = Resistances(word_ohm=1.0, bit_ohm=1.0, source_ohm=1.0, read_ohm=1.0, ends="BOTTOM")
_PAIR = Resistances(word_ohm=2.0, bit_ohm=0.35, source_ohm=50.0, read_ohm=10.0, ends="ALTERNATE")
_COARSE = Resistances(
    word_ohm=100.0, bit_ohm=100.0, source_ohm=100.0, read_ohm=0.0, ends="ALTERNATE"
)
_LINE_15 = Resistances(word_ohm=0.0, bit_ohm=0.15, source_ohm=0.0, read_ohm=0.075, ends="ALTERNATE")
_LINE_35 = Resistances(word_ohm=0.0, bit_ohm=0.35, source_ohm=0.0, read_ohm=0.175, ends="ALTERNATE")
_SINGLE = (
    Pattern.RANDOM,
    Pattern.ALL_ON,
    Pattern.FAR_HALF,
    Pattern.CHECKERBOARD,
    Pattern.FARTHEST_CELL,
    Pattern.STUCK_ROW,
)
"""Patterns of the square nets."""


def _rest(pattern: Pattern, shape: tuple[int, int, int], wires: Resistances) -> RestCase:
    lines, rows, cols = shape
    read_volt = 0.0005 if lines == 2 else 0.0  # that of the time-stepped tile, from its idle level
    return RestCase(
        pattern=pattern,
        lines=lines,
        rows=rows,
        cols=cols,
        seed=5,
        wires=wires,
        read_volt=read_volt,
    )


def _pulses(
    pattern: Pattern, rows: int, cols: int, wires: Resistances, codes: Codes
) -> dict[str, PulseCase]:
    """Return a case per idle mode, by the end of its name."""
    return {
        idle.lower(): PulseCase(
            pattern=pattern, rows=rows, cols=cols, seed=6, wires=wires, codes=codes, idle=idle
        )
        for idle in ("CLAMPED", "DISCONNECTED")
    }


def _named() -> dict[str, RestCase | PulseCase]:
    named: dict[str, RestCase | PulseCase] = {}
    for size in (8, 16, 32, 64):
        for pattern in _SINGLE:
            name = f"rest-{size}-{pattern.value}"
            named[name] = _rest(pattern, (1, size, size), _EQUAL)
    named["rest-128-random"] = _rest(Pattern.RANDOM, (1, 128, 128), _EQUAL)
    named["rest-16x256-random"] = _rest(Pattern.RANDOM, (1, 16, 256), _EQUAL)
    named["rest-256x16-random"] = _rest(Pattern.RANDOM, (1, 256, 16), _EQUAL)
    named["rest-256x16-all-on"] = _rest(Pattern.ALL_ON, (1, 256, 16), _EQUAL)
    for size in (8, 32):
        named[f"rest-pair-{size}-sparse"] = _rest(Pattern.SPARSE, (2, size, size), _PAIR)
        named[f"rest-pair-{size}-stuck-row"] = _rest(Pattern.STUCK_ROW, (2, size, size), _PAIR)
    named["rest-pair-31x17-coarse"] = _rest(Pattern.RANDOM, (2, 31, 17), _COARSE)
    named["rest-pair-256-lines"] = _rest(Pattern.RANDOM, (2, 256, 256), _LINE_35)
    pulses = {
        "pulse-8x8-words": (Pattern.RANDOM, 8, 8, _PAIR, Codes.RANDOM),
        "pulse-64-weights": (Pattern.WEIGHTS, 64, 4, _LINE_15, Codes.RANDOM),
        "pulse-64-stairs": (Pattern.ALL_ON, 64, 2, _LINE_35, Codes.STAIRS),
        "pulse-256-stuck-row": (Pattern.STUCK_ROW, 256, 2, _LINE_15, Codes.RANDOM),
        "pulse-256-far-half": (Pattern.FAR_HALF, 256, 2, _LINE_35, Codes.STAIRS),
        "pulse-256-one-sided": (Pattern.ONE_SIDED, 256, 2, _LINE_35, Codes.RANDOM),
        "pulse-512-one-sided": (Pattern.ONE_SIDED, 512, 2, _LINE_15, Codes.FULL),
        "pulse-512-weights": (Pattern.WEIGHTS, 512, 4, _LINE_15, Codes.RANDOM),
        "pulse-512-all-on": (Pattern.ALL_ON, 512, 2, _LINE_15, Codes.FULL),
        "pulse-1008-weights": (Pattern.WEIGHTS, 1008, 2, _LINE_35, Codes.RANDOM),
    }
    for name, recipe in pulses.items():
        named |= {f"{name}-{idle}": case for idle, case in _pulses(*recipe).items()}
    return named


CASES = _named()
"""Every case that has a golden result."""
