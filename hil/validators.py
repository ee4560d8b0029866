"""Which back-end can be validated, by scheme of its address. Knows names, imports none.

Other packages add one through the entry-point group "aimc_hil.validators".
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from hil.backends import check_address
from hil.errors import RequestError
from hil.progress import Progress, Silent
from hil.validation import Effort, Validation, ValidationRequest

__all__ = ["ENTRY_POINT_GROUP", "validate_backend"]

ENTRY_POINT_GROUP = "aimc_hil.validators"

_BUILT_IN = {"sim": "sim_backend.validation:validate"}

Validator = Callable[[ValidationRequest], Validation]


def validate_backend(
    address: str,
    *,
    only: tuple[str, ...] | None = None,
    effort: Effort = Effort.FULL,
    progress: Progress | None = None,
) -> Validation:
    """Measure how far the back-end behind `address` is from what is published.

    Args:
        address: Address of a chip of that back-end.
        only: Families to measure; None is all.
        effort: How much to measure.
        progress: What to tell how far it is.

    Raises:
        RequestError: The address is not understood, its back-end has nothing to compare itself
            with, or it has no such family.
    """
    parsed = check_address(address)
    validate = _validator(parsed.scheme)
    if validate is None:
        raise RequestError(
            f"nothing is published about what answers at {address!r}: validation compares a model "
            "with its sources. To measure a chip use hil fit; to try what every core owes, "
            "hil conformance",
            scheme=parsed.scheme,
        )
    return validate(
        ValidationRequest(address=parsed, only=only, effort=effort, progress=progress or Silent())
    )


def _validator(scheme: str) -> Validator | None:
    target = _BUILT_IN.get(scheme)
    if target is not None:
        module, _, function = target.partition(":")
        return cast("Validator", getattr(import_module(module), function))
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == scheme:
            return cast("Validator", entry.load())
    return None
