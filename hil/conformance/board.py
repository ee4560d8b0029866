"""A chip under the suite: what is known of it before the first test, and how each test opens it.

A suite that records keeps one file per opening, and what it knew of the chip beside them, so that
a replay takes the same decisions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from hil.address import address_with
from hil.conformance.requests import inputs, some_pulses
from hil.core import Chip, Core, CoreSettings, MvmRequest
from hil.errors import RecordError
from hil.info import BackendKind, ChipInfo
from hil.owned_chip import open_owned
from hil.run_folder import write_atomically

__all__ = ["BOARD_FILE", "Board", "BoardFacts", "board_at"]

BOARD_FILE = "board.json"
_SETTLE_S = 3600.0
"""Wait between two looks at a chip that claims to be without drift, s."""


class BoardFacts(BaseModel):
    """What the suite decides by; the same for a chip and for its recording.

    Attributes:
        info: What the chip said of itself when it was first opened.
        quiet: Equal requests give equal codes, also later: neither noise nor drift.
        fresh: Each opening finds the chip as delivered; False where cells outlast the opening.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    info: ChipInfo
    quiet: bool
    fresh: bool

    @property
    def silicon(self) -> bool:
        """Pulses wear a real chip."""
        return self.info.backend is BackendKind.SILICON


class Board:
    """An address under the suite.

    Attributes:
        address: The address it was named by.
        facts: What the suite decides by.
        replayed: A recording answers.
    """

    def __init__(
        self, address: str, facts: BoardFacts, *, folder: Path | None, replayed: bool
    ) -> None:
        self.address = address
        self.facts = facts
        self.replayed = replayed
        self._folder = folder

    @classmethod
    def look_at(cls, address: str, *, record: Path | None) -> Self:
        """Look at a chip: what it is, whether it is quiet, whether it forgets.

        Silicon gets no pulse for this, and counts as noisy.
        """
        with open_owned(address) as chip:
            info = chip.info
            silicon = info.backend is BackendKind.SILICON
            quiet = not silicon and _is_quiet(chip.cores[0])
            pulses = chip.cores[0].status().pulses
        fresh = False
        if not silicon:
            with open_owned(address) as chip:
                fresh = chip.cores[0].status().pulses < pulses
        facts = BoardFacts(info=info, quiet=quiet, fresh=fresh)
        if record is not None:
            record.mkdir(parents=True, exist_ok=True)
            write_atomically(record / BOARD_FILE, facts.model_dump_json(indent=2).encode())
        return cls(address, facts, folder=record, replayed=False)

    @classmethod
    def from_recordings(cls, address: str, folder: Path) -> Self:
        """Take what was known when the recordings in `folder` were made.

        Raises:
            RecordError: The folder holds no recordings of the suite.
        """
        try:
            facts = BoardFacts.model_validate_json((folder / BOARD_FILE).read_bytes())
        except OSError as error:
            raise RecordError(
                f"{folder} holds no recordings of the conformance suite (no {BOARD_FILE}); make "
                "them with hil conformance ADDRESS --record DIR"
            ) from error
        except ValidationError as error:
            raise RecordError(
                f"{folder / BOARD_FILE} is damaged or of another version; record the suite again"
            ) from error
        return cls(address, facts, folder=folder, replayed=True)

    @property
    def taped(self) -> bool:
        """Each opening is recorded, or is a recording."""
        return self._folder is not None

    def open(self, test: str, opening: int) -> Chip:
        """Open the chip for a test, the `opening`-th time in it."""
        if self._folder is None:
            return open_owned(self.address)
        file = self._folder / f"{re.sub(r'[^0-9A-Za-z._=-]+', '_', test)}.{opening}.rec"
        if self.replayed:
            return open_owned(f"replay:{file}")
        return open_owned(address_with(f"record:{self.address}", to=str(file)))


def board_at(address: str, *, record: Path | None) -> Board:
    """Return the board at an address; "replay:DIR" takes recordings that the suite has made."""
    scheme, _, target = address.partition(":")
    if scheme == "replay" and Path(target).is_dir():
        return Board.from_recordings(address, Path(target))
    return Board.look_at(address, record=record)


def _is_quiet(core: Core) -> bool:
    """Program a few cells; say whether equal requests give equal codes, now and an hour later."""
    core.configure(CoreSettings(output_range=0))
    core.program(some_pulses(core.info, few=False))
    request = MvmRequest(input_codes=inputs(core.info, 32))
    seen = [core.mvm(request).output_codes for _ in range(3)]
    core.wait(_SETTLE_S)
    seen.append(core.mvm(request).output_codes)
    return all(np.array_equal(codes, seen[0]) for codes in seen)
