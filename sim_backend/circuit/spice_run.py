"""Run ngspice on a netlist, read what it wrote. Leaves nothing behind, knows no crossbar.

ngspice is a program of its own (Debian package `ngspice`); nothing else of the project needs it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hil.errors import HilError

__all__ = [
    "SpiceError",
    "SpiceResult",
    "ngspice_path",
    "ngspice_version",
    "read_raw",
    "run_ngspice",
]

_RAW_NAME = "result.raw"


class SpiceError(HilError, RuntimeError):
    """ngspice is missing, failed, ran too long, or wrote what cannot be read."""


@dataclass(frozen=True, kw_only=True)
class SpiceResult:
    """One analysis.

    Attributes:
        values: By lower-case name of the variable, such as "time" or "i(vo3)": (points,), SI.
    """

    values: dict[str, npt.NDArray[np.float64]]

    def columns(self, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
        """Return these variables, (points, names).

        Raises:
            SpiceError: One is not in the result.
        """
        missing = [name for name in names if name not in self.values]
        if missing:
            known = ", ".join(list(self.values)[:8])
            raise SpiceError(f"ngspice wrote no {missing[0]!r}; it wrote {known}", missing=missing)
        return np.stack([self.values[name] for name in names], axis=1)


def ngspice_path() -> str | None:
    """Return where ngspice is, None where it is not installed."""
    return shutil.which("ngspice")


def ngspice_version() -> str:
    """Return the version line of ngspice, such as "ngspice-39".

    Raises:
        SpiceError: ngspice is not installed or does not answer.
    """
    shown = _call([_program(), "--version"], Path.cwd(), timeout_s=30.0)
    words = [word for word in shown.split() if word.startswith("ngspice-")]
    return words[0] if words else "ngspice of unknown version"


def run_ngspice(netlist: Callable[[str], str], *, timeout_s: float = 600.0) -> SpiceResult:
    """Run a netlist in a temporary folder and return its one analysis.

    Args:
        netlist: Given the name of the result file, returns the text.
        timeout_s: Longest run, s; it is ended then.

    Raises:
        SpiceError: ngspice is not installed, failed, ran too long, or wrote no complete result.
    """
    program = _program()
    with tempfile.TemporaryDirectory(prefix="crossbar-") as name:
        folder = Path(name)
        (folder / "net.cir").write_text(netlist(_RAW_NAME), encoding="ascii")
        log = _call([program, "-n", "-b", "net.cir"], folder, timeout_s=timeout_s)
        raw = folder / _RAW_NAME
        if not raw.is_file():
            raise SpiceError(f"ngspice wrote no result: {_tail(log)}", log=log)
        return read_raw(raw.read_text(encoding="ascii", errors="replace"))


def read_raw(text: str) -> SpiceResult:
    """Return the one analysis of an ASCII raw file.

    Raises:
        SpiceError: It is not complete, not real, or no raw file.
    """
    head, found, body = text.partition("Values:")
    about, named, variables = head.partition("\nVariables:")
    if not (found and named):
        raise SpiceError(f"no raw file of ngspice: it begins with {text[:80]!r}")
    fields = dict(line.partition(":")[::2] for line in about.splitlines())
    names = [line.split()[1].lower() for line in variables.splitlines() if len(line.split()) > 1]
    points = int(fields.get("No. Points", "0"))
    if fields.get("Flags", "").strip() != "real" or points < 1:
        raise SpiceError(f"ngspice wrote {points} points, flags {fields.get('Flags')!r}")
    try:
        numbers = np.array(body.split(), dtype=np.float64)
    except ValueError as error:
        raise SpiceError(f"ngspice wrote more than one analysis, or no numbers: {error}") from error
    if numbers.size != points * (len(names) + 1):  # a point begins with its number
        raise SpiceError(
            f"ngspice wrote {numbers.size} numbers for {points} points of {len(names)} variables: "
            "the file is not complete"
        )
    table = numbers.reshape(points, len(names) + 1)[:, 1:]
    return SpiceResult(values={name: table[:, i] for i, name in enumerate(names)})


def _program() -> str:
    program = ngspice_path()
    if program is None:
        raise SpiceError("ngspice is not installed (Debian package ngspice); compare with goldens")
    return program


def _call(command: list[str], folder: Path, *, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SpiceError(
            f"ngspice was ended after {timeout_s} s; allow more or take a smaller net"
        ) from error
    except OSError as error:
        raise SpiceError(f"ngspice did not start: {error}") from error
    log = done.stdout + done.stderr
    if done.returncode != 0:
        raise SpiceError(f"ngspice gave {done.returncode}: {_tail(log)}", log=log)
    return log


def _tail(log: str) -> str:
    return " / ".join(line.strip() for line in log.splitlines() if line.strip())[-400:]
