"""An emulated board: a chip behind byte streams, with the faults that boards have. No I/O.

Resets and brown-outs lose what a board keeps without battery: sessions, windows, cached replies and
leases. What the cells hold stays, and a start has a boot id of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from drivers.device_memory import DeviceMemory
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.fault_plan import FaultCounts, FaultPlan
from drivers.instrument import power_on_settings
from drivers.instrument_stream import InstrumentStream
from drivers.serving_brownout import PowerLoss, with_brownout
from hil.core import Chip, Pulse

__all__ = ["BoardStream", "EmulatedBoard"]

BOOT_TEXT = b"\r\nboot: power good\r\nboot: clocks locked\r\nboot: cores idle\r\n"

_DELIMITER = b"\x00"


@final
class EmulatedBoard:
    """One device that serves several byte streams at a time.

    Attributes:
        counts: Resets and brown-outs so far.
        device: What executes the requests of all streams.
    """

    def __init__(
        self,
        chip: Chip,
        *,
        plan: FaultPlan | None = None,
        memory: DeviceMemory | None = None,
        admit: Callable[[int, Pulse], None] | None = None,
    ) -> None:
        """Serve `chip` with the board's faults of `plan`; `memory` outlives the process.

        `admit` is the board's own limit on pulses, see `Dispatcher`.
        """
        self.counts = FaultCounts()
        self._plan = plan or FaultPlan()
        fails_at = self._plan.brownout_mid_program
        if fails_at:
            chip = with_brownout(chip, fails_at, self._plan.seed)
        self.device = Dispatcher(chip, memory=memory, admit=admit)
        self._power_on = power_on_settings(chip)
        self._streams: list[BoardStream] = []
        self._frames = 0  # since the last start

    def open_stream(self) -> BoardStream:
        """Return a new byte stream; its session is its own, the cores are shared."""
        stream = BoardStream(
            self, InstrumentStream(DeviceEmulator(self.device), self._power_on), self.greeting
        )
        self._streams.append(stream)
        return stream

    def work(self) -> bool:
        """Execute one step of what waits; return whether there was one."""
        try:
            return self.device.work()
        except PowerLoss:
            self.lose_power()
            return True

    @property
    def greeting(self) -> bytes:
        """What the board prints when it starts, possibly nothing."""
        return BOOT_TEXT if self._plan.boot_text else b""

    def frames_left(self) -> int | None:
        """Return how many frames come until the next reset; None: no end."""
        after = self._plan.reset_after
        return after - self._frames if after else None

    def count_frames(self, frames: int) -> bool:
        """Note frames that were taken; reset when the plan says so, and tell whether it did."""
        self._frames += frames
        if self.frames_left() != 0:
            return False
        self.counts.resets += 1
        self._restart()
        return True

    def lose_power(self) -> None:
        """Start again after a brown-out."""
        self.counts.brownouts += 1
        self._restart()

    def _restart(self) -> None:
        self._frames = 0
        self.device.power_cycle()
        for stream in self._streams:
            stream.greet(self.greeting)

    def release(self, stream: BoardStream) -> None:
        """Forget a stream that was closed."""
        if stream in self._streams:
            self._streams.remove(stream)


@final
class BoardStream:
    """One byte stream of a board: bytes in, bytes out; the board's `work` executes between."""

    def __init__(self, board: EmulatedBoard, planes: InstrumentStream, greeting: bytes) -> None:
        self._board = board
        self._planes = planes
        self._greeting = greeting

    def accept(self, data: bytes) -> None:
        """Take bytes from the host; what is urgent acts at once."""
        while data:
            part, data = self._until_reset(data)
            try:
                self._planes.accept(part)
            except PowerLoss:
                self._board.lose_power()
                return  # what was on its way found no board
            if self._board.count_frames(part.count(_DELIMITER)):
                return

    def _until_reset(self, data: bytes) -> tuple[bytes, bytes]:
        left = self._board.frames_left()
        if left is None:
            return data, b""
        end = -1
        for _ in range(left):
            end = data.find(_DELIMITER, end + 1)
            if end < 0:
                return data, b""
        return data[: end + 1], data[end + 1 :]

    def take_output(self) -> bytes:
        """Return what waits to be sent; while there is something, there may be more."""
        greeting, self._greeting = self._greeting, b""
        try:
            return greeting + self._planes.take_output()
        except PowerLoss:
            self._board.lose_power()
            return b""

    def greet(self, text: bytes) -> None:
        """Say `text` first: the board has started."""
        self._greeting = text

    def close(self) -> None:
        """End the session and free its lease; the host is gone."""
        self._board.release(self)
        try:
            self._planes.close()
        except PowerLoss:
            self._board.lose_power()
