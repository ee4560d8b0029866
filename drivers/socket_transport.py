"""`tcp:` addresses: a board on a socket. Connects; bytes go in blocks over the descriptor."""

from __future__ import annotations

import socket

from drivers.board import LinkTiming, open_board
from drivers.ports import DescriptorTransport
from drivers.ports_options import BOARD_OPTIONS, lease_of, patience_of
from hil.address import Address
from hil.core import Chip
from hil.errors import CoreUnavailableError, RequestError

__all__ = ["DEFAULT_BYTES_PER_S", "connect", "open_tcp", "split_host_port"]

DEFAULT_BYTES_PER_S = 1e6
"""Slowest network that deadlines count on, bytes/s."""
CONNECT_S = 5.0


def open_tcp(address: Address) -> Chip:
    """Open "tcp:HOST:PORT?key=value&...".

    Options: rate (slowest rate to expect, bytes/s; default 1e6), and those of every board.

    Raises:
        RequestError: No host and port, or an option is unknown or out of range.
        CoreUnavailableError: Nothing listens there.
        CoreTimeoutError: Nothing answers.
    """
    address.refuse_unknown(("rate", *BOARD_OPTIONS))
    try:
        host, port = split_host_port(address.target)
    except RequestError as error:
        raise RequestError(f"address {address.text!r}: {error}") from error
    timing = LinkTiming(
        base_s=patience_of(address),
        bytes_per_s=address.number("rate", DEFAULT_BYTES_PER_S, 1.0, 1e12),
    )
    lease = lease_of(address)
    return open_board(connect(host, port), address=address.text, timing=timing, lease=lease)


def connect(host: str, port: int, *, limit_s: float = CONNECT_S) -> DescriptorTransport:
    """Connect to a listening board.

    Raises:
        CoreUnavailableError: Nobody listens there, or the host is unknown.
    """
    name = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), timeout=limit_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CoreUnavailableError(
            f"nothing answers at {name} ({why}); check host, port and power",
            host=host,
            port=port,
        ) from error
    return DescriptorTransport(
        connection.fileno(), description=f"the board at {name}", release=connection.close
    )


def split_host_port(text: str) -> tuple[str, int]:
    """Split "HOST:PORT", or "[HOST]:PORT" for hosts with colons.

    Raises:
        RequestError: There is no host or no port from 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise RequestError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return host, int(port)
