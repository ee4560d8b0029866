"""The command that records: any other command on a chip, everything the chip is asked and says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from hil.address import address_with
from hil.cli_output import say
from hil.errors import RequestError

__all__ = ["record"]

_ADDRESS_PARAMETERS = ("core", "address")


def record(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="A command with its options: run digits ..."),
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Recording to make; it must not exist.")
    ],
) -> None:
    """Run a command and record everything its chip is asked and says, to be replayed.

    Put the options of this command first. The file then stands for the chip wherever an address is
    asked for: it answers the same requests with the same codes, and refuses all others. Examples:

    hil record --out runs/first.rec run digits --core "sim:hermes?cores=2&seed=7"

    hil run digits --core replay:runs/first.rec
    """
    group = context.parent
    assert group is not None  # noqa: S101 - this is a command of `hil`
    name, *rest = command
    commands = group.command
    assert isinstance(commands, typer.core.TyperGroup)  # noqa: S101 - the same
    chosen = commands.get_command(group, name)
    if chosen is None or name == "record":
        raise RequestError(f"{name!r} is no command that can be recorded; see hil --help")
    if out.exists():
        raise RequestError(
            f"{out} exists already and a recording is never overwritten; give another --out"
        )
    with chosen.make_context(name, rest, parent=group) as inner:
        key = next((k for k in _ADDRESS_PARAMETERS if k in inner.params), None)
        if key is None:
            raise RequestError(f"hil {name} opens no chip by an address; nothing can be recorded")
        address = inner.params[key] or _recipes_address(inner.params)
        inner.params[key] = recording_address(address, out)
        try:
            chosen.invoke(inner)
        finally:
            if out.exists():
                say(f"recording: {out}, to be replayed as replay:{out}")


def recording_address(address: str, out: Path) -> str:
    """Return the address that opens the chip at `address` and records it into `out`."""
    return address_with(f"record:{address}", to=str(out))


def _recipes_address(params: dict[str, Any]) -> str:
    """Return the address that a recipe names, for a command without an address of its own."""
    from hil.recipe import load_recipe  # noqa: PLC0415

    recipe = load_recipe(params.get("recipe", "digits"), tuple(params.get("changes") or ()))
    if recipe.chip.seeds:
        raise RequestError(
            f"recipe {recipe.name} runs on {len(recipe.chip.seeds)} chips and a recording holds "
            'one; give --set "chip.seeds=[]"'
        )
    return recipe.chip.address
