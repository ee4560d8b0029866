"""The command `hil`: assembles the commands, turns errors into sentences and exit codes."""

from __future__ import annotations

import logging
import sys
from enum import IntEnum
from typing import Annotated

import typer

from hil.cli_ablate import ablate
from hil.cli_bench import bench
from hil.cli_chip import calibrate, info, program
from hil.cli_compare import compare_programming
from hil.cli_conformance import conformance
from hil.cli_data import data
from hil.cli_emulate import emulate
from hil.cli_fit import fit
from hil.cli_infer import infer
from hil.cli_output import say
from hil.cli_plan import plan
from hil.cli_record import record
from hil.cli_resume import resume
from hil.cli_run import demo, report, run
from hil.cli_safety import adopt, audit, list_chips, safe, wear
from hil.cli_signals import stop_on_signals
from hil.cli_study import train
from hil.cli_validate import validate
from hil.errors import (
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    HilError,
)

__all__ = ["ExitCode", "app", "main"]


class ExitCode(IntEnum):
    """What `hil` tells the shell."""

    DONE = 0
    GOAL_NOT_MET = 1
    WRONG_REQUEST = 2
    CORE_FAILED = 3
    INTERRUPTED = 130


_MANUAL = """Program phase-change-memory in-memory-computing chips and run trained networks on them.

The same command drives a simulated chip and a board; only the ADDRESS differs, and nothing ever \
falls back to a simulator. People read stderr; programs read stdout, which gets one line of JSON \
with the results. Every run leaves a folder (--out DIR) with its record, its journal, the wear of \
the devices, pictures and a one-page report, from which it can be repeated.

[bold]ADDRESSES[/bold]

sim:hermes?cores=2&seed=7      simulated 14 nm chip, 256x256 cells a core
sim:aon                        simulated 1024x512 array
sim:pcm90                      90 nm statistics
sim:ideal                      exact integer product, no physics
sim:pcm90?fidelity=statistical targets in, statistics out; or pulse, circuit
loopback:sim:hermes?seed=7     through the board driver, every byte encoded
serial:/dev/ttyUSB0            a board on a serial line; baud=, rtscts=1
tcp:HOST:PORT                  a board on a socket
visa:RESOURCE                  a board behind a VISA resource
replay:FILE                    a recording made by hil record answers again

An option of an address is key=value; a wrong one is answered with those that are known. Put \
addresses in quotes: the shell has its own use for & and ?.

[bold]EXAMPLES[/bold]

hil demo
hil plan digits
hil run digits --core "sim:hermes?cores=2&seed=3" --out runs/three
hil run digits --set data.samples=64 --set "time.ages_s=\\[0, 60]"
hil report runs/three
hil infer seven.png --run runs/three

[bold]EXIT CODES[/bold]

0    done
1    done, but the goal was not met
2    wrong request: one sentence says what is allowed; no pulse has left
3    the core failed or did not answer; the record says how far it came
130  interrupted
"""

app = typer.Typer(
    name="hil",
    help=_MANUAL,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_EXPERIMENTS = "Experiments"
_CHIP = "The chip at hand"
_STUDIES = "Studies"

app.command(rich_help_panel=_EXPERIMENTS)(demo)
app.command(rich_help_panel=_EXPERIMENTS)(plan)
app.command(rich_help_panel=_EXPERIMENTS)(run)
app.command(rich_help_panel=_EXPERIMENTS)(resume)
app.command(rich_help_panel=_EXPERIMENTS)(report)
app.command(rich_help_panel=_EXPERIMENTS)(infer)
app.command(
    rich_help_panel=_EXPERIMENTS,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)(record)
app.command(rich_help_panel=_CHIP)(info)
app.command(rich_help_panel=_CHIP)(program)
app.command(rich_help_panel=_CHIP)(calibrate)
app.command(rich_help_panel=_CHIP)(fit)
app.command(rich_help_panel=_CHIP)(conformance)
app.command(rich_help_panel=_CHIP)(emulate)
app.command("list", rich_help_panel=_CHIP)(list_chips)
app.command(rich_help_panel=_CHIP)(safe)
app.command(rich_help_panel=_CHIP)(wear)
app.command(rich_help_panel=_CHIP)(adopt)
app.add_typer(audit, name="audit", rich_help_panel=_CHIP)
app.command(rich_help_panel=_STUDIES)(train)
app.command(rich_help_panel=_STUDIES)(ablate)
app.command(rich_help_panel=_STUDIES)(validate)
app.command("compare-programming", rich_help_panel=_STUDIES)(compare_programming)
app.add_typer(bench, name="bench", rich_help_panel=_STUDIES)
app.add_typer(data, name="data", rich_help_panel=_STUDIES)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        print(version("aimc-hil"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the log on stderr as well.")
    ] = False,
) -> None:
    """Set what holds for every command."""
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("hil").setLevel(logging.INFO)


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    try:
        with stop_on_signals():
            app(prog_name="hil")
    except (CoreUnavailableError, CoreTimeoutError, DeviceFaultError) as error:
        say(f"hil: {error}")
        sys.exit(ExitCode.CORE_FAILED)
    except HilError as error:
        say(f"hil: {error}")
        sys.exit(ExitCode.WRONG_REQUEST)
    except SystemExit as left:
        if left.code == ExitCode.INTERRUPTED:
            say("hil: interrupted; the chip was put into its safe state")
        raise
