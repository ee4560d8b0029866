"""What `hil emulate` does: serve a chip as a board, until it is ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from drivers.device_memory import DeviceMemory
from drivers.fault_plan import FaultPlan
from drivers.serial_transport import USABLE_SHARE
from drivers.serving import BoardServer
from drivers.serving_board import EmulatedBoard
from drivers.serving_line import BITS_PER_BYTE, LineSettings
from drivers.serving_state import kept_chip
from drivers.socket_transport import split_host_port
from hil.device_limits import device_admission
from hil.errors import RequestError

__all__ = ["Serving", "serve_address"]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What to serve, and where.

    Attributes:
        core: Address of the chip.
        pty: Whether at a pseudo-terminal.
        link: Symbolic link to it.
        tcp: HOST:PORT to listen at; port 0 picks one.
        any_interface: Whether HOST may be reachable from other machines.
        baud: Rate of every line each way, ten bits a byte.
        latency_s: Time on the way, each way, s.
        faults: Fault plan: "key=value,..." or a TOML file.
        state: File in which the cells are kept.
        mutations: File in which the board remembers its mutations.
        limits: Pulse limits of the board; None are those of its model.
    """

    core: str
    pty: bool = False
    link: Path | None = None
    tcp: str | None = None
    any_interface: bool = False
    baud: int | None = None
    latency_s: float = 0.0
    faults: str = ""
    state: Path | None = None
    mutations: Path | None = None
    limits: Path | None = None


def serve_address(ready: Callable[[dict[str, Any]], None], **options: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of Serving
    """Serve a chip until KeyboardInterrupt; return what was counted. The chip ends up safe.

    Args:
        ready: Told once, when hosts can come: addresses to open, serial number, process.
        options: Fields of `Serving`.

    Raises:
        RequestError: An option is out of range or contradicts another; nothing was opened.
    """
    wanted = Serving(**options)
    place = _checked(wanted)
    plan = FaultPlan.parse(wanted.faults)
    settings = LineSettings(baud=wanted.baud, latency_s=wanted.latency_s, plan=plan)
    with ExitStack() as stack:
        memory = None
        if wanted.mutations is not None:
            memory = stack.enter_context(closing(DeviceMemory(wanted.mutations)))
        chip = stack.enter_context(kept_chip(wanted.core, wanted.state))
        admit = device_admission(chip.info, wanted.limits)
        board = EmulatedBoard(chip, plan=plan, memory=memory, admit=admit)
        server = BoardServer(board, settings)
        try:
            addresses = []
            if place is not None:
                host, port = server.listen(*place)
                addresses.append(_tcp_address(host, port, wanted.baud))
            if wanted.pty:
                path = server.open_terminal(wanted.link)
                addresses.append(f"serial:{path}" + (f"?baud={wanted.baud}" * bool(wanted.baud)))
            ready({"addresses": addresses, "serial": chip.serial, "process": os.getpid()})
            server.run()
        except KeyboardInterrupt:
            pass  # this is how it ends
        finally:
            server.close()
        counted = vars(server.counts) | {
            name: getattr(board.counts, name) for name in ("resets", "brownouts")
        }
        return {"hosts": server.hosts, **counted}


def _checked(wanted: Serving) -> tuple[str, int] | None:
    if not wanted.pty and wanted.tcp is None:
        raise RequestError("nowhere to serve: give --pty, --tcp 127.0.0.1:0, or both")
    if wanted.link is not None and not wanted.pty:
        raise RequestError("--link names a pseudo-terminal; give --pty as well")
    if wanted.baud is not None and not 50 <= wanted.baud <= 1_000_000_000:
        raise RequestError(f"--baud {wanted.baud} is outside 50...1000000000")
    if not 0.0 <= wanted.latency_s <= 60.0:
        raise RequestError(f"--latency {wanted.latency_s} is outside 0...60 s")
    if wanted.tcp is None:
        return None
    host, port = split_host_port(wanted.tcp)
    if not (wanted.any_interface or _is_loopback(host)):
        raise RequestError(
            f"--tcp {wanted.tcp} can be reached from other machines, and nothing asks who they "
            "are; use 127.0.0.1, or say --any-interface"
        )
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tcp_address(host: str, port: int, baud: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    rate = "" if baud is None else f"?rate={USABLE_SHARE * baud / BITS_PER_BYTE:g}"
    return f"tcp:{shown}:{port}{rate}"
