"""`visa:` addresses: a board behind a VISA resource.

PyVISA opens and owns the resource. Bulk bytes never pass its byte-wise I/O: a socket of PyVISA-py
is read and written in blocks on its own descriptor; a serial port named by an ASRL resource is
opened by our serial transport, because PyVISA-py reads it byte by byte, shares it and moves DTR.
Sockets of other VISA libraries are read frame by frame, by the zero byte that ends one. Resources
with message boundaries (USBTMC, HiSLIP, VXI-11, GPIB) carry the frames in blocks of DIAG:FRAM?.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from drivers.board import LinkTiming, open_board
from drivers.message_transport import MessageTransport
from drivers.ports import DescriptorTransport
from drivers.ports_options import BOARD_OPTIONS, lease_of, patience_of
from drivers.serial_transport import DEFAULT_BAUD, open_serial_port, serial_timing
from drivers.socket_transport import DEFAULT_BYTES_PER_S
from drivers.transport import Transport
from drivers.visa_messages import StreamTransport, VisaChannel
from hil.address import Address
from hil.core import Chip
from hil.errors import CoreUnavailableError, RequestError

if TYPE_CHECKING:
    import pyvisa
    from pyvisa.rname import ResourceName

__all__ = ["open_channel", "open_visa"]

_OPTIONS = ("backend", "baud", "rtscts", "rate", *BOARD_OPTIONS)
_OPEN_MS = 5000


def open_visa(address: Address) -> Chip:
    """Open "visa:RESOURCE?key=value&...".

    Options: backend (of PyVISA; default @py, PyVISA-py), baud and rtscts (ASRL), rate (slowest rate
    to expect of any other, bytes/s), and those of every board.

    Raises:
        RequestError: The resource is no name that VISA knows, or an option is unknown.
        CoreUnavailableError: No such back-end, or nothing answers there.
        CoreTimeoutError: Nothing answers.
    """
    address.refuse_unknown(_OPTIONS)
    name = _parsed(address)
    base_s, lease = patience_of(address), lease_of(address)
    baud = address.integer("baud", DEFAULT_BAUD, 50, 50_000_000)
    rate = address.number("rate", DEFAULT_BYTES_PER_S, 1.0, 1e12)
    timing = LinkTiming(base_s=base_s, bytes_per_s=rate)
    backend = unquote(address.options.get("backend", "@py"))
    if name.interface_type == "ASRL" and backend == "@py":
        timing = serial_timing(baud, base_s=base_s)
        rtscts = address.choice("rtscts", "0", ("0", "1")) == "1"
        return open_board(
            open_serial_port(Path(str(vars(name)["board"])), baud=baud, rtscts=rtscts),
            address=address.text,
            timing=timing,
            lease=lease,
        )
    transport = _open_resource(address, name, backend)
    return open_board(transport, address=address.text, timing=timing, lease=lease)


def open_channel(address: Address) -> VisaChannel:
    """Open a resource with message boundaries for its messages alone; takes no lease.

    Raises:
        RequestError: The resource is no name that VISA knows, or an option is unknown.
        CoreUnavailableError: No such back-end, or nothing answers there.
    """
    address.refuse_unknown(_OPTIONS)
    _parsed(address)
    resource, release = _opened(address, unquote(address.options.get("backend", "@py")))
    return VisaChannel(resource, description=f"the board at {address.target}", release=release)


def _parsed(address: Address) -> ResourceName:
    from pyvisa import rname

    try:
        return rname.ResourceName.from_string(address.target)
    except rname.InvalidResourceName as error:
        raise RequestError(
            f"address {address.text!r}: {address.target!r} is no VISA resource; write for example "
            "visa:TCPIP::192.0.2.1::5025::SOCKET"
        ) from error


def _open_resource(address: Address, name: ResourceName, backend: str) -> Transport:
    resource, release = _opened(address, backend)
    try:
        return _transport(resource, name, release, address.target)
    except BaseException:
        release()
        raise


def _opened(address: Address, backend: str) -> tuple[Any, Callable[[], None]]:
    """Open a resource; return it and what closes it."""
    import pyvisa

    try:
        manager = pyvisa.ResourceManager(backend)
    except (ValueError, OSError) as error:
        raise CoreUnavailableError(
            f"address {address.text!r}: no VISA library {backend!r} ({error}); install one, or "
            "leave backend out for PyVISA-py"
        ) from error
    try:
        resource: Any = manager.open_resource(address.target, open_timeout=_OPEN_MS)
    except Exception as error:  # PyVISA-py raises whatever its transports do
        manager.close()
        raise CoreUnavailableError(
            f"nothing answers at {address.target} ({error}); check name, cable and power",
            resource=address.target,
        ) from error

    def release() -> None:
        resource.close()
        manager.close()

    return resource, release


def _transport(
    resource: pyvisa.resources.MessageBasedResource,
    name: ResourceName,
    release: Callable[[], None],
    text: str,
) -> Transport:
    description = f"the board at {text}"
    if name.resource_class != "SOCKET" and name.interface_type != "ASRL":
        channel = VisaChannel(resource, description=description, release=release)
        return MessageTransport(channel)
    connection = _socket_of(resource)
    if connection is None:
        return StreamTransport(resource, description=description, release=release)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return DescriptorTransport(connection.fileno(), description=description, release=release)


def _socket_of(resource: pyvisa.resources.MessageBasedResource) -> socket.socket | None:
    """Return the socket of a PyVISA-py session, None for any other."""
    sessions = getattr(resource.visalib, "sessions", {})
    connection = getattr(sessions.get(resource.session), "interface", None)
    return connection if isinstance(connection, socket.socket) else None
