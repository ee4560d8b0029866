"""A chip with a known answer: `LinearCells`, every departure from the ideal a named argument."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from typing_extensions import override

from hil.cli import main
from hil.core import (
    CellRead,
    Core,
    CoreSettings,
    CoreStatus,
    MvmRequest,
    MvmResult,
    Outcome,
    ProgramResult,
    Pulse,
    ReadResult,
)
from hil.info import (
    BackendKind,
    Capability,
    CoreInfo,
    DeviceNominal,
    MvmMode,
    PulseFamily,
    PulseLimits,
)
from hil.units import CodeScale

G_MAX = 10e-6  # S, one device
TOP = 20e-6  # S, nominal RESET curve at amplitude code 0
SLOT_S = 1e-6


@pytest.fixture
def hil(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["hil", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How the cells differ from the nominal line.

    Attributes:
        shift_codes: Each device's curve is moved along the amplitude axis, (devices, rows, cols).
        gain: Each device's conductance is this many times the nominal.
        inverted: Conductance rises with amplitude where the nominal curve falls.
        dead_siemens: Conductance that no pulse moves; NaN where the device is alive.
        pulse_noise, read_noise: Standard deviations, S.
        outcome: What every pulse request comes to.
    """

    shift_codes: np.ndarray | float = 0.0
    gain: np.ndarray | float = 1.0
    inverted: bool = False
    dead_siemens: np.ndarray | float = float("nan")
    pulse_noise: float = 0.0
    read_noise: float = 0.0
    outcome: Outcome = Outcome.DONE


class LinearCells(Core):
    """G falls on a line from TOP at code 0 to 0 at `zero_code`; TOP at SET; exact products."""

    def __init__(
        self,
        rows: int = 8,
        cols: int = 6,
        *,
        devices: int = 1,
        faults: Faults | None = None,
        read_bits: int = 12,
        amplitude_bits: int = 10,
        read_top: float = 1.5 * TOP,
        families: tuple[PulseFamily, ...] = (PulseFamily.RESET, PulseFamily.SET),
        capabilities: frozenset[Capability] = frozenset({Capability.CELL_READ}),
        max_pulses: int = 100_000,
        seed: int = 0,
    ) -> None:
        most = 2**amplitude_bits - 1
        self.zero_code = 3 * (most + 1) // 4  # the rest is room for devices that need more
        amplitude = CodeScale(min_code=0, max_code=most, step=1e-6, unit="A")
        width = CodeScale(min_code=1, max_code=20, step=50e-9, unit="s")
        super().__init__(
            CoreInfo(
                chip_serial="FAKE-1",
                core=0,
                backend=BackendKind.SIM,
                model="linear",
                rows=rows,
                cols=cols,
                devices_per_polarity=devices,
                input=CodeScale(min_code=-127, max_code=127, step=1 / 127, unit="1"),
                output_codes=CodeScale(min_code=-(2**20), max_code=2**20, step=1.0, unit="1"),
                output_ranges_siemens=(devices * rows * TOP,),
                read=CodeScale(
                    min_code=0, max_code=2**read_bits - 1, step=read_top / 2**read_bits, unit="S"
                ),
                gain_trim=None,
                offset_trim=None,
                pulses=tuple(
                    PulseLimits(
                        family=family,
                        amplitude=amplitude,
                        width=width,
                        max_count=16,
                        slot_s=SLOT_S,
                        full_width_code=20 if family is PulseFamily.SET else None,
                    )
                    for family in families
                ),
                mvm_s={MvmMode.ONE_PHASE: 1e-7},
                read_slot_s=SLOT_S,
                max_batch=64,
                max_pulses=max_pulses,
                capabilities=capabilities,
                device=DeviceNominal(
                    g_max_siemens=devices * G_MAX,
                    device_g_max_siemens=G_MAX,
                    reference_age_s=100.0,
                    verify_margin_siemens=5 / 80 * G_MAX,
                    drift_relative=(),
                    drift_exponents=(),
                    reset_amplitude_codes=(0, self.zero_code),
                    reset_siemens=(TOP, 0.0),
                ),
                versions={},
            )
        )
        self.faults = faults or Faults()
        shape = (2 * devices, rows, cols)
        self.siemens = np.where(
            np.isnan(self.faults.dead_siemens), 0.0, self.faults.dead_siemens
        ) * np.ones(shape)
        self.pulses = np.zeros(shape, np.int64)
        self.requests: list[Pulse] = []
        self.read_at_s: list[float] = []
        self.pulsed_at_s = float("-inf")
        self.reads = 0
        self._now_s = 0.0
        self._rng = np.random.default_rng(seed)

    @property
    def net_siemens(self) -> np.ndarray:
        """Signed conductance of each cell, S."""
        n = self.info.devices_per_polarity
        return self.siemens[:n].sum(axis=0) - self.siemens[n:].sum(axis=0)

    def _per_device(self, value: np.ndarray | float, place: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.broadcast_to(value, self.siemens.shape)[place]

    @override
    def _do_program(self, pulse: Pulse) -> ProgramResult:
        place, f = (pulse.device, pulse.rows, pulse.cols), self.faults
        self._now_s += SLOT_S
        self.pulsed_at_s = self._now_s
        if f.outcome is not Outcome.DONE:
            return ProgramResult(outcome=f.outcome, pulses=0, at_s=self._now_s)
        self.requests.append(pulse)
        np.add.at(self.pulses, place, pulse.count)
        amplitude = pulse.amplitude - self._per_device(f.shift_codes, place)
        if pulse.family is PulseFamily.SET:
            amplitude = np.zeros(len(pulse))
        share = np.clip(amplitude / self.zero_code, 0.0, 1.0)
        wanted = TOP * (share if f.inverted else 1 - share) * self._per_device(f.gain, place)
        wanted = wanted + f.pulse_noise * self._rng.standard_normal(len(pulse))
        dead = self._per_device(f.dead_siemens, place)
        self.siemens[place] = np.where(np.isnan(dead), np.maximum(wanted, 0.0), dead)
        return ProgramResult(outcome=Outcome.DONE, pulses=pulse.total, at_s=self._now_s)

    @override
    def _do_read(self, request: CellRead) -> ReadResult:
        self._now_s += SLOT_S * request.averages
        self.read_at_s.append(self._now_s)
        self.reads += len(request) * request.averages
        noise = self._rng.standard_normal((request.averages, len(request))).mean(axis=0)
        seen = self.siemens[request.device, request.rows, request.cols]
        raw = (seen + self.faults.read_noise * noise) / self.info.read.step
        low, high = self.info.read.min_code, self.info.read.max_code
        return ReadResult(
            codes=self.info.read.to_codes(raw * self.info.read.step),
            saturated=(raw > high + 0.5) | (raw < low - 0.5),
            temperature_kelvin=300.0,
            at_s=self._now_s,
        )

    @override
    def _do_mvm(self, request: MvmRequest) -> MvmResult:
        weights = self.net_siemens
        if request.window is not None:
            w = request.window
            weights = weights[w.row : w.row + w.rows, w.col : w.col + w.cols]
        exact = self.info.input.to_si(request.input_codes) @ weights
        scale = self.info.output_codes
        codes = np.clip(
            np.rint(exact / self.info.output_step_siemens(0)), scale.min_code, scale.max_code
        )
        self._now_s += 1e-7 * len(exact)
        return MvmResult(
            output_codes=codes.astype(scale.dtype),
            saturated=np.abs(codes) == scale.max_code,
            temperature_kelvin=300.0,
            at_s=self._now_s,
        )

    @override
    def _do_configure(self, settings: CoreSettings) -> None:
        del settings

    @override
    def _do_status(self) -> CoreStatus:
        return CoreStatus(
            now_s=self._now_s,
            temperature_kelvin=300.0,
            pulses=int(self.pulses.sum()),
            reads=self.reads,
            mvms=0,
            last_pulse_at_s=None,
            generation=len(self.requests),
            safe=False,
        )

    @override
    def _do_settings(self) -> CoreSettings:
        return CoreSettings(output_range=0)

    @override
    def _do_wait(self, seconds: float) -> float:
        self._now_s += seconds
        return self._now_s

    @override
    def _do_now_s(self) -> float:
        return self._now_s

    @override
    def _do_safe_state(self) -> None:
        """Nothing is driven."""


@pytest.fixture
def linear_cells() -> type[LinearCells]:
    """The fake core with a known answer; make it with `faults=faults(...)`."""
    return LinearCells


@pytest.fixture
def faults() -> type[Faults]:
    """What may be wrong with `linear_cells`."""
    return Faults


@pytest.fixture
def local_server():
    """A local server: serve(answer) gives its address; answer(handler) replies to each request."""
    running = []

    def serve(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError):
                    answer(self)

            def log_message(self, *_args):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((http, thread))
        return f"http://127.0.0.1:{http.server_port}/"

    yield serve
    for http, thread in running:
        http.shutdown()
        http.server_close()
        thread.join()
