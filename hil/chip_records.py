"""Chip records: one folder per chip serial that outlives every run. Knows files, opens no chip.

They are kept for chips that last. A simulated chip that vanishes when it is closed keeps none.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from hil.address import Address, parse_address
from hil.errors import RecordError, RequestError
from hil.info import BackendKind, ChipInfo
from hil.record import now_text
from hil.run_folder import write_atomically

__all__ = [
    "STATE_VARIABLE",
    "ChipCard",
    "chip_folder",
    "find_serial",
    "is_shared",
    "keeps_records",
    "known_chips",
    "make_chip_folder",
    "remember_chip",
    "state_folder",
]

STATE_VARIABLE = "HIL_STATE"
"""Environment variable that names the folder of the chip records."""
CARD_FILE = "chip.json"
LASTING_SCHEMES = ("serial", "tcp", "visa")
"""Schemes behind which something lasts when the address is closed."""
MOST_ADDRESSES = 16
"""Addresses that a card remembers, the latest last."""
LONGEST_NAME = 200
"""Characters of a folder's name; file systems take 255 bytes."""
_WRAPPERS = ("loopback", "record")


class ChipCard(BaseModel):
    """What is remembered of a chip that has been opened.

    Attributes:
        serial, model, backend: What it said of itself.
        addresses: Where it was found, the latest last.
        cores: Rows, cols and devices per cell of each core.
        first_seen, last_seen: Coordinated universal time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    serial: str
    model: str
    backend: BackendKind
    addresses: tuple[str, ...]
    cores: tuple[tuple[int, int, int], ...]
    first_seen: str
    last_seen: str


def state_folder() -> Path:
    """Return the folder of all chip records: $HIL_STATE, or the user's state folder; not made."""
    given = os.environ.get(STATE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "aimc-hil"


def chip_folder(serial: str) -> Path:
    """Return the folder of one chip; other chips have others, whatever their serials hold."""
    name = quote(serial, safe=" +,;=@")
    if name.startswith("."):
        name = name.replace(".", "%2E")
    if len(name) > LONGEST_NAME:
        name = f"{name[:64]}-{hashlib.sha256(serial.encode()).hexdigest()[:32]}"
    return state_folder() / "chips" / name


def make_chip_folder(serial: str) -> Path:
    """Make the folder of one chip, readable by its user and group alone.

    Raises:
        RecordError: It cannot be made or written.
    """
    folder = chip_folder(serial)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o770)
    except OSError as error:
        raise RecordError(
            f"the records of chip {serial} cannot be kept in {folder}: {error.strerror}; set "
            f"{STATE_VARIABLE} to a folder that can be written",
            path=str(folder),
        ) from error
    return folder


def keeps_records(info: ChipInfo) -> bool:
    """Say whether the chip lasts, so that its pulses count beyond this session."""
    simulated = info.backend is BackendKind.SIM
    return is_shared(info) or (simulated and "state" in _innermost(info.address).options)


def is_shared(info: ChipInfo) -> bool:
    """Say whether other processes can reach the same chip.

    A simulated one with `state=` is a copy of that file within this process: they cannot.
    """
    if info.backend is not BackendKind.SIM:
        return info.backend is BackendKind.SILICON
    return _innermost(info.address).scheme in LASTING_SCHEMES


def _innermost(text: str) -> Address:
    address = parse_address(text)
    while address.scheme in _WRAPPERS:
        address = parse_address(address.text.partition(":")[2])
    return address


def remember_chip(info: ChipInfo) -> ChipCard:
    """Write what a chip says of itself onto its card.

    Raises:
        RecordError: The card is that of a chip of another make, or cannot be written.
    """
    folder, now = make_chip_folder(info.serial), now_text()
    cores = tuple((core.rows, core.cols, core.devices_per_cell) for core in info.cores)
    before = _card(folder)
    if before is not None and (before.model, before.backend, before.cores) != (
        info.model,
        info.backend,
        cores,
    ):
        raise RecordError(
            f"chip {info.serial} says it is {_make(info.model, info.backend, cores)}, its records "
            f"are those of {_make(before.model, before.backend, before.cores)}; if it is another "
            f"chip give it another serial, else move {folder} away",
            path=str(folder),
        )
    earlier = () if before is None else before.addresses
    card = ChipCard(
        serial=info.serial,
        model=info.model,
        backend=info.backend,
        addresses=(*(a for a in earlier if a != info.address), info.address)[-MOST_ADDRESSES:],
        cores=cores,
        first_seen=now if before is None else before.first_seen,
        last_seen=now,
    )
    write_atomically(folder / CARD_FILE, (card.model_dump_json(indent=2) + "\n").encode())
    return card


def known_chips() -> tuple[ChipCard, ...]:
    """Return the cards of all chips with records, by serial; damaged cards are left out."""
    folders = (state_folder() / "chips").glob("*/")
    cards = (_card(folder) for folder in folders)
    return tuple(sorted((c for c in cards if c is not None), key=lambda c: c.serial))


def find_serial(name: str) -> str:
    """Return the serial meant by a serial or by an address at which the chip was last found.

    Raises:
        RequestError: No records of such a chip.
    """
    cards = known_chips()
    for card in cards:
        if card.serial == name:
            return name
    found = [card for card in cards if name in card.addresses]
    if found:
        return max(found, key=lambda card: card.last_seen).serial
    known = ", ".join(card.serial for card in cards) or "none"
    raise RequestError(
        f"no records of a chip {name!r} in {state_folder()}; chips with records: {known}"
    )


def _card(folder: Path) -> ChipCard | None:
    try:
        return ChipCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _make(model: str, backend: BackendKind, cores: tuple[tuple[int, int, int], ...]) -> str:
    sizes = ", ".join(f"{rows}x{cols}x{devices}" for rows, cols, devices in cores)
    return f"a {model} ({backend.value}) with cores of {sizes} devices"
