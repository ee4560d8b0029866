"""One table, method name -> algorithm. Imports a method when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from hil.errors import RequestError
from hil.programming.base import ProgrammingAlgorithm
from hil.programming.settings import setting_names

__all__ = ["algorithm", "method_names"]

_METHODS = {
    "verify": "hil.programming.verify:ProgramVerify",
    "gdp": "hil.programming.gradient_descent:GradientDescent",
    "open_loop": "hil.programming.open_loop:OpenLoop",
}


def method_names() -> tuple[str, ...]:
    """Names that `algorithm` understands."""
    return tuple(_METHODS)


def algorithm(name: str, **settings: Any) -> ProgrammingAlgorithm[Any]:  # noqa: ANN401 - every method has its own settings
    """Make the programming algorithm of this name, with these settings.

    Args:
        name: One of `method_names()`.
        settings: Hyper-parameters that differ from the defaults.

    Raises:
        RequestError: The name or a setting is unknown, or a value is out of range.
    """
    target = _METHODS.get(name)
    if target is None:
        raise RequestError(
            f"programming method {name!r} is unknown; known: {', '.join(_METHODS)}", name=name
        )
    module, _, attribute = target.partition(":")
    kind = cast("type[ProgrammingAlgorithm[Any]]", getattr(import_module(module), attribute))
    known = setting_names(kind)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        listed = ", ".join(known) or "none"
        raise RequestError(
            f"method {name} has no setting {unknown[0]!r}; it has: {listed}", unknown=unknown
        )
    return kind(**settings)
