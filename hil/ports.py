"""Ports at which boards may be found, listed without opening any. Knows no pyserial, no PyVISA."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

__all__ = ["FoundPort", "serial_ports", "visa_resources"]

_LISTING = "drivers.listing"


@dataclass(frozen=True, kw_only=True)
class FoundPort:
    """A port as the operating system describes it; what hangs there was not asked.

    Attributes:
        address: What to give as ADDRESS.
        description: Words of the driver.
        hardware: USB vendor and product, or what the system calls it.
        serial: Serial number in the USB descriptor: that of the adapter, not of the chip.
    """

    address: str
    description: str
    hardware: str
    serial: str


class _Listing(Protocol):
    def serial_ports(self) -> tuple[FoundPort, ...]: ...

    def visa_resources(self) -> tuple[FoundPort, ...]: ...


def serial_ports() -> tuple[FoundPort, ...]:
    """List serial ports by what their USB descriptors say; opens none."""
    return cast("_Listing", import_module(_LISTING)).serial_ports()


def visa_resources() -> tuple[FoundPort, ...]:
    """List VISA resources. Some back-ends ask the network: only when a person wants it.

    Raises:
        CoreUnavailableError: There is no VISA here.
    """
    return cast("_Listing", import_module(_LISTING)).visa_resources()
