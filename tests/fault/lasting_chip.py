"""A simulated chip that lasts: after each verb its state is on disk, as cells stay in silicon.

`kept:PRESET?...&state=FOLDER` takes the options of `sim:`, and two of its own: forgets=1 is a board
that counts pulses and time from its last start; browns_out=N is one that loses power half-way
through its N-th pulse request after it was opened.
"""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from hil.address import Address, address_with, parse_address
from hil.backends import open_chip
from hil.core import (
    CellRead,
    Chip,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    ProgramResult,
    Pulse,
    ReadResult,
)
from hil.errors import CoreTimeoutError
from hil.verb_codec import later
from hil.wrapped_core import WrappedCore

OWN = ("state", "forgets", "browns_out")
STATE_FILE = "chip-state.safetensors"


def open_kept(address: Address) -> Chip:
    folder = Path(address.options["state"])
    plain = {k: v for k, v in address.options.items() if k not in OWN}
    sim = address_with(f"sim:{address.target}", **plain)
    if (folder / STATE_FILE).exists():
        sim = address_with(sim, state=str(folder / STATE_FILE))
    folder.mkdir(parents=True, exist_ok=True)
    inner = open_chip(sim)
    board = Board(inner, folder, address)
    return Chip(
        info=inner.info.model_copy(update={"address": address.text}),
        cores=tuple(KeptCore(core, board) for core in inner.cores),
        _release=inner.close,
    )


class Board:
    """What the cores of a kept chip share."""

    def __init__(self, chip: Chip, folder: Path, address: Address) -> None:
        self._chip = chip
        self._folder = folder
        self.forgets = address.integer("forgets", 0, 0, 1) == 1
        self.browns_out = address.integer("browns_out", 0, 0, 10_000)
        self.requests = 0
        self.booted_s = chip.now_s() if self.forgets else 0.0

    def keep(self) -> None:
        self._chip.preserve(self._folder)


class KeptCore(WrappedCore):
    def __init__(self, inner: Core, board: Board) -> None:
        super().__init__(inner)
        self._board = board
        self._before = inner.status()

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        self._board.requests += 1
        if self._board.requests == self._board.browns_out:
            self._inner.program(pulse.part(slice(0, len(pulse) // 2)))
            self._board.keep()
            raise CoreTimeoutError("no reply within 1 s; its state is unknown")
        return self._kept(self._inner.program(pulse))

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        return self._kept(self._inner.read(request))

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        return self._kept(self._inner.mvm(request))

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._inner.configure(settings)
        self._board.keep()

    @override
    def _do_status(self) -> CoreStatus:
        status = later(self._inner.status(), -self._board.booted_s)
        if not self._board.forgets:
            return status
        values = {**vars(status), "pulses": status.pulses - self._before.pulses}
        return CoreStatus(**values)

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._kept(self._inner.wait(seconds))

    @override
    def _do_now_s(self) -> float:
        return self._inner.now_s() - self._board.booted_s

    @override
    def _do_safe_state(self) -> None:
        self._inner.safe_state()
        self._board.keep()

    def _kept(self, result):
        self._board.keep()
        return later(result, -self._board.booted_s)


def pulses_on(address: str) -> int:
    """Pulses that the chip itself has applied in its life, all cores."""
    plain = {k: v for k, v in parse_address(address).options.items() if k not in OWN}
    state = Path(parse_address(address).options["state"]) / STATE_FILE
    sim = address_with(f"sim:{parse_address(address).target}", **plain, state=str(state))
    with open_chip(sim) as chip:
        return sum(core.status().pulses for core in chip.cores)
