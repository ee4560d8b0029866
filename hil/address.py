"""Addresses: "scheme:rest?key=value&key=value". Splits and checks text; opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, unquote

from hil.errors import RequestError

__all__ = ["Address", "address_with", "escaped", "parse_address"]


@dataclass(frozen=True, kw_only=True)
class Address:
    """A parsed address: scheme, target (what stands before "?") and options as text."""

    text: str
    scheme: str
    target: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Raise for an option that the back-end does not know, naming those it does."""
        for key in self.options:
            if key not in known:
                raise RequestError(
                    f"address {self.text!r}: unknown option {key!r}; known: {', '.join(known)}"
                )

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return option `key` as an integer within low...high, or the default."""
        raw = self.options.get(key)
        if raw is None:
            return default
        try:
            value = int(raw)
        except ValueError as error:
            raise RequestError(f"address {self.text!r}: {key}={raw!r} is not an integer") from error
        if not low <= value <= high:
            raise RequestError(f"address {self.text!r}: {key}={value} is outside {low}...{high}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Return option `key` as a number within low...high, or the default."""
        raw = self.options.get(key)
        if raw is None:
            return default
        try:
            value = float(raw)
        except ValueError as error:
            raise RequestError(f"address {self.text!r}: {key}={raw!r} is not a number") from error
        if not low <= value <= high:
            raise RequestError(f"address {self.text!r}: {key}={raw} is outside {low}...{high}")
        return value

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """Return option `key`, one of `known`, or the default."""
        value = self.options.get(key, default)
        if value not in known:
            raise RequestError(
                f"address {self.text!r}: {key}={value!r} is unknown; known: {', '.join(known)}"
            )
        return value

    def path(self, key: str) -> Path | None:
        """Return option `key` as a path, `escaped` characters decoded; None if it is not there."""
        raw = self.options.get(key)
        return None if raw is None else Path(unquote(raw))


def parse_address(text: str) -> Address:
    """Split an address; raise RequestError if it is malformed or repeats an option."""
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme:
        raise RequestError(
            f"address {text!r} has no scheme; write for example sim:hermes?cores=2&seed=7"
        )
    target, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise RequestError(f"address {text!r}: option {part!r} is not key=value")
        if key in options:
            raise RequestError(f"address {text!r}: option {key!r} is given twice")
        options[key] = value
    return Address(text=text, scheme=scheme, target=target, options=MappingProxyType(options))


def escaped(value: str) -> str:
    """Write what would end an option of an address, and the percent sign, as %xx."""
    return quote(value, safe=" !\"$'()*+,-./:;<=>@[\\]^_`{|}~?#")


def address_with(text: str, **options: int | str | None) -> str:
    """Return an address with options set or replaced; an option of None stays as it is."""
    parsed = parse_address(text)
    chosen = {key: escaped(str(value)) for key, value in options.items() if value is not None}
    merged = {**parsed.options, **chosen}
    query = "&".join(f"{key}={value}" for key, value in merged.items())
    return f"{parsed.scheme}:{parsed.target}" + (f"?{query}" if query else "")
