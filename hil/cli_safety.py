"""Commands that look after chips: list, safe, wear, adopt, audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli_output import emit, say, table
from hil.errors import HilError, RequestError

if TYPE_CHECKING:
    from hil.chip_records import ChipCard
    from hil.pulse_limits import Limits
    from hil.wear import ChipWear

__all__ = ["adopt", "audit", "list_chips", "safe", "wear"]

audit = typer.Typer(
    name="audit",
    help="Read or check the audit log of a chip: who did what to it, when.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Which = Annotated[
    str | None,
    typer.Argument(metavar="[SERIAL|ADDRESS|FILE]", help="Which log; without it all there are."),
]


def list_chips(
    *,
    visa: Annotated[
        bool,
        typer.Option("--visa", help="List VISA resources too; this may ask the network for them."),
    ] = False,
) -> None:
    """List ports, chips known from their records, and who holds them. Opens nothing.

    What hangs at a port is not asked: hil info ADDRESS does. A chip is the one whose serial it
    says itself, whatever the order of the ports.
    """
    from hil.chip_records import known_chips, state_folder  # noqa: PLC0415
    from hil.lease_lock import holder_of  # noqa: PLC0415
    from hil.ports import serial_ports, visa_resources  # noqa: PLC0415

    ports = serial_ports() + (visa_resources() if visa else ())
    chips = [(card, holder_of(card.serial)) for card in known_chips()]
    heads = ("port", "what the system says", "USB id", "serial of the adapter")
    table(
        "", heads, [(p.address, p.description, p.hardware or "-", p.serial or "-") for p in ports]
    )
    if not ports:
        say("no serial ports here")
    table(
        "",
        ("chip", "model", "kind", "last found at", "last seen", "held by"),
        [
            (
                card.serial,
                card.model,
                card.backend.value,
                card.addresses[-1],
                card.last_seen,
                "nobody" if holder is None else str(holder),
            )
            for card, holder in chips
        ],
    )
    if not chips:
        say(f"no chip has records in {state_folder()}")
    emit(
        {
            "command": "list",
            "ports": [vars(port) for port in ports],
            "chips": [
                {
                    **card.model_dump(mode="json"),
                    "holder": None if holder is None else holder.model_dump(mode="json"),
                }
                for card, holder in chips
            ],
        }
    )


def wear(
    chip: Annotated[
        str, typer.Argument(metavar="SERIAL|ADDRESS", help="Serial, or where it was last found.")
    ],
) -> None:
    """Show the pulses that the devices of a chip have had, against their budgets. Opens nothing."""
    from hil.chip_records import chip_folder, find_serial, known_chips  # noqa: PLC0415
    from hil.pulse_limits import limits_for  # noqa: PLC0415
    from hil.wear import ChipWear  # noqa: PLC0415

    serial = find_serial(chip)
    card = next(card for card in known_chips() if card.serial == serial)
    folder = chip_folder(serial)
    shapes = {k: (devices, rows, cols) for k, (rows, cols, devices) in enumerate(card.cores)}
    limits = limits_for(card.model, card.backend, folder)
    with ChipWear(folder, shapes) as ledger:
        rows = _wear_rows(ledger, card)
        total = ledger.pulses
    table(
        f"chip {serial}, {card.model} ({card.backend.value}): {total:,} pulses",
        ("core", "family", "pulses", "devices pulsed", "most of a device", "mean of those"),
        [
            (
                str(r["core"]),
                r["family"],
                f"{r['pulses']:,}",
                f"{r['devices']:,}",
                f"{r['most']:,}",
                f"{r['mean']:.1f}",
            )
            for r in rows
        ],
    )
    say(_budget_words(limits))
    emit(
        {
            "command": "wear",
            "serial": serial,
            "pulses": total,
            "cores": rows,
            "limits": {"source": limits.source, "sha256": limits.sha256},
            "budget": limits.budget.model_dump(mode="json"),
        }
    )


def safe(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Address of the board, whoever holds it.")
    ],
) -> None:
    """Idle all drivers of a board now, whoever holds it, and prove it by reading back.

    Needs no lock and no lease, works while the owner hangs or is dead, never touches a cell; twice
    is fine. An owner on another stream loses its lease, so that no pulse follows. Exits with 3 if
    the board does not show that it is safe. Example:

    hil safe serial:/dev/ttyUSB0?baud=3000000
    """
    from hil.urgent import make_board_safe  # noqa: PLC0415

    proof = make_board_safe(address)
    owner = f"; its lease is still that of {proof.owner}" if proof.owner else ""
    say(f"chip {proof.serial} at {address}: all {proof.cores} core(s) read back as safe{owner}")
    logged = _log_safe(proof.serial, address, proof.owner)
    emit({"command": "safe", "address": address, "logged": logged, **vars(proof)})


def adopt(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the chip.")],
) -> None:
    """Take a chip as it is, whatever its record says of how it was left; logged as forced.

    Needed where a chip was pulsed by other software, or has lost its counts. Its wear ledger knows
    nothing of those pulses. Reads settings and counts, changes nothing on the chip.
    """
    from hil.chip_records import make_chip_folder  # noqa: PLC0415
    from hil.guard import open_guard  # noqa: PLC0415
    from hil.known_state import adopt_state  # noqa: PLC0415
    from hil.owned_chip import open_noted  # noqa: PLC0415

    with (
        open_noted(address, command=sys.argv) as chip,
        open_guard(chip.info, command=tuple(sys.argv)) as guard,
    ):
        if not guard.lasting:
            raise RequestError(
                f"chip {chip.serial} at {address} keeps no records: nothing to adopt"
            )
        generations = [core.status().generation for core in chip.cores]
        guard.note("forced: taken as it is", generations=generations)
        adopt_state(chip.cores, make_chip_folder(chip.serial))
    say(f"chip {chip.serial} is taken as it is: pulse requests {generations} from now on")
    emit({"command": "adopt", "serial": chip.serial, "generations": generations})


def _log_safe(serial: str, address: str, owner: str) -> bool:
    """Log that SAFE was sent; the board is safe already, whatever becomes of the log."""
    from hil.audit import append_audit  # noqa: PLC0415

    try:
        append_audit(serial, "made safe", address=address, owner=owner)
    except (HilError, OSError) as error:
        say(f"the audit log was not written: {error}")
        return False
    return True


@audit.command()
def verify(which: _Which = None) -> None:
    """Check every line of an audit log against the one before it; exit with 1 at a bad one."""
    from hil.audit import verify_audit  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for path in _logs(which):
        verdict = verify_audit(path)
        rows.append({"path": str(path), **vars(verdict)})
        if verdict.bad_line is None:
            say(f"{path}: {verdict.lines} lines, all as they were written; head {verdict.head}")
        else:
            say(f"{path}: line {verdict.bad_line} is bad: {verdict.reason}")
    if not rows:
        say("there are no audit logs")
    emit({"command": "audit verify", "logs": rows})
    if any(row["bad_line"] is not None for row in rows):
        raise typer.Exit(1)


@audit.command()
def show(which: _Which = None) -> None:
    """Show audit logs, line by line, as they stand; hil audit verify checks them."""
    from hil.audit import read_audit  # noqa: PLC0415

    shown: list[dict[str, Any]] = []
    for path in _logs(which):
        lines = list(read_audit(path))
        shown += lines
        table(
            str(path),
            ("when", "event", "operator", "process", "what"),
            [
                (
                    str(line.get("at")),
                    str(line.get("event")),
                    str(line.get("operator")),
                    str(line.get("pid")),
                    _what(line),
                )
                for line in lines
            ],
        )
    emit({"command": "audit show", "lines": shown})


def _wear_rows(ledger: ChipWear, card: ChipCard) -> list[dict[str, Any]]:
    from hil.wear_log import FAMILIES  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for core in range(len(card.cores)):
        totals = ledger.totals(core)
        for family, counts in zip(FAMILIES, totals, strict=True):
            pulsed = counts[counts > 0]
            rows.append(
                {
                    "core": core,
                    "family": family.value,
                    "pulses": int(counts.sum()),
                    "devices": int(pulsed.size),
                    "most": int(counts.max()),
                    "mean": float(pulsed.mean()) if pulsed.size else 0.0,
                }
            )
    return rows


def _budget_words(limits: Limits) -> str:
    given = {k: v for k, v in limits.budget.model_dump().items() if v is not None}
    words = ", ".join(f"{name} {value:,}" for name, value in given.items())
    return f"budgets of {limits.source}: {words or 'none'}"


def _what(line: dict[str, Any]) -> str:
    known = ("n", "at", "event", "serial", "operator", "pid", "previous", "hash", "versions")
    return "; ".join(f"{k} {_plain(v)}" for k, v in line.items() if k not in known and v)


def _plain(value: object) -> str:
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _logs(which: str | None) -> list[Path]:
    from hil.audit import AUDIT_FILE  # noqa: PLC0415
    from hil.chip_records import chip_folder, find_serial, state_folder  # noqa: PLC0415

    if which is None:
        return sorted((state_folder() / "chips").glob(f"*/{AUDIT_FILE}"))
    for path in (Path(which), chip_folder(which) / AUDIT_FILE):
        if path.is_file():
            return [path]
    return [chip_folder(find_serial(which)) / AUDIT_FILE]
