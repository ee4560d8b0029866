"""One table, scheme -> "package:function", and `open_chip`. Knows names of back-ends, imports none.

Other packages add a scheme through the entry-point group "aimc_hil.backends".
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from hil.address import Address, parse_address
from hil.core import Chip
from hil.errors import RequestError

__all__ = ["ENTRY_POINT_GROUP", "check_address", "known_schemes", "open_chip"]

ENTRY_POINT_GROUP = "aimc_hil.backends"

_BUILT_IN = {
    "sim": "sim_backend.opening:open_sim",
    "loopback": "drivers.loopback:open_loopback",
    "serial": "drivers.serial_transport:open_serial",
    "tcp": "drivers.socket_transport:open_tcp",
    "visa": "drivers.visa_transport:open_visa",
    "record": "drivers.recorder:open_recorded",
    "replay": "drivers.replay:open_replay",
}

Opener = Callable[[Address], Chip]


def known_schemes() -> tuple[str, ...]:
    """Schemes that `open_chip` understands, built-in ones first."""
    extra = sorted(e.name for e in entry_points(group=ENTRY_POINT_GROUP) if e.name not in _BUILT_IN)
    return (*_BUILT_IN, *extra)


def open_chip(address: str) -> Chip:
    """Open the chip at `address`; use the result as a context manager.

    Args:
        address: For example "sim:hermes?cores=2&seed=7" or "loopback:sim:hermes?seed=7".

    Raises:
        RequestError: The scheme or an option is unknown or out of range.
        CoreUnavailableError: Nothing answers there.
    """
    parsed = parse_address(address)
    target = _BUILT_IN.get(parsed.scheme)
    if target is not None:
        module, _, function = target.partition(":")
        opener = cast("Opener", getattr(import_module(module), function))
        return opener(parsed)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == parsed.scheme:
            return cast("Opener", entry.load())(parsed)
    raise _unknown_scheme(parsed)


def check_address(address: str) -> Address:
    """Parse an address and check that a back-end knows its scheme; opens nothing.

    Raises:
        RequestError: The address is malformed or its scheme unknown.
    """
    parsed = parse_address(address)
    if parsed.scheme not in known_schemes():
        raise _unknown_scheme(parsed)
    return parsed


def _unknown_scheme(address: Address) -> RequestError:
    return RequestError(
        f"address {address.text!r}: unknown scheme {address.scheme!r}; "
        f"known: {', '.join(known_schemes())}"
    )
