"""An emulated board: a chip behind byte streams, with the faults that boards have. No I/O.

Resets and brown-outs lose what a board keeps without battery: sessions, windows, cached replies and
leases. What the cells hold stays, and a start has a boot id of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import final

import numpy as np
from typing_extensions import override

from drivers.emulator import DeviceEmulator
from drivers.fault_plan import FaultCounts, FaultPlan
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

__all__ = ["BoardStream", "EmulatedBoard", "PowerLoss"]

BOOT_TEXT = b"\r\nboot: power good\r\nboot: clocks locked\r\nboot: cores idle\r\n"

_DELIMITER = b"\x00"


class PowerLoss(BaseException):
    """The supply broke down while a request was being executed."""


@final
class EmulatedBoard:
    """One device that serves several byte streams at a time.

    Attributes:
        counts: Resets and brown-outs so far.
        boot: Id of the present start.
    """

    def __init__(self, chip: Chip, *, plan: FaultPlan | None = None) -> None:
        """Serve `chip` with the board's faults of `plan`."""
        self.counts = FaultCounts()
        self.boot = secrets.randbits(63)
        self._plan = plan or FaultPlan()
        fails_at = self._plan.brownout_mid_program
        self._chip = chip if not fails_at else _with_brownout(chip, fails_at, self._plan.seed)
        self._streams: list[BoardStream] = []
        self._frames = 0  # since the last start

    def open_stream(self) -> BoardStream:
        """Return a new byte stream; its session is its own, the cores are shared."""
        stream = BoardStream(self)
        self._streams.append(stream)
        return stream

    def device(self) -> DeviceEmulator:
        """Return the device's end of a stream as it is after a start."""
        return DeviceEmulator(self._chip, boot=self.boot)

    def greeting(self) -> bytes:
        """Return what the board prints when it starts, possibly nothing."""
        return BOOT_TEXT if self._plan.boot_text else b""

    def frames_left(self) -> int | None:
        """Return how many frames come until the next reset; None: no end."""
        after = self._plan.reset_after
        return after - self._frames if after else None

    def count_frames(self, frames: int) -> None:
        """Note frames that were taken; reset when the plan says so."""
        self._frames += frames
        if self.frames_left() == 0:
            self.counts.resets += 1
            self.restart()

    def lose_power(self) -> None:
        """Start again after a brown-out."""
        self.counts.brownouts += 1
        self.restart()

    def restart(self) -> None:
        """Forget what a board keeps without battery; begin with a new boot id."""
        self._frames = 0
        self.boot = secrets.randbits(63)
        self._chip.safe_state()
        for stream in self._streams:
            stream.restart()

    def release(self, stream: BoardStream) -> None:
        """Forget a stream that was closed."""
        if stream in self._streams:
            self._streams.remove(stream)


@final
class BoardStream:
    """One byte stream of a board: bytes in, bytes out."""

    def __init__(self, board: EmulatedBoard) -> None:
        self._board = board
        self._device = board.device()
        self._pending = board.greeting()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host; return the bytes to answer, possibly none."""
        while data:
            part, data = self._until_reset(data)
            try:
                self._pending += self._device.receive(part)
            except PowerLoss:
                self._board.lose_power()
                data = b""  # what was on its way found no board
            else:
                boot = self._board.boot
                self._board.count_frames(part.count(_DELIMITER))
                if self._board.boot != boot:
                    data = b""
        return self.take_output()

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
        """Return what waits to be sent without a request: boot text."""
        data, self._pending = self._pending, b""
        return data

    def restart(self) -> None:
        """Lose session and unsent replies; the board was reset."""
        self._device = self._board.device()
        self._pending = self._board.greeting()

    def close(self) -> None:
        """End the session; the host is gone."""
        self._board.release(self)


def _with_brownout(chip: Chip, fails_at: int, seed: int) -> Chip:
    counter = _Counter(fails_at, seed)
    return replace(chip, cores=tuple(_FailingCore(core, counter) for core in chip.cores))


class _Counter:
    """Counts the pulse requests of a chip down to the one that fails."""

    def __init__(self, left: int, seed: int) -> None:
        self.left = left
        self._generator = np.random.Generator(np.random.Philox(seed))

    def pulses_before_failure(self, pulse: Pulse) -> int | None:
        """Return how many entries of this request are applied before the power fails."""
        self.left -= 1
        return int(self._generator.integers(len(pulse.rows) + 1)) if self.left == 0 else None


class _FailingCore(Core):
    """A core whose supply breaks down in the middle of one pulse request."""

    def __init__(self, inner: Core, counter: _Counter) -> None:
        super().__init__(inner.info)
        self._inner = inner
        self._counter = counter

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        applied = self._counter.pulses_before_failure(pulse)
        if applied is None:
            return self._inner.program(pulse)
        names = ("device", "rows", "cols", "amplitude", "width", "count")
        self._inner.program(replace(pulse, **{n: getattr(pulse, n)[:applied] for n in names}))
        raise PowerLoss

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        return self._inner.read(request)

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        return self._inner.mvm(request)

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._inner.configure(settings)

    @override
    def _do_status(self) -> CoreStatus:
        return self._inner.status()

    @override
    def _do_settings(self) -> CoreSettings:
        return self._inner.settings()

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._inner.wait(seconds)

    @override
    def _do_now_s(self) -> float:
        return self._inner.now_s()

    @override
    def _do_safe_state(self) -> None:
        self._inner.safe_state()

    @override
    def _do_close(self) -> None:
        self._inner.close()
