"""The whole driver against a whole emulated board over a bad line, with power lost mid-program.

The board's cells are those of an ideal chip. A twin that is driven directly says what every reply
must be, and an observer behind the board counts the pulses that cells really got.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import numpy as np

from drivers.bench.bad_board import BadBoard
from drivers.board import BoardCore, LeaseTerms, LinkTiming, MutationReport, open_board
from hil.backends import open_chip
from hil.bench.line import BoardFaults
from hil.core import CellRead, Chip, MvmRequest, Outcome, Pulse
from hil.errors import CoreTimeoutError, DeviceFaultError, HilError
from hil.info import PulseFamily
from hil.progress import Task
from hil.stimulus import InputKind, random_inputs

__all__ = ["board_faults"]

_ADDRESS = "sim:ideal?cores=2&rows=24&cols=24"
_RESET_SHARE = 0.03  # of the steps of a pulse request
_MOST_ENTRIES = 12
_MOST_PRODUCTS = 6
_OPENINGS = 50
_TIMING = LinkTiming(base_s=30.0, silent_tries=24)


def board_faults(frames: int, rate: float, seed: int, task: Task) -> BoardFaults:
    """Program, read and multiply until `frames` frames have crossed, both directions together."""
    began = time.perf_counter()
    with _quiet(), open_chip(_ADDRESS) as inner, open_chip(_ADDRESS) as twin:
        board = BadBoard(inner, rate=rate, reset_share=_RESET_SHARE, seed=seed)
        run = _Run(board, twin, seed)
        told = 0
        while board.crossed < frames and not run.violation:
            run.act()
            task.advance(board.crossed - told)
            told = board.crossed
        run.close()
        return run.result(time.perf_counter() - began)


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of links that are lost on purpose."""
    logger = logging.getLogger("drivers.board_link")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@final
class _Run:
    """What was asked of the board and of its twin, and what came of it."""

    def __init__(self, board: BadBoard, twin: Chip, seed: int) -> None:
        self.violation = ""
        self._board, self._twin = board, twin
        self._random = random.Random(seed)
        self._rng = np.random.default_rng(seed)
        self._requests = self._mutations = self._answered = self._unknown = 0
        self._wrong = self._twice = self._unended = self._repeats = self._dropped = 0
        self._chip = self._open()

    def act(self) -> None:
        """Ask for one thing, and settle it."""
        kind = self._random.random()
        index = self._random.randrange(len(self._chip.cores))
        verb = self._program if kind < 0.4 else self._read if kind < 0.55 else self._multiply
        verb(index)

    # Verbs

    def _multiply(self, index: int) -> None:
        info = self._twin.cores[index].info
        asked = [
            MvmRequest(
                input_codes=random_inputs(
                    InputKind.UNIFORM,
                    int(self._rng.integers(1, 5)),
                    info.rows,
                    info.input,
                    self._rng,
                )
            )
            for _ in range(self._random.randint(1, _MOST_PRODUCTS))
        ]
        self._requests += len(asked)
        core = self._chip.cores[index]
        assert isinstance(core, BoardCore)  # noqa: S101 - a board has such cores
        try:
            results = core.mvm_many(asked)
        except HilError as error:
            self._failed(error, len(asked))
            return
        twin = self._twin.cores[index]
        for request, result in zip(asked, results, strict=True):
            right = np.array_equal(result.output_codes, twin.mvm(request).output_codes)
            self._judge(right=right, what=f"an MVM of core {index}")

    def _read(self, index: int) -> None:
        info = self._twin.cores[index].info
        count = self._random.randint(1, 40)
        request = CellRead.of(
            device=self._rng.integers(0, info.devices_per_cell, count),
            rows=self._rng.integers(0, info.rows, count),
            cols=self._rng.integers(0, info.cols, count),
        )
        self._requests += 1
        try:
            result = self._chip.cores[index].read(request)
        except HilError as error:
            self._failed(error, 1)
            return
        right = np.array_equal(result.codes, self._twin.cores[index].read(request).codes)
        self._judge(right=right, what=f"a read of core {index}")

    def _program(self, index: int) -> None:
        pulse = self._pulse(index)
        self._requests += 1
        self._mutations += 1
        self._board.applied.clear()
        try:
            result = self._chip.cores[index].program(pulse)
        except CoreTimeoutError as error:
            self._settle(index, pulse, error)
            return
        except HilError as error:
            self._failed(error, 1)
            return
        right = (result.outcome, result.pulses) == (Outcome.DONE, pulse.total)
        self._judge(right=right, what=f"pulses on core {index}")
        self._count(index, pulse, least=len(pulse))

    def _pulse(self, index: int) -> Pulse:
        info, rng = self._twin.cores[index].info, self._rng
        family = PulseFamily.SET if self._random.random() < 0.8 else PulseFamily.RESET
        limits = info.limits(family)
        assert limits is not None  # noqa: S101 - an ideal core has both
        count = self._random.randint(1, _MOST_ENTRIES)
        cells = rng.choice(info.rows * info.cols, count, replace=False)
        return Pulse.of(
            family,
            device=rng.integers(0, info.devices_per_cell, count),
            rows=cells // info.cols,
            cols=cells % info.cols,
            amplitude=rng.integers(limits.amplitude.min_code, limits.amplitude.max_code + 1, count),
            width=limits.width.min_code,
            count=1,
        )

    # Judgement

    def _judge(self, *, right: bool, what: str) -> None:
        self._answered += 1
        if not right:
            self._wrong += 1
            self.violation = self.violation or f"{what} was answered wrongly"

    def _count(self, index: int, pulse: Pulse, *, least: int) -> None:
        """Compare what the cells got with what was asked, and let the twin have the same."""
        got = np.zeros((len(self._twin.cores), *_shape(self._twin, index)), np.int64)
        for where, part in self._board.applied:
            np.add.at(got[where], (part.device, part.rows, part.cols), part.count)
            self._twin.cores[where].program(part)
        asked = np.zeros_like(got)
        np.add.at(asked[index], (pulse.device, pulse.rows, pulse.cols), pulse.count)
        applied = int(got.sum())
        if (got > asked).any():
            self._twice += 1
            self.violation = self.violation or f"core {index} got pulses that nobody asked for"
        elif applied < least:
            self._wrong += 1
            self.violation = self.violation or f"core {index} lacks {least - applied} pulses"

    def _failed(self, error: HilError, requests: int) -> None:
        """A verb that changes nothing has failed: that may be only where power was lost."""
        if not (isinstance(error, CoreTimeoutError) and self._board.lost_power):
            self._unended += requests
            self.violation = self.violation or f"without a reset: {error}"
            return
        self._unknown += requests
        self._reopen()

    def _settle(self, index: int, pulse: Pulse, error: CoreTimeoutError) -> None:
        """A mutation has an unknown outcome: ask the board that has started again."""
        self._failed(error, 1)
        if self.violation:
            return
        try:
            report = self._reconcile(int(error.fields["mutation"]))
        except HilError as failed:
            self._unended += 1
            self.violation = f"an unknown outcome could not be asked for: {failed}"
            return
        self._count(index, pulse, least=pulse.total if report.outcome is Outcome.DONE else 0)
        if report.outcome is None and self._board.applied:
            self._wrong += 1
            self.violation = self.violation or "pulses that the board says it never got"

    def _reconcile(self, mutation: int) -> MutationReport:
        core = self._chip.cores[0]
        assert isinstance(core, BoardCore)  # noqa: S101 - a board has such cores
        return core.board.reconcile(mutation)

    # Sessions

    def _open(self) -> Chip:
        for _ in range(_OPENINGS):
            self._board.lost_power = False
            try:
                transport = self._board.connect()
                terms = LeaseTerms(lapse_s=0.0, takeover=True, holder="bench")
                return open_board(transport, address="bench:", timing=_TIMING, lease=terms)
            except CoreTimeoutError:
                continue  # it lost power again
        raise DeviceFaultError(f"the board could not be opened in {_OPENINGS} attempts")

    def _reopen(self) -> None:
        self.close()
        self._chip = self._open()

    def close(self) -> None:
        """Note what the link counted, and close the session."""
        core = self._chip.cores[0]
        assert isinstance(core, BoardCore)  # noqa: S101 - a board has such cores
        self._repeats += core.board.statistics.retries
        self._dropped += core.board.statistics.dropped
        self._chip.close()

    def result(self, seconds: float) -> BoardFaults:
        """Judge what happened, and every cell at last."""
        for inner, twin in zip(self._board.chip.cores, self._twin.cores, strict=True):
            cells = np.indices(_shape(self._twin, 0)).reshape(3, -1)
            request = CellRead.of(device=cells[0], rows=cells[1], cols=cells[2])
            if not np.array_equal(inner.read(request).codes, twin.read(request).codes):
                self._wrong += 1
                self.violation = self.violation or "cells differ from the twin's at the end"
        return BoardFaults(
            part="driver, board emulator, ideal chip",
            faults=self._board.faults(),
            requests=self._requests,
            mutations=self._mutations,
            answered=self._answered,
            unknown=self._unknown,
            resets=self._board.resets,
            repeats=self._repeats,
            dropped=self._dropped + self._board.dropped,
            wrong=self._wrong,
            twice=self._twice,
            unended=self._unended,
            first_violation=self.violation,
            seconds=seconds,
        )


def _shape(chip: Chip, index: int) -> tuple[int, int, int]:
    info = chip.cores[index].info
    return info.devices_per_cell, info.rows, info.cols
