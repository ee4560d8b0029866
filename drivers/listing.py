"""What ports there are, by the operating system's own tables. Opens none, asks no device."""

from __future__ import annotations

from hil.errors import CoreUnavailableError
from hil.ports import FoundPort

__all__ = ["serial_ports", "visa_resources"]


def serial_ports() -> tuple[FoundPort, ...]:
    """List serial ports with their USB descriptors, by device name."""
    from serial.tools.list_ports import comports

    found = sorted(comports(), key=lambda port: port.device)
    return tuple(
        FoundPort(
            address=f"serial:{port.device}",
            description=" ".join(filter(None, (port.manufacturer, port.product)))
            or str(port.description),
            hardware="" if port.vid is None else f"{port.vid:04x}:{port.pid:04x}",
            serial=port.serial_number or "",
        )
        for port in found
    )


def visa_resources() -> tuple[FoundPort, ...]:
    """List VISA resources; some back-ends ask the network for them.

    Raises:
        CoreUnavailableError: There is no VISA here, or it fails.
    """
    import pyvisa

    try:
        manager = pyvisa.ResourceManager("@py")
        names = sorted(manager.list_resources("?*"))
        manager.close()
    except (ValueError, OSError, pyvisa.Error) as error:
        raise CoreUnavailableError(
            f"VISA resources cannot be listed: {error}; install pyvisa-py, or leave --visa out"
        ) from error
    return tuple(
        FoundPort(address=f"visa:{name}", description="VISA resource", hardware="", serial="")
        for name in names
    )
