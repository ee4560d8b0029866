"""`serial:` addresses: a board on a serial line. Opens the port, touches no control line.

pyserial opens and configures the port; bytes go in blocks over its descriptor. The operating system
itself raises DTR and RTS when a port is opened for the first time since it was last let go; this
never does, and leaves them standing on close, so that a board does not see the port come and go.
"""

from __future__ import annotations

import errno
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.board import LinkTiming, open_board
from drivers.ports import DescriptorTransport, lock_holder
from drivers.ports_options import BOARD_OPTIONS, lease_of, patience_of
from hil.address import Address
from hil.core import Chip
from hil.errors import CoreUnavailableError, RequestError

if TYPE_CHECKING:
    import serial

__all__ = ["BITS_PER_BYTE", "USABLE_SHARE", "open_serial", "open_serial_port", "serial_timing"]

BITS_PER_BYTE = 10
"""On a serial line: a start bit, eight of data, a stop bit."""
USABLE_SHARE = 0.8
"""Share of the nominal rate that deadlines count on: adapters pause between blocks."""
DEFAULT_BAUD = 3_000_000

_CFLAG = 2  # index of the control flags in what termios gives


def open_serial(address: Address) -> Chip:
    """Open "serial:PORT?key=value&...".

    Options: baud (default 3000000), rtscts=1 (flow control), and those of every board.

    Raises:
        RequestError: An option is unknown or out of range.
        CoreUnavailableError: The port is missing, in use, or no serial port.
        CoreTimeoutError: Nothing answers.
    """
    address.refuse_unknown(("baud", "rtscts", *BOARD_OPTIONS))
    if not address.target:
        raise RequestError(f"address {address.text!r} names no port; write serial:/dev/ttyUSB0")
    baud = address.integer("baud", DEFAULT_BAUD, 50, 50_000_000)
    rtscts = address.choice("rtscts", "0", ("0", "1")) == "1"
    timing = serial_timing(baud, base_s=patience_of(address))
    lease = lease_of(address)
    transport = open_serial_port(Path(address.target), baud=baud, rtscts=rtscts)
    return open_board(transport, address=address.text, timing=timing, lease=lease)


def serial_timing(baud: int, *, base_s: float) -> LinkTiming:
    """Return how long to wait for replies over a line of `baud`."""
    return LinkTiming(base_s=base_s, bytes_per_s=USABLE_SHARE * baud / BITS_PER_BYTE)


def open_serial_port(path: Path, *, baud: int, rtscts: bool) -> DescriptorTransport:
    """Open a serial port for this process alone: raw, 8 data bits, no parity, one stop bit.

    Raises:
        RequestError: The port cannot run at this rate.
        CoreUnavailableError: It is missing, in use, not permitted, or no serial port.
    """
    import serial

    port = _quiet_port()
    port.port, port.baudrate, port.rtscts, port.exclusive = str(path), baud, rtscts, True
    try:
        port.open()
        _keep_lines_on_close(port)
    except (serial.SerialException, termios.error) as error:
        port.close()
        raise _unavailable(path, error) from error
    except (ValueError, OverflowError) as error:
        port.close()
        raise RequestError(f"serial port {path} cannot run at {baud} baud: {error}") from error
    return DescriptorTransport(port.fileno(), description=f"serial port {path}", release=port.close)


def _quiet_port() -> serial.Serial:
    import serial

    class QuietPort(serial.Serial):
        """A port whose control lines stay as the operating system has them."""

        def _update_dtr_state(self) -> None:
            """Leave DTR alone: on many boards it is the reset line."""

        def _update_rts_state(self) -> None:
            """Leave RTS alone."""

    return QuietPort()


def _keep_lines_on_close(port: serial.Serial) -> None:
    """Tell the operating system not to drop DTR and RTS when the port is closed."""
    attributes = termios.tcgetattr(port.fileno())
    attributes[_CFLAG] &= ~termios.HUPCL
    termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)


def _unavailable(path: Path, error: Exception) -> CoreUnavailableError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if number == errno.ENOENT:
        why = "does not exist; `hil list` shows the ports there are"
    elif number in (errno.EACCES, errno.EPERM):
        why = "may not be opened by this user; join the group that owns it"
    elif number in (errno.EWOULDBLOCK, errno.EBUSY):
        why = f"is in use by {lock_holder(path)}; end that first, or wait for it"
    elif number in (errno.ENXIO, errno.ENODEV, errno.EIO):
        why = "has nothing at its other end; plug the board in"
    else:
        why = f"is no serial port ({error})"
    return CoreUnavailableError(f"serial port {path} {why}", port=str(path))
