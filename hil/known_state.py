"""The state in which a chip was left: settings and pulse counts, compared when it is opened again.

Nothing is taken for granted of a chip that was out of sight: settings that differ are re-applied,
and a chip that was pulsed by somebody without records is refused. Knows no session.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from hil.core import Core, CoreSettings
from hil.errors import DeviceFaultError, RecordError
from hil.info import BackendKind
from hil.record import now_text
from hil.run_folder import write_atomically

__all__ = ["KnownState", "adopt_state", "keep_state", "settle_state"]

STATE_FILE = "state.json"
_FIELDS = ("output_range", "gain_trim", "offset_trim", "temperature_kelvin")

_logger = logging.getLogger(__name__)


class KnownCore(BaseModel):
    """A core as it was left: settings as `CoreSettings`, pulse requests that changed cells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: int
    output_range: int | None
    gain_trim: tuple[int, ...] | None
    offset_trim: tuple[int, ...] | None
    temperature_kelvin: float | None
    generation: int


class KnownState(BaseModel):
    """A chip as it was left.

    Attributes:
        at: When, coordinated universal time, ISO 8601.
        closed: Whether the session that wrote it has ended by itself; otherwise cells may have
            been pulsed since, as the wear ledger and the dirty cores say.
        cores: Core by core.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    at: str
    closed: bool
    cores: tuple[KnownCore, ...]


def settle_state(cores: Sequence[Core], folder: Path) -> list[dict[str, Any]]:
    """Compare a chip with its record: re-apply settings that differ, refuse unknown pulses.

    Args:
        cores: The cores of the chip that was just opened.
        folder: Folder of the chip's records.

    Returns:
        What was done, for the chip's log.

    Raises:
        RecordError: Silicon was pulsed by somebody without records, or has lost its counts.
        DeviceFaultError: A core does not take back the settings it was left with.
    """
    known = _load(folder)
    done: list[dict[str, Any]] = []
    if known is not None:
        for core, left in zip(cores, known.cores, strict=False):
            _compare_generation(core, left, known.closed)
            changed = _differences(core.settings(), left)
            if changed:
                core.configure(_settings(left, changed))
                still = _differences(core.settings(), left)
                if still:
                    raise DeviceFaultError(
                        f"core {left.core} of chip {core.info.chip_serial} was left with other "
                        f"{', '.join(still)} and does not take it back; look at the board, then "
                        "hil adopt ADDRESS takes the chip as it is",
                        core=left.core,
                    )
                done.append({"core": left.core, "settings": list(changed)})
    keep_state(cores, folder, closed=False)
    return done


def keep_state(cores: Sequence[Core], folder: Path, *, closed: bool) -> None:
    """Write the state in which a chip is now.

    Raises:
        HilError: A core does not answer, or the file cannot be written.
    """
    state = KnownState(at=now_text(), closed=closed, cores=tuple(_known(core) for core in cores))
    write_atomically(folder / STATE_FILE, (state.model_dump_json(indent=2) + "\n").encode())


def adopt_state(cores: Sequence[Core], folder: Path) -> None:
    """Take a chip as it is, whatever its record says. Raises as `keep_state`."""
    keep_state(cores, folder, closed=True)


def _compare_generation(core: Core, left: KnownCore, closed: bool) -> None:
    now = core.status().generation
    as_left = now == left.generation if closed else now >= left.generation
    if as_left:
        return
    sentence = (
        f"core {left.core} of chip {core.info.chip_serial} counts {now:,} pulse requests, its "
        f"record {left.generation:,}: it was pulsed without records, or has lost its counts"
    )
    if core.info.backend is not BackendKind.SILICON:
        _logger.warning("%s; a simulated chip may begin anew", sentence)
        return
    raise RecordError(
        f"{sentence}; hil adopt ADDRESS takes it as it is, from then on",
        core=left.core,
        generation=now,
        recorded=left.generation,
    )


def _known(core: Core) -> KnownCore:
    settings = core.settings()
    return KnownCore(
        core=core.info.core,
        output_range=settings.output_range,
        gain_trim=_codes(settings.gain_trim),
        offset_trim=_codes(settings.offset_trim),
        temperature_kelvin=settings.temperature_kelvin,
        generation=core.status().generation,
    )


def _differences(now: CoreSettings, left: KnownCore) -> tuple[str, ...]:
    """Settings that the record has and the chip has otherwise."""
    return tuple(
        name
        for name in _FIELDS
        if getattr(left, name) is not None and _plain(getattr(now, name)) != getattr(left, name)
    )


def _settings(left: KnownCore, names: tuple[str, ...]) -> CoreSettings:
    def trim(name: str) -> npt.NDArray[np.int16] | None:
        return np.array(getattr(left, name), np.int16) if name in names else None

    return CoreSettings(
        output_range=left.output_range if "output_range" in names else None,
        gain_trim=trim("gain_trim"),
        offset_trim=trim("offset_trim"),
        temperature_kelvin=left.temperature_kelvin if "temperature_kelvin" in names else None,
    )


def _plain(value: object) -> object:
    return _codes(value) if isinstance(value, np.ndarray) else value


def _codes(value: npt.NDArray[Any] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(int(v) for v in value)


def _load(folder: Path) -> KnownState | None:
    path = folder / STATE_FILE
    try:
        return KnownState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RecordError(
            f"{path} does not say how the chip was left: it is damaged; hil adopt ADDRESS takes "
            "the chip as it is",
            path=str(path),
        ) from error
