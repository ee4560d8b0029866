"""A stranger's back-end: exact integer cells, and on demand one fault that breaks one law.

Copied into a package outside of this project by the tests of the plug-in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from typing_extensions import override

from hil import (
    BackendKind,
    Capability,
    CellRead,
    Chip,
    ChipInfo,
    Core,
    CoreInfo,
    CoreSettings,
    MvmMode,
    MvmRequest,
    MvmResult,
    Outcome,
    Pulse,
    PulseFamily,
    ReadResult,
    RequestError,
)
from hil.address import Address
from hil.core import CoreStatus, ProgramResult
from hil.info import DeviceNominal, PulseLimits
from hil.units import CodeScale

ROWS, COLS, TOP = 12, 10, 255
FAULTS = ("wraps", "neighbour", "clock", "dtype", "offset", "halves", "forgets", "counts")


def scale(low: int, high: int, unit: str = "1", step: float = 1.0) -> CodeScale:
    return CodeScale(min_code=low, max_code=high, step=step, unit=unit)


def limits(family: PulseFamily, full: int | None) -> PulseLimits:
    return PulseLimits(
        family=family,
        amplitude=scale(0, TOP, "A"),
        width=scale(1, 9, "s"),
        max_count=100,
        slot_s=1e-3,
        full_width_code=full,
    )


def info_of(kind: BackendKind) -> CoreInfo:
    return CoreInfo(
        chip_serial="BENCH-1",
        core=0,
        backend=kind,
        model="bench",
        rows=ROWS,
        cols=COLS,
        devices_per_polarity=1,
        input=scale(-7, 7),
        output_codes=scale(-511, 511),
        output_ranges_siemens=(511.0, 8 * 511.0),
        read=scale(0, TOP, "S"),
        gain_trim=None,
        offset_trim=None,
        pulses=(limits(PulseFamily.SET, 9), limits(PulseFamily.RESET, None)),
        mvm_s={MvmMode.ONE_PHASE: 1e-6},
        read_slot_s=1e-6,
        max_batch=64,
        max_pulses=100,
        capabilities=frozenset({Capability.CELL_READ}),
        device=DeviceNominal(
            g_max_siemens=float(TOP),
            device_g_max_siemens=float(TOP),
            reference_age_s=1.0,
            verify_margin_siemens=1.0,
            drift_relative=(),
            drift_exponents=(),
            reset_amplitude_codes=tuple(range(TOP + 1)),
            reset_siemens=tuple(float(TOP - a) for a in range(TOP + 1)),
        ),
        versions={"bench": "1"},
    )


@dataclass
class Cells:
    """What outlasts an opening."""

    codes: np.ndarray[Any, Any] = field(default_factory=lambda: np.full((2, ROWS, COLS), 10))
    now: float = 0.0
    pulses: int = 0
    reads: int = 0
    mvms: int = 0
    generation: int = 0
    last: float | None = None
    range: int = 0


CHIPS: dict[str, Cells] = {}
"""The bench: a chip stays on it, whoever opens it."""


class BenchCore(Core):
    """SET raises a device by its width, or fully; RESET sets it to TOP minus the amplitude."""

    def __init__(self, kind: BackendKind, cells: Cells, fault: str, noise: int) -> None:
        super().__init__(info_of(kind))
        self.fault = fault
        self.noise = noise
        self.rng = np.random.default_rng(1)
        self.kept = cells
        self.safe = False

    def _drawn(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return self.rng.integers(-self.noise, self.noise + 1, shape)

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        place = (pulse.device, pulse.rows, pulse.cols)
        if pulse.family is PulseFamily.RESET:
            self.kept.codes[place] = TOP - pulse.amplitude
        else:
            full = pulse.width >= 9
            self.kept.codes[place] = np.where(
                full, TOP, np.minimum(self.kept.codes[place] + 1, TOP)
            )
        if self.fault == "neighbour" and len(pulse):
            self.kept.codes[pulse.device, pulse.rows - 1, pulse.cols] -= 9
        if len(pulse):
            self.kept.now += 1e-3
            self.kept.last, self.kept.generation = self.kept.now, self.kept.generation + 1
        self.kept.pulses += pulse.total
        counted = pulse.total + (self.fault == "counts")
        return ProgramResult(outcome=Outcome.DONE, pulses=counted, at_s=self.kept.now)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        self.kept.now += 1e-6 * len(request)
        self.kept.reads += len(request)
        exact = self.kept.codes[request.device, request.rows, request.cols]
        codes = np.clip(exact + self._drawn(exact.shape), 0, TOP)
        return ReadResult(
            codes=codes.astype(np.int16),
            saturated=np.zeros(codes.shape, bool),
            temperature_kelvin=300.0,
            at_s=self.kept.now,
        )

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        batch = request.input_codes.shape[0]
        self.kept.now += 1e-6 * batch * (-1 if self.fault == "clock" else 1)
        self.kept.mvms += batch
        net = self.kept.codes[0] - self.kept.codes[1]
        if request.window is not None:
            w = request.window
            net = net[w.row : w.row + w.rows, w.col : w.col + w.cols]
        exact = request.input_codes.astype(np.int64) @ net
        exact = np.rint(exact / (1, 8)[self.kept.range]).astype(np.int64)
        exact += self._drawn(exact.shape)
        if self.fault == "offset":
            exact += int(self.kept.codes.sum()) % 7 * 4
        if self.fault == "halves":
            exact += 3 * batch
        codes = np.clip(exact, -511, 511)
        saturated = codes != exact
        if self.fault == "wraps":
            codes, saturated = (exact + 511) % 1023 - 511, np.zeros(exact.shape, bool)
        return MvmResult(
            output_codes=codes.astype(np.int64 if self.fault == "dtype" else np.int16),
            saturated=saturated,
            temperature_kelvin=300.0,
            at_s=self.kept.now,
        )

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        if settings.output_range is not None and self.fault != "forgets":
            self.kept.range = settings.output_range
        self.safe = False

    @override
    def _do_status(self) -> CoreStatus:
        return CoreStatus(
            now_s=self.kept.now,
            temperature_kelvin=300.0,
            pulses=self.kept.pulses,
            reads=self.kept.reads,
            mvms=self.kept.mvms,
            last_pulse_at_s=self.kept.last,
            generation=self.kept.generation,
            safe=self.safe,
        )

    @override
    def _do_settings(self) -> CoreSettings:
        return CoreSettings(output_range=self.kept.range)

    @override
    def _do_wait(self, seconds: float) -> float:
        self.kept.now += seconds
        return self.kept.now

    @override
    def _do_now_s(self) -> float:
        return self.kept.now

    @override
    def _do_safe_state(self) -> None:
        self.safe = True


def open_bench(address: Address) -> Chip:
    """Open "bench:sim?fault=NAME" or "bench:silicon"."""
    address.refuse_unknown(("fault", "noise"))
    fault = address.options.get("fault", "none")
    if fault not in ("none", *FAULTS):
        raise RequestError(f"fault {fault!r} is unknown")
    kind = BackendKind(address.target)
    cells = CHIPS.setdefault(address.text, Cells())
    core = BenchCore(kind, cells, fault, address.integer("noise", 0, 0, 100))
    info = ChipInfo(
        serial="BENCH-1", backend=kind, model="bench", address=address.text, cores=(core.info,)
    )
    return Chip(info=info, cores=(core,))
