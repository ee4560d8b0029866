"""SCPI command tree: headers <-> what they stand for. Knows no parameter and no device.

A pattern is the notation of the standard: capitals are the short form, brackets enclose a node
that may be left out, # stands for a number, a question mark ends a query. For example
`[CORE#:]CONFigure:RANGe?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protocols.wire.scpi import Command
from protocols.wire.scpi_arguments import short_form
from protocols.wire.scpi_errors import ScpiError

__all__ = ["CommandTree", "Found"]

T = TypeVar("T")

_OPTIONAL = re.compile(r"\[([^][]*)\]")
_NUMBERED = re.compile(r"(.*?[A-Z_*])([0-9]+)")
_MAX_SUFFIX_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Found(Generic[T]):
    """What a header stands for.

    Attributes:
        target: What the tree was given for it.
        pattern: The pattern it fits.
        numbers: Number behind each numbered mnemonic of the header, by its short form; 1 where
            none was sent. A mnemonic that was left out is not there.
    """

    target: T
    pattern: str
    numbers: Mapping[str, int]


@dataclass
class _Node(Generic[T]):
    name: str = ""
    numbered: bool = False
    children: dict[str, _Node[T]] = field(default_factory=dict)
    ends: dict[bool, tuple[str, T]] = field(default_factory=dict)  # query or not -> pattern, target


class CommandTree(Generic[T]):
    """All commands of a device, in the notation of the standard."""

    def __init__(self, commands: Mapping[str, T]) -> None:
        """Take pattern -> target.

        Raises:
            ValueError: Two patterns fit one header, or two names share a short form.
        """
        self.patterns = tuple(commands)
        self._root: _Node[T] = _Node()
        for pattern, target in commands.items():
            for header in _expand(pattern.removesuffix("?")):
                self._add(header.strip(":").split(":"), pattern, target)

    def find(self, command: Command) -> Found[T]:
        """Return what a command's header stands for.

        Raises:
            ScpiError: -113 no such header; -114 a number where none belongs.
        """
        node = self._root
        numbers: dict[str, int] = {}
        for mnemonic in command.path:
            child, number = _child(node, mnemonic)
            if child is None:
                raise ScpiError(-113, command.header)
            if number is not None and not child.numbered:
                raise ScpiError(-114, f"{mnemonic} takes no number")
            if child.numbered:
                numbers[short_form(child.name)] = 1 if number is None else number
            node = child
        end = node.ends.get(command.query)
        if end is None:
            detail = "has no query" if command.query else "is a query or stands above a command"
            raise ScpiError(-113, f"{command.header} {detail}" if node.ends else command.header)
        return Found(target=end[1], pattern=end[0], numbers=numbers)

    def _add(self, names: list[str], pattern: str, target: T) -> None:
        node = self._root
        for name in names:
            plain, numbered = name.removesuffix("#"), name.endswith("#")
            child = node.children.get(short_form(plain))
            if child is None:
                child = _Node(name=plain, numbered=numbered)
            if (child.name, child.numbered) != (plain, numbered):
                raise ValueError(f"{pattern}: {name} and {child.name} have one short form")
            for form in {short_form(plain), plain.upper()}:
                if node.children.setdefault(form, child) is not child:
                    raise ValueError(f"{pattern}: {form} stands for two names")
            node = child
        if node.ends.setdefault(pattern.endswith("?"), (pattern, target))[0] != pattern:
            raise ValueError(f"{pattern} and another pattern fit one header")


def _child(node: _Node[T], mnemonic: str) -> tuple[_Node[T] | None, int | None]:
    exact = node.children.get(mnemonic)
    if exact is not None:
        return exact, None
    found = _NUMBERED.fullmatch(mnemonic)
    if found is None:
        return None, None
    child = node.children.get(found[1])
    if child is not None and len(found[2]) > _MAX_SUFFIX_DIGITS:
        raise ScpiError(-114, f"{mnemonic} has more than {_MAX_SUFFIX_DIGITS} digits")
    return child, int(found[2]) if child is not None else None


def _expand(pattern: str) -> Iterator[str]:
    optional = _OPTIONAL.search(pattern)
    if optional is None:
        yield pattern
        return
    before, after = pattern[: optional.start()], pattern[optional.end() :]
    yield from _expand(before + after)
    yield from _expand(before + optional[1] + after)
