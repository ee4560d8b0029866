"""SCPI arguments: the data of one command -> integers, SI values, booleans, keywords, bytes.

Every reader takes the next parameter and refuses what it is not, with the standard number. Knows
no command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from protocols.wire.scpi_data import Block, Data, Numeric, Quoted, Word
from protocols.wire.scpi_errors import ScpiError

__all__ = ["KELVIN", "SECOND", "Arguments", "Unit", "short_form"]

_NOT_ALLOWED: dict[type[Data], int] = {Numeric: -128, Word: -148, Quoted: -158, Block: -168}
_EXACT = Context(prec=40, traps=[])  # converts units; the result is rounded to a double once
_MULTIPLIERS = {
    "EX": 18, "PE": 15, "T": 12, "G": 9, "MA": 6, "K": 3, "": 0,
    "M": -3, "U": -6, "N": -9, "P": -12, "F": -15, "A": -18,
}  # fmt: skip  # IEEE 488.2, table 7-2: M is milli, MA is mega
_ZERO_CELSIUS_KELVIN = Decimal("273.15")


@dataclass(frozen=True)
class Unit:
    """A unit and what may stand behind a number: SI value = offset + factor x number."""

    name: str
    suffixes: Mapping[str, tuple[Decimal, Decimal]]


def _with_multipliers(symbol: str) -> dict[str, tuple[Decimal, Decimal]]:
    return {m + symbol: (Decimal(10) ** power, Decimal(0)) for m, power in _MULTIPLIERS.items()}


SECOND = Unit(
    "s",
    {**_with_multipliers("S"), "MIN": (Decimal(60), Decimal(0)), "HR": (Decimal(3600), Decimal(0))},
)
KELVIN = Unit("K", {**_with_multipliers("K"), "CEL": (Decimal(1), _ZERO_CELSIUS_KELVIN)})


def short_form(pattern: str) -> str:
    """Return the capitals of a pattern: MAXimum -> MAX."""
    return "".join(c for c in pattern if not c.islower())


class Arguments:
    """The parameters of one command, taken in order."""

    def __init__(self, parameters: Sequence[Data]) -> None:
        self._parameters = parameters
        self._at = 0

    def __len__(self) -> int:
        """Parameters that are left."""
        return len(self._parameters) - self._at

    def integer(self, name: str, low: int, high: int) -> int:
        """Take a whole number, low ... high; MIN and MAX stand for these, a fraction is rounded.

        Raises:
            ScpiError: -109 ... -168, -222.
        """
        value = self._number_or_limit(Decimal(low), Decimal(high))
        if low - 1 < value < high + 1:
            rounded = int(value.to_integral_value(ROUND_HALF_EVEN))
            if low <= rounded <= high:
                return rounded
        raise ScpiError(-222, f"{name} {_shown(value)} is outside {low}...{high}")

    def real(self, name: str, low: float, high: float, unit: Unit) -> float:
        """Take a value in SI units, low ... high; MIN and MAX stand for these.

        Raises:
            ScpiError: -109 ... -168, -222.
        """
        value = self._number_or_limit(Decimal(low), Decimal(high), unit)
        if not low <= value <= high:
            raise ScpiError(
                -222, f"{name} {_shown(value)} {unit.name} is outside {low:g}...{high:g}"
            )
        return float(value)

    def boolean(self) -> bool:
        """Take ON, OFF or a number, which is false if it rounds to 0."""
        datum = self._take(Numeric, Word)
        if isinstance(datum, Word):
            return self._choose(datum, ("ON", "OFF")) == "ON"
        return not -Decimal("0.5") <= _plain(datum) <= Decimal("0.5")

    def word(self, *patterns: str) -> str:
        """Take one of the keywords, each a pattern like BINary; return its short form."""
        datum = self._take(Word)
        assert isinstance(datum, Word)  # noqa: S101 - _take has checked
        return short_form(self._choose(datum, patterns))

    def text(self) -> str:
        """Take a string."""
        datum = self._take(Quoted)
        assert isinstance(datum, Quoted)  # noqa: S101 - _take has checked
        return datum.text

    def block(self) -> bytes:
        """Take a block."""
        datum = self._take(Block)
        assert isinstance(datum, Block)  # noqa: S101 - _take has checked
        return datum.data

    def next_is(self, kind: type[Data]) -> bool:
        """Whether the next parameter is of a kind."""
        return len(self) > 0 and isinstance(self._parameters[self._at], kind)

    def _take(self, *kinds: type[Data]) -> Data:
        if not len(self):
            raise ScpiError(-109, f"{self._at} parameters were given, one more is needed")
        datum = self._parameters[self._at]
        if not isinstance(datum, kinds):
            raise ScpiError(_NOT_ALLOWED[type(datum)], f"parameter {self._at + 1}")
        self._at += 1
        return datum

    def _choose(self, datum: Word, patterns: Sequence[str]) -> str:
        for pattern in patterns:
            if datum.text in (short_form(pattern), pattern.upper()):
                return pattern
        raise ScpiError(-224, f"{datum.text} is none of {', '.join(patterns)}")

    def _number_or_limit(self, low: Decimal, high: Decimal, unit: Unit | None = None) -> Decimal:
        datum = self._take(Numeric, Word)
        if isinstance(datum, Word):
            return low if self._choose(datum, ("MINimum", "MAXimum")) == "MINimum" else high
        assert isinstance(datum, Numeric)  # noqa: S101 - _take has checked
        if unit is None or not datum.suffix:
            return _plain(datum)
        conversion = unit.suffixes.get(datum.suffix)
        if conversion is None:
            raise ScpiError(-131, f"{datum.suffix} is no unit of {unit.name}")
        factor, offset = conversion
        return _EXACT.add(_EXACT.multiply(datum.value, factor), offset)


def _plain(datum: Data) -> Decimal:
    assert isinstance(datum, Numeric)  # noqa: S101 - the callers have checked
    if datum.suffix:
        raise ScpiError(-138, f"{datum.suffix} stands behind a number without unit")
    return datum.value


def _shown(value: Decimal) -> str:
    return f"{value:.12g}"
