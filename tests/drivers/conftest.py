"""A chip with known answers behind frames: integer cells, a clock, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from drivers.board import LeaseTerms, open_board
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport, Transport
from hil import (
    BackendKind,
    Capability,
    CellRead,
    Chip,
    ChipInfo,
    Core,
    CoreInfo,
    CoreSettings,
    Direction,
    MvmMode,
    MvmRequest,
    MvmResult,
    Outcome,
    Pulse,
    PulseFamily,
    ReadResult,
)
from hil.core import CoreStatus, ProgramResult
from hil.info import DeviceNominal, PulseLimits
from hil.units import CodeScale

ROWS, COLS = 6, 5


def scale(low: int, high: int, unit: str = "1") -> CodeScale:
    return CodeScale(min_code=low, max_code=high, step=1.0, unit=unit)


def integer_info(core: int) -> CoreInfo:
    """An info whose scales need one, two and four bytes."""
    return CoreInfo(
        chip_serial="CELLS-1",
        core=core,
        backend=BackendKind.SIM,
        model="integer-cells",
        rows=ROWS,
        cols=COLS,
        devices_per_polarity=1,
        input=scale(-300, 300),
        output_codes=scale(-100_000, 100_000),
        output_ranges_siemens=(0.1, 1.0),
        read=scale(0, 127, "S"),
        gain_trim=scale(-300, 300),
        offset_trim=scale(-15, 15),
        pulses=(
            PulseLimits(
                family=PulseFamily.SET,
                amplitude=scale(0, 70_000, "A"),
                width=scale(1, 9, "s"),
                max_count=200,
                slot_s=1e-3,
            ),
        ),
        mvm_s={MvmMode.ONE_PHASE: 1e-6, MvmMode.FOUR_PHASE: 4e-6},
        read_slot_s=1e-6,
        max_batch=64,
        max_pulses=60,
        capabilities=frozenset(
            {Capability.CELL_READ, Capability.TRANSPOSED_MVM, Capability.TEMPERATURE_CONTROL}
        ),
        device=DeviceNominal(
            g_max_siemens=127.0,
            device_g_max_siemens=127.0,
            reference_age_s=1.0,
            verify_margin_siemens=1.0,
            drift_relative=(),
            drift_exponents=(),
            reset_amplitude_codes=(0, 1),
            reset_siemens=(1.0, 0.0),
        ),
        versions={"cells": "1"},
    )


class IntegerCells(Core):
    """Every device counts its pulses up to 127; products are exact; the outputs carry the time."""

    def __init__(self, core: int, clock: list[float]) -> None:
        super().__init__(integer_info(core))
        self.clock = clock
        self.cells = np.zeros((2, ROWS, COLS), np.int64)
        self.held = CoreSettings(
            output_range=0,
            gain_trim=np.zeros(COLS, np.int16),
            offset_trim=np.zeros(COLS, np.int16),
            temperature_kelvin=300.0,
        )
        self.counts = {"pulses": 0, "reads": 0, "mvms": 0, "generation": 0}
        self.last_pulse_at_s: float | None = None
        self.safe = False
        self.fault: Exception | None = None
        self.executed: list[str] = []

    def _run(self, verb: str, takes_s: float = 0.0) -> float:
        self.executed.append(verb)
        if self.fault is not None:
            raise self.fault
        self.clock[0] += takes_s
        return self.clock[0]

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        at_s = self._run("program", 1e-3 * pulse.total)
        place = (pulse.device, pulse.rows, pulse.cols)
        self.cells[place] = np.minimum(self.cells[place] + pulse.count, 127)
        self.counts["pulses"] += pulse.total
        self.counts["generation"] += 1
        self.last_pulse_at_s = at_s
        return ProgramResult(outcome=Outcome.DONE, pulses=pulse.total, at_s=at_s)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        at_s = self._run("read", 1e-6 * len(request) * request.averages)
        codes = self.cells[request.device, request.rows, request.cols].astype(np.int16)
        self.counts["reads"] += len(request)
        return ReadResult(
            codes=codes, saturated=codes == 127, temperature_kelvin=1 / 3 + 300, at_s=at_s
        )

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        batch = request.input_codes.shape[0]
        at_s = self._run("mvm", 1e-6 * batch)
        net = self.cells[0] - self.cells[1]
        if request.window is not None:
            w = request.window
            net = net[w.row : w.row + w.rows, w.col : w.col + w.cols]
        if request.direction is Direction.TRANSPOSED:
            net = net.T
        exact = request.input_codes.astype(np.int64) @ net
        codes = np.clip(exact, -100_000, 100_000).astype(np.int32)
        self.counts["mvms"] += batch
        return MvmResult(
            output_codes=codes, saturated=codes != exact, temperature_kelvin=299.9, at_s=at_s
        )

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        self._run("configure")
        given = {k: v for k, v in vars(settings).items() if v is not None}
        self.held = CoreSettings(**{**vars(self.held), **given})
        self.safe = False

    @override
    def _do_status(self) -> CoreStatus:
        return CoreStatus(
            now_s=self._run("status"),
            temperature_kelvin=300.1,
            last_pulse_at_s=self.last_pulse_at_s,
            safe=self.safe,
            **self.counts,
        )

    @override
    def _do_settings(self) -> CoreSettings:
        self._run("settings")
        return self.held

    @override
    def _do_wait(self, seconds: float) -> float:
        return self._run("wait", seconds)

    @override
    def _do_now_s(self) -> float:
        return self._run("now")

    @override
    def _do_safe_state(self) -> None:
        self._run("safe_state")
        self.safe = True


class Line:
    """What lies between host and device: passes bytes on, or does as a test says."""

    def __init__(self, inner: Chip) -> None:
        self.device = DeviceEmulator(inner)
        self.alter_reply: Callable[[bytes], bytes] = lambda data: data
        self.alter_request: Callable[[bytes], bytes] = lambda data: data

    def __call__(self, data: bytes) -> bytes:
        return self.alter_reply(self.device.receive(self.alter_request(data)))


STILL = LeaseTerms(lapse_s=0.0, holder="a test")
"""A lease that never lapses and needs no thread."""


@pytest.fixture
def opened(make_cells: Callable[[], Chip]) -> Callable[..., tuple[Line, Chip]]:
    """Opens a chip of integer cells through a line: (line, chip)."""

    def open_line(
        inner: Chip | None = None,
        transport: Callable[[Line], Transport] = MemoryTransport,
        **options: Any,
    ) -> tuple[Line, Chip]:
        line = Line(make_cells() if inner is None else inner)
        chip = open_board(transport(line), address="fake:board", lease=STILL, **options)
        return line, chip

    return open_line


@pytest.fixture
def make_cells() -> Callable[[], Chip]:
    """Makes chips of two cores with known answers."""

    def make() -> Chip:
        clock = [0.0]
        cores = tuple(IntegerCells(k, clock) for k in range(2))
        info = ChipInfo(
            serial="CELLS-1",
            backend=BackendKind.SIM,
            model="integer-cells",
            address="fake:cells",
            cores=tuple(core.info for core in cores),
        )
        return Chip(info=info, cores=cores)

    return make
