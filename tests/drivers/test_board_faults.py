"""Driver and device over a line with every fault: pulses once or unknown, no wrong reply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.board import Board, LeaseTerms
from drivers.dispatcher import Dispatcher
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import CellRead, Chip, CoreSettings, CoreTimeoutError, CoreUnavailableError, MvmRequest
from hil.core import Outcome, Pulse
from hil.info import PulseFamily

MakeChip = Callable[[], Chip]
STILL = LeaseTerms(lapse_s=0.0, holder="a test")
OPENINGS = 20


@dataclass(frozen=True)
class Rates:
    """How often a frame is lost, doubled, damaged or held back, and power fails in a step."""

    lose: float = 0.0
    double: float = 0.0
    flip: float = 0.0
    hold: float = 0.0
    reset: float = 0.0


class RoughLine:
    """One byte stream of a device, with faults in both directions; reads come in any split."""

    def __init__(self, device: Dispatcher, rates: Rates, rng: np.random.Generator) -> None:
        self.device, self.rates, self.rng = device, rates, rng
        self.stream = DeviceEmulator(device)
        self.held: dict[str, bytes] = {"out": b"", "in": b""}

    def __call__(self, data: bytes) -> bytes:
        for part in self.split(self.spoil("out", data)):
            self.stream.accept(part)
            while self.device.busy:
                if self.rng.random() < self.rates.reset:
                    self.device.power_cycle()
                self.device.work()
        return self.spoil("in", self.stream.take_output())

    def spoil(self, way: str, data: bytes) -> bytes:
        out = [self.held[way]]
        self.held[way] = b""
        for body in data.split(b"\x00")[:-1]:
            frame, draw = body + b"\x00", self.rng.random(4)
            if draw[0] < self.rates.lose:
                continue
            if draw[1] < self.rates.flip:
                broken = bytearray(frame)
                place = self.rng.integers(8 * len(frame))
                broken[place // 8] ^= 1 << place % 8
                frame = bytes(broken)
            if draw[2] < self.rates.hold:
                self.held[way] += frame
                continue
            out.append(frame * (2 if draw[3] < self.rates.double else 1))
        return b"".join(out)

    def split(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = int(self.rng.integers(1, len(data) + 1))
            yield data[:size]
            data = data[size:]


class Trickle(MemoryTransport):
    """Gives what has come in pieces of any size."""

    def __init__(self, line: RoughLine) -> None:
        super().__init__(line)
        self.rng = line.rng

    def read(self, max_bytes: int, deadline_s: float) -> bytes:
        return super().read(int(self.rng.integers(1, 5000)), deadline_s)


class Host:
    """A host that opens the board again whenever it is lost, and a model of what the cells hold."""

    def __init__(self, device: Dispatcher, rates: Rates, seed: int) -> None:
        self.device, self.rates = device, rates
        self.rng = np.random.default_rng(seed)
        self.model = np.zeros((2, 6, 5), np.int64)
        self.unknown = 0
        self.programs = 0
        self.line: RoughLine | None = None
        self.open()

    def open(self) -> None:
        for _ in range(OPENINGS):
            if self.line is not None:
                self.line.stream.close()  # as closing a port does: its session is over
            line = self.line = RoughLine(self.device, self.rates, self.rng)
            try:
                self.board = Board(Trickle(line), address="rough:", holder="a test")
                self.board.lock(STILL)
            except (CoreTimeoutError, CoreUnavailableError):
                continue
            self.core: Any = self.board.chip().cores[0]
            return
        raise AssertionError("the board could not be opened")

    def program(self) -> None:
        place = self.rng.choice(60, self.rng.integers(1, 20), replace=False)
        device, rows, cols = np.unravel_index(np.sort(place), (2, 6, 5))
        pulse = Pulse.of(PulseFamily.SET, device=device, rows=rows, cols=cols, amplitude=1, width=1)
        try:
            result = self.core.program(pulse)
        except CoreTimeoutError as lost:
            outcome = self.reconcile(lost.fields["mutation"], str(lost))
        else:
            assert (result.outcome, result.pulses) == (Outcome.DONE, pulse.total)
            outcome = result.outcome
        done = np.zeros_like(self.model)
        done[device, rows, cols] = 1
        if outcome is Outcome.DONE:
            self.model += done
            self.programs += 1
        elif outcome is Outcome.UNKNOWN:
            self.unknown += 1
            moved = self.device.chip.cores[0].cells - self.model  # type: ignore[attr-defined]
            assert (
                np.array_equal(moved, done) or not moved.any()
            )  # whole or not at all, never twice
            self.model += moved
            self.programs += int(moved.any())
        else:
            assert outcome in (None, Outcome.REJECTED)

    def reconcile(self, mutation: int, sentence: str) -> Outcome | None:
        assert f"the outcome of mutation {mutation} is unknown" in sentence
        assert mutation <= self.device.ledger.last + 1
        for _ in range(OPENINGS):
            self.open()
            try:
                return self.board.reconcile(mutation).outcome
            except (CoreTimeoutError, CoreUnavailableError):
                continue
        raise AssertionError("nobody says what became of a mutation")

    def look(self) -> None:
        """Multiply, read or configure; an answer is right or there is none."""
        codes = self.rng.integers(-300, 301, (int(self.rng.integers(1, 9)), 6)).astype(np.int16)
        every = {"rows": np.repeat(np.arange(6), 5), "cols": np.tile(np.arange(5), 6)}
        try:
            match self.rng.integers(4):
                case 0:
                    result = self.core.mvm(MvmRequest(input_codes=codes))
                    expected = codes.astype(np.int64) @ (self.model[0] - self.model[1])
                    assert np.array_equal(result.output_codes, expected)
                case 1:
                    requests = [MvmRequest(input_codes=codes[k : k + 1]) for k in range(len(codes))]
                    results = self.core.mvm_many(requests * 5)
                    outputs = np.concatenate([r.output_codes for r in results])
                    expected = codes.astype(np.int64) @ (self.model[0] - self.model[1])
                    assert np.array_equal(outputs, np.tile(expected, (5, 1)))
                case 2:
                    read = self.core.read(CellRead.of(device=1, **every))
                    assert np.array_equal(read.codes, self.model[1].ravel())
                case _:
                    trim = self.rng.integers(-300, 301, 5).astype(np.int16)
                    self.core.configure(CoreSettings(gain_trim=trim))
                    assert np.array_equal(self.core.settings().gain_trim, trim)
        except CoreTimeoutError:
            self.open()


def run(make_cells: MakeChip, rates: Rates, seed: int, verbs: int) -> Host:
    logging.getLogger("drivers").setLevel(logging.ERROR)
    inner = make_cells()
    host = Host(Dispatcher(inner), rates, seed)
    for _ in range(verbs):
        host.program() if host.rng.random() < 0.5 else host.look()
    cells = inner.cores[0].cells  # type: ignore[attr-defined]
    assert np.array_equal(cells, host.model)
    assert inner.cores[0].counts["generation"] == host.programs  # type: ignore[attr-defined]
    return host


rate = st.floats(0.0, 0.2)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Rates, rate, rate, rate, rate, st.floats(0.0, 0.05)), st.integers(0, 2**32))
def test_pulses_are_applied_once_or_reported_unknown_whatever_the_line_does(
    make_cells: MakeChip, rates: Rates, seed: int
) -> None:
    run(make_cells, rates, seed, verbs=12)


def test_a_line_that_spoils_every_fifth_frame_loses_no_verb(make_cells: MakeChip) -> None:
    host = run(make_cells, Rates(lose=0.1, double=0.1, flip=0.1, hold=0.1), 5, verbs=150)
    assert host.unknown == 0
    assert host.board.statistics.retries > 10
    assert not host.board.link.lost


def test_power_that_fails_in_mid_program_leaves_known_and_unknown_outcomes(
    make_cells: MakeChip,
) -> None:
    host = run(make_cells, Rates(reset=0.1), 6, verbs=150)
    assert host.unknown > 5
    assert host.programs > 20


@pytest.mark.parametrize("seed", [1, 2])
def test_a_large_request_crosses_a_line_that_loses_a_tenth_of_its_frames(
    make_cells: MakeChip, seed: int
) -> None:
    host = Host(Dispatcher(make_cells()), Rates(lose=0.1, flip=0.05, hold=0.05), seed)
    many = np.zeros(60_000, np.int32)
    result = host.core.read(CellRead.of(device=np.zeros(60_000, np.int8), rows=many, cols=many))
    assert result.codes.shape == (60_000,)
    assert host.device.chip.cores[0].executed == ["read"]  # type: ignore[attr-defined]
