"""The command `hil emulate`: any chip as a board, for hosts in other processes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hil.backends import check_address
from hil.cli_options import DEFAULT_ADDRESS, CoreOption
from hil.cli_output import emit, say

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["emulate"]

_SERVER = "drivers.serving_command"


def emulate(
    *,
    core: CoreOption = DEFAULT_ADDRESS,
    pty: Annotated[bool, typer.Option("--pty", help="Serve at a pseudo-terminal.")] = False,
    link: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Symbolic link to the pseudo-terminal.")
    ] = None,
    tcp: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve at a socket; port 0 picks a free one."),
    ] = None,
    any_interface: Annotated[
        bool, typer.Option("--any-interface", help="Let --tcp be reached from other machines.")
    ] = False,
    baud: Annotated[
        int | None, typer.Option(metavar="N", help="Rate of a line each way, ten bits a byte.")
    ] = None,
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time on the way, each way.")
    ] = 0.0,
    faults: Annotated[
        str,
        typer.Option(
            metavar="PLAN", help="What goes wrong: loss=0.01,flip=0.01,... or a TOML file."
        ),
    ] = "",
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the cells there, as silicon does."),
    ] = None,
    mutations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Remember mutations there, also when killed."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pulse limits that the board enforces itself.  \\[default: those of its model]",
        ),
    ] = None,
) -> None:
    """Serve any chip as a board: real bytes from a process of its own, until it is ended.

    One line of JSON on stdout names the addresses to open, as soon as they answer. Faults: loss,
    flip, duplicate, delay (by delay_s) and split are shares of frames; reset_after=N frames,
    brownout_mid_program=K (in the K-th pulse request), boot_text=1, seed=N. Example:

    hil emulate --core "sim:hermes?seed=7" --pty --link board --baud 3000000
    """
    check_address(core)
    serve = cast("Callable[..., dict[str, Any]]", import_module(_SERVER).serve_address)

    def ready(told: dict[str, Any]) -> None:
        for address in told["addresses"]:
            say(f"chip {told['serial']} answers at {address}; end it with Ctrl-C")
        emit({"command": "emulate", **told})

    counted = serve(
        ready,
        core=core,
        pty=pty,
        link=link,
        tcp=tcp,
        any_interface=any_interface,
        baud=baud,
        latency_s=latency,
        faults=faults,
        state=state,
        mutations=mutations,
        limits=limits,
    )
    shown = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
    say(f"ended, the chip is in its safe state; {shown or 'no host came'}")
