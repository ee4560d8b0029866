"""Serving: an emulated board at a pseudo-terminal or a socket, for hosts in other processes.

One loop, one thread: requests of all hosts are executed one after the other, as on one device.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import final

from drivers.fault_plan import FaultCounts
from drivers.serving_board import EmulatedBoard
from drivers.serving_line import HostLine, LineSettings
from hil.errors import RequestError

__all__ = ["BoardServer"]

READ_BYTES = 1 << 16
SLICE_S = 1e-3
"""How long requests are executed before the lines are looked at again, s."""
LOOK_S = 0.02
"""How often a pseudo-terminal without a host is looked at, s."""

_logger = logging.getLogger(__name__)


@final
class BoardServer:
    """Serves one board to any number of hosts, each with a byte stream of its own.

    Attributes:
        counts: Faults of all lines so far.
        hosts: Hosts that came so far.
    """

    def __init__(
        self,
        board: EmulatedBoard,
        settings: LineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `board`; nothing listens yet."""
        self.counts = FaultCounts()
        self.hosts = 0
        self._board = board
        self._settings = settings
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._listeners: list[socket.socket] = []
        self._terminals: list[_Terminal] = []
        self._lines: dict[int, HostLine] = {}  # by descriptor
        self._sockets: dict[int, socket.socket] = {}
        self._links: list[Path] = []
        self._ended = False

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen on a socket; port 0 picks one. Return host and port.

        Raises:
            RequestError: The port is taken, or no such interface.
        """
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            raise RequestError(
                f"cannot listen at {host}:{port}: {error.strerror or error}; choose another port "
                "(0 picks a free one)"
            ) from error
        listener.setblocking(False)
        self._listeners.append(listener)
        self._selector.register(listener, selectors.EVENT_READ)
        return host, int(listener.getsockname()[1])

    def open_terminal(self, link: Path | None = None) -> Path:
        """Open a pseudo-terminal; return the path that a host opens.

        Args:
            link: Symbolic link to make to it; one that is there is replaced.

        Raises:
            RequestError: Something that is no link stands in its place.
        """
        if link is not None and link.exists() and not link.is_symlink():
            raise RequestError(f"{link} is there already and is no link; name another path")
        master, slave = os.openpty()
        tty.setraw(slave)  # as a serial port of a board is: no echo, no line editing
        path = Path(os.ttyname(slave))
        os.close(slave)
        os.set_blocking(master, False)
        self._terminals.append(_Terminal(master))
        if link is None:
            return path
        try:
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        except OSError as error:
            raise RequestError(f"the link {link} cannot be made: {error.strerror}") from error
        self._links.append(link)
        return link

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._ended:
            self.step(self._patience_s())

    def stop(self) -> None:
        """Let `run` return after the present step."""
        self._ended = True

    def step(self, limit_s: float | None) -> None:
        """Do what is due; wait for it for at most `limit_s`, None: as long as it takes."""
        for key, events in self._selector.select(limit_s):
            if isinstance(key.fileobj, socket.socket):  # hosts are known by their descriptors
                self._accept(key.fileobj)
            elif events & selectors.EVENT_READ and key.fd in self._lines:
                self._take(key.fd)
        for terminal in self._terminals:
            if terminal.descriptor not in self._lines and terminal.has_host():
                self._open(terminal.descriptor)
        for line in list(self._lines.values()):
            line.deliver(self._clock())
        self._board.device.tick()
        until_s = self._clock() + SLICE_S
        while self._board.work() and self._clock() < until_s:
            pass
        for descriptor in list(self._lines):
            self._answer(descriptor)

    def close(self) -> None:
        """End every session, and everything that listens; twice is fine."""
        for descriptor in list(self._lines):
            self._close(descriptor)
        for listener in self._listeners:
            listener.close()
        for terminal in self._terminals:
            os.close(terminal.descriptor)
        for link in self._links:
            link.unlink(missing_ok=True)
        self._listeners, self._terminals, self._links = [], [], []
        self._selector.close()

    def _patience_s(self) -> float | None:
        device = self._board.device
        if device.busy:
            return 0.0
        due = [t for line in self._lines.values() if (t := line.due_s()) is not None]
        limits = [max(0.0, min(due) - self._clock())] if due else []
        if device.due_s is not None:
            limits.append(device.due_s)
        if any(t.descriptor not in self._lines for t in self._terminals):
            limits.append(LOOK_S)
        return min(limits, default=None)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it left before it was let in
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[connection.fileno()] = connection
        self._open(connection.fileno())

    def _open(self, descriptor: int) -> None:
        self._lines[descriptor] = HostLine(
            self._board, self._settings, index=self.hosts, counts=self.counts
        )
        self.hosts += 1
        self._selector.register(descriptor, selectors.EVENT_READ)
        _logger.info("host %d came", self.hosts)

    def _take(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a pseudo-terminal without a host, or a broken connection
        if data:
            self._lines[descriptor].receive(data, self._clock())
        else:
            self._close(descriptor)

    def _answer(self, descriptor: int) -> None:
        line = self._lines[descriptor]
        line.collect(self._clock())
        if line.unsent and not (self._send(descriptor, line) and self._has_host(descriptor)):
            self._close(descriptor)
            return
        wanted = selectors.EVENT_WRITE if line.unsent else 0
        wanted |= selectors.EVENT_READ if line.takes else 0
        self._want(descriptor, wanted)

    def _send(self, descriptor: int, line: HostLine) -> bool:
        """Send what the host takes now; tell whether the host is still there."""
        try:
            sent = os.write(descriptor, line.unsent)
        except BlockingIOError:
            return True
        except OSError:
            return False
        del line.unsent[:sent]
        return True

    def _has_host(self, descriptor: int) -> bool:
        """Tell whether a host that takes nothing is there at all; of a socket, a write tells."""
        return not self._lines[descriptor].unsent or all(
            t.has_host() for t in self._terminals if t.descriptor == descriptor
        )

    def _want(self, descriptor: int, events: int) -> None:
        known = self._selector.get_map().get(descriptor)
        if known is None and events:
            self._selector.register(descriptor, events)
        elif known is not None and not events:
            self._selector.unregister(descriptor)
        elif known is not None and known.events != events:
            self._selector.modify(descriptor, events)

    def _close(self, descriptor: int) -> None:
        self._want(descriptor, 0)
        self._lines.pop(descriptor).close()
        connection = self._sockets.pop(descriptor, None)
        if connection is not None:
            connection.close()
        _logger.info("a host left")


class _Terminal:
    """The board's end of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def has_host(self) -> bool:
        """Whether a host has the other end open, or has left bytes there."""
        found = dict(self._poll.poll(0)).get(self.descriptor, 0)
        return not found & select.POLLHUP or bool(found & select.POLLIN)
