"""Kills `hil program` at the boundaries of its journal, resumes it, and says what came of it.

    python kill_driver.py PLANS.json

The file holds plans by name. A plan has `command` (of `hil program`; FOLDER stands for a folder of
its own), `kills` (for each run a list of [when, what, number]: the first is for the run, the next
ones for its resumptions), `more` (resume so often beyond that) and `resume` (more options of it).
Each command gets a process of its own, forked from this one. Written is one document: for each plan
what came of every run, and of one left undisturbed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

import hil.backends
import hil.session
from hil.cli import main
from hil.journal import Journal
from hil.session import load_wear

sys.path.insert(0, str(Path(__file__).parent))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing_journal(when: str, what: str, number: int) -> type[Journal]:
    """A journal whose process dies at a line of its own.

    Args:
        when: before: nothing of the line is written; torn: but for its end; after: all of it.
        what: "line", or the phase of a pulse request: intent, end, settled.
        number: Which of those, from 0 on, counted from where the journal was opened.
    """

    class KillingJournal(Journal):
        seen = 0

        def write(self, values, *, blob=None, to_disk=False):
            counts = what == "line" or (values["verb"], values["phase"]) == ("program", what)
            due = counts and self.seen == number
            self.seen += counts
            if due and when == "before":
                kill()
            written = super().write(values, blob=blob, to_disk=to_disk)
            if due and when == "torn":
                self._file.truncate(self._file.tell() - 7)
            if due:
                kill()
            return written

    return KillingJournal


def hil_command(args: list[str], journal: type[Journal], log: Path) -> int:
    """Run a command of hil in a process of its own; return its wait status."""
    child = os.fork()
    if child == 0:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        hil.session.Journal = journal
        sys.argv = ["hil", *args]
        code = 70
        try:
            main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def what_came(run: Path, address: str, statuses: list[int]) -> dict[str, object]:
    from lasting_chip import pulses_on  # noqa: PLC0415

    record = json.loads((run / "record.json").read_text())
    return {
        "signals": [os.WTERMSIG(s) if os.WIFSIGNALED(s) else 0 for s in statuses],
        "codes": [os.WEXITSTATUS(s) if os.WIFEXITED(s) else None for s in statuses],
        "status": record["status"],
        "pulses": pulses_on(address),
        "results": record["results"],
        "resumptions": record["resumptions"],
        "journal": record["journal"],
        "error": record["error"],
        "ledger": ledger_of(run.parent / "records"),
        "worn": sum(int(pulses.sum()) for pulses in load_wear(run).values()),
    }


def ledger_of(records: Path) -> int:
    """Pulses in the chip's own wear ledger."""
    total = 0
    for file in records.glob("chips/*/wear.npz"):
        with np.load(file) as ledger:
            total += sum(int(ledger[n].sum()) for n in ledger.files if n.startswith("core_"))
    return total


def one(plan: dict, folder: Path, kills: list[list]) -> dict[str, object]:
    """Program, killed at each boundary in turn; resume until a run ends by itself."""
    folder.mkdir(parents=True)
    os.environ["HIL_STATE"] = str(folder / "records")

    def filled(words: list[str]) -> list[str]:
        return [word.replace("FOLDER", str(folder)) for word in words]

    command, run, log = filled(plan["command"]), folder / "run", folder / "log.txt"
    first = [*command, "--out", str(run)]
    again = ["resume", str(run), *filled(plan.get("resume", []))]
    journals = [killing_journal(*kill) for kill in kills]
    journals += [Journal] * (1 + plan.get("more", 0))
    statuses = [
        hil_command(again if index else first, journal, log)
        for index, journal in enumerate(journals)
    ]
    return what_came(run, command[command.index("--core") + 1], statuses)


def drive(plans: dict[str, dict], folder: Path) -> dict[str, object]:
    hil.backends._BUILT_IN["kept"] = "lasting_chip:open_kept"
    found = {}
    for name, plan in plans.items():
        place = folder / name
        found[name] = {
            "undisturbed": one({**plan, "more": 0}, place / "undisturbed", []),
            "killed": [one(plan, place / str(k), kills) for k, kills in enumerate(plan["kills"])],
        }
    return found


if __name__ == "__main__":
    file = Path(sys.argv[1])
    sys.stdout.write(json.dumps(drive(json.loads(file.read_text()), file.parent)))
