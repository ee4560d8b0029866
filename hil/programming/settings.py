"""Hyper-parameters at the door: their names and their ranges. Knows no algorithm."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from hil.errors import RequestError

__all__ = ["require_range", "setting_names"]


def require_range(name: str, value: Any, low: float, high: float) -> None:  # noqa: ANN401 - settings come from text files and command lines
    """Require a finite number within low...high; a whole one where both bounds are ints.

    Raises:
        RequestError: It is not, with the value and the range.
    """
    whole = isinstance(low, int) and isinstance(high, int)
    wanted = "a whole number" if whole else "a number"
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        raise RequestError(
            f"{name} {value!r} is not {wanted}; give one within {low}...{high}", name=name
        )
    if not low <= value <= high:
        raise RequestError(f"{name} {value} is outside {low}...{high}", name=name, value=value)


def setting_names(algorithm: type) -> tuple[str, ...]:
    """Names of the hyper-parameters of an algorithm: its dataclass fields."""
    return tuple(f.name for f in fields(algorithm) if f.init)
