"""Bad board: an emulated board behind a bad line that loses power in the middle of pulse requests.

In one process and without a clock; a transport that nothing can reach later than at once.
"""

from __future__ import annotations

import random
from typing import final

from drivers.bench.bad_line import BadLine, total_faults
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.instrument import power_on_settings
from drivers.instrument_stream import InstrumentStream
from hil.bench.line import LineFaults
from hil.core import Chip, Pulse, VerbEvent
from protocols.wire.vocabulary import Fate

__all__ = ["BadBoard"]

_SLICE_PULSES = 2


@final
class BadBoard:
    """A board with one line to one host.

    Attributes:
        chip: Behind the board.
        applied: Core and pulses that its cells got, in order; for the caller to clear.
        resets: Times that power was lost.
        lost_power: Set with every reset; for the caller to clear.
    """

    def __init__(self, chip: Chip, *, rate: float, reset_share: float, seed: int) -> None:
        """Serve `chip`; `reset_share` of the steps within pulse requests end in a reset."""
        self.chip = chip
        self.applied: list[tuple[int, Pulse]] = []
        self.resets = 0
        self.lost_power = False
        self._device = Dispatcher(chip, boot=1, slice_pulses=_SLICE_PULSES)
        self._emulator = DeviceEmulator(self._device)
        self._stream = InstrumentStream(self._emulator, power_on_settings(chip))
        self._out = BadLine(rate, seed=seed, direction=0)
        self._back = BadLine(rate, seed=seed, direction=1)
        self._random = random.Random(f"resets {seed}")
        self._reset_share = reset_share
        self._interrupted: set[int] = set()
        for core in chip.cores:
            core.observe(self._note)

    @property
    def crossed(self) -> int:
        """Frames on the line so far."""
        return self._out.counts.frames + self._back.counts.frames

    @property
    def dropped(self) -> int:
        """Frames that the board refused since it was switched on."""
        return self._emulator.dropped

    def faults(self) -> LineFaults:
        """Return what the line did."""
        return total_faults((self._out, self._back))

    def _note(self, event: VerbEvent) -> None:
        if isinstance(event.request, Pulse) and event.error is None:
            self.applied.append((event.core, event.request))

    def connect(self) -> _HostEnd:
        """Return the host's end of the line; what was on its way is lost."""
        self._out.cut()
        self._back.cut()
        return _HostEnd(self)

    def serve(self, data: bytes) -> list[bytes]:
        """Take bytes from the host; return the pieces that arrive there."""
        return self._answers(self._out.feed(data))

    def late(self) -> list[bytes]:
        """Return the pieces that arrive at the host because nothing else does."""
        return self._answers(self._out.flush()) + self._back.flush()

    def _answers(self, pieces: list[bytes]) -> list[bytes]:
        arriving: list[bytes] = []
        for piece in pieces:
            self._stream.accept(piece)
            while self._device.work():
                self._maybe_reset()
            while output := self._stream.take_output():
                arriving += self._back.feed(output)
        return arriving

    def _maybe_reset(self) -> None:
        last = self._device.ledger.last
        under_way = last not in self._interrupted and self._device.busy
        if not under_way or self._device.ledger.fate(last).fate is not Fate.UNKNOWN:
            return
        if self._random.random() < self._reset_share:
            self._interrupted.add(last)
            self.resets += 1
            self.lost_power = True
            self._device.power_cycle()


@final
class _HostEnd:
    """A `Transport` to the board."""

    def __init__(self, board: BadBoard) -> None:
        self._board = board
        self._inbox: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send `data`, as far as the line lets it."""
        self._inbox += self._board.serve(data)

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        """Return a piece that has arrived; none if nothing can come."""
        del deadline_s
        if not self._inbox:
            self._inbox += self._board.late()
        if not self._inbox:
            return b""
        piece = self._inbox.pop(0)
        if len(piece) > max_bytes:
            self._inbox.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    def close(self) -> None:
        """Let go of the line; the board stays."""
