"""Reads scatter by the published log law; an MVM scatters as if every device had been drawn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from hil.backends import open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse
from hil.info import Direction, PulseFamily
from sim_backend.sim_core import SimCore

pytestmark = pytest.mark.statistical

Array = npt.NDArray[np.float64]

# Published Q at r and read times: (r, Q), t_r in s.
HERMES_Q = {0.3: 0.021, 0.5: 0.022, 0.7: 0.019, 1.0: 0.017}
PCM90_Q = {0.3: 0.019, 0.5: 0.014, 0.7: 0.011, 1.0: 0.009}
QUIET = "off=mismatch+output_noise+stuck+wire&adc_bits=12"


def _program_random(core: SimCore, seed: int) -> None:
    info = core.info
    limits = info.limits(PulseFamily.RESET)
    assert limits is not None
    rng = np.random.default_rng(seed)
    shape = (info.devices_per_cell, info.rows, info.cols)
    device, rows, cols = (a.ravel() for a in np.indices(shape))
    low, high = 0.35 * limits.amplitude.max_code, 0.75 * limits.amplitude.max_code
    core.program(
        Pulse.of(
            PulseFamily.RESET,
            device=device,
            rows=rows,
            cols=cols,
            amplitude=rng.integers(int(low), int(high), device.size),
            width=1,
        )
    )


def _core(chip: object) -> SimCore:
    core = chip.cores[0]  # type: ignore[attr-defined]
    assert isinstance(core, SimCore)
    return core


def _everything(core: SimCore, averages: int = 1) -> CellRead:
    info = core.info
    device, rows, cols = (
        a.ravel() for a in np.indices((info.devices_per_cell, info.rows, info.cols))
    )
    return CellRead.of(device=device, rows=rows, cols=cols, averages=averages)


@pytest.mark.parametrize("age_s", [0.0, 86_400.0])
@pytest.mark.parametrize(
    ("preset", "t0_s", "t_read_s", "published"),
    [("hermes", 200.0, 512e-9, HERMES_Q), ("pcm90", 20.0, 250e-9, PCM90_Q)],
)
def test_reads_of_one_state_scatter_by_the_log_law(
    preset: str, t0_s: float, t_read_s: float, published: dict[float, float], age_s: float
) -> None:
    with open_chip(f"sim:{preset}?devices=1&rows=128&cols=128&seed=3&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 3)
        r = core.array.pcm._g.numpy().ravel()  # Q belongs to the programmed state
        chip.wait(age_s or t0_s)
        unit = core.info.device.device_g_max_siemens
        codes = np.stack([core.read(_everything(core)).codes for _ in range(60)])
        now = core.array.conductance_siemens(core.now_s()).numpy().ravel() / unit
    reads = codes * (core.info.read.step / unit)
    quantum = core.info.read.step / unit
    age = max(age_s, t0_s)
    growth = math.sqrt(math.log((age + t_read_s) / (2 * t_read_s)))
    for spot, q in published.items():
        near = np.abs(r - spot) < 0.05
        variance = reads[:, near].var(axis=0, ddof=1) - quantum**2 / 12
        seen = math.sqrt(float(np.mean(variance / now[near] ** 2))) / growth
        freedom = (codes.shape[0] - 1) * int(near.sum())
        # Published values are rounded to three decimals, and Q varies within the bin.
        assert abs(seen - q) < 4 * q / math.sqrt(2 * freedom) + 0.0011, spot


def test_averaging_n_reads_shrinks_the_scatter_as_one_over_root_n() -> None:
    with open_chip(f"sim:hermes?devices=1&rows=64&cols=64&seed=4&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 4)
        chip.wait(200.0)
        averages = np.array([1, 2, 4, 8, 16, 32])
        truth = core.array.conductance_siemens(core.now_s()).numpy().ravel()
        used = truth > 0.2 * core.info.device.device_g_max_siemens
        log_sigma, weight = [], []
        for n in averages:
            request = _everything(core, int(n))
            codes = np.stack([core.read(request).codes[used] for _ in range(20)])
            variance = codes.var(axis=0, ddof=1) - 1 / 12
            log_sigma.append(0.5 * math.log(float(variance.mean())))
            weight.append(1 / math.sqrt(2 * 19 * used.sum()))
    (slope, _), covariance = np.polyfit(
        np.log(averages), log_sigma, 1, w=1 / np.asarray(weight), cov="unscaled"
    )
    # Devices differ in variance, which widens the error of its mean: five errors instead of three.
    assert abs(slope + 0.5) < 5 * math.sqrt(covariance[0, 0])


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.TRANSPOSED])
def test_mvm_scatters_as_if_every_device_had_been_drawn(direction: Direction) -> None:
    repeats, lines = 512, 64
    with open_chip(f"sim:hermes?devices=2&rows=64&cols=64&seed=5&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 5)
        chip.wait(3600.0)
        info = core.info
        rng = np.random.default_rng(6)
        x = rng.integers(-127, 128, lines)
        core.configure(CoreSettings(output_range=4))
        request = MvmRequest(
            input_codes=np.tile(x, (repeats, 1)).astype(info.input.dtype), direction=direction
        )
        result = core.mvm(request)
        assert not result.saturated.any()
        seen = result.output_codes * info.output_step_siemens(4)
        pcm = core.array.pcm
        g = pcm.conductance(core.now_s())
        sigma = pcm.read_sigma(g, core.now_s()).numpy() * info.device.device_g_max_siemens
    siemens = g.numpy() * info.device.device_g_max_siemens
    if direction is Direction.TRANSPOSED:
        sigma, siemens = np.swapaxes(sigma, 1, 2), np.swapaxes(siemens, 1, 2)
    half = info.devices_per_polarity
    level = x / 127
    sampled = np.empty((repeats, lines))
    for k in range(repeats):  # the reference that the chip's two products stand for
        drawn = siemens + sigma * rng.standard_normal(sigma.shape)
        sampled[k] = level @ (drawn[:half].sum(0) - drawn[half:].sum(0))
    quantum = info.output_step_siemens(4) ** 2 / 12
    expected = (level**2) @ (sigma**2).sum(0) + quantum
    error = math.sqrt(2 / (repeats - 1) / lines)
    assert abs(np.mean(seen.var(axis=0, ddof=1) / expected) - 1) < 4 * error + 0.004  # bfloat16
    assert abs(np.mean((sampled.var(axis=0, ddof=1) + quantum) / expected) - 1) < 4 * error
    scatter = np.sqrt(2 * expected / repeats)
    assert (np.abs(seen.mean(axis=0) - sampled.mean(axis=0)) < 5 * scatter).all()
    correlation = np.corrcoef(seen.T) - np.eye(lines)
    assert np.abs(correlation).max() < 5 / math.sqrt(repeats), "outputs have noise of their own"


def test_successive_vectors_have_independent_noise() -> None:
    with open_chip(f"sim:hermes?devices=1&rows=32&cols=256&seed=8&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 8)
        core.configure(CoreSettings(output_range=4))
        codes = np.full((512, 32), 100, core.info.input.dtype)
        first, second = (core.mvm(MvmRequest(input_codes=codes)).output_codes for _ in range(2))
    for a, b in ((first[:-1], first[1:]), (first, second)):
        left, right = a - a.mean(axis=0), b - b.mean(axis=0)
        correlation = float((left * right).mean() / math.sqrt((left**2).mean() * (right**2).mean()))
        assert abs(correlation) < 4 / math.sqrt(left.size)


@pytest.mark.parametrize("bits", [6, 8, 12])
def test_output_noise_is_half_an_8_bit_code_whatever_the_converter(bits: int) -> None:
    off = "off=mismatch+read_noise"
    with open_chip(f"sim:hermes?rows=16&cols=256&seed=9&adc_bits={bits}&{off}") as chip:
        core = chip.cores[0]
        codes = np.zeros((1024, 16), core.info.input.dtype)
        seen = core.mvm(MvmRequest(input_codes=codes)).output_codes
    scale = core.info.output_codes.max_code / 127
    sigma = 0.5 * scale
    edges = np.arange(-12.5 * max(1, scale), 12.5 * max(1, scale) + 1) / (sigma * math.sqrt(2))
    mass = np.diff([math.erf(e) for e in edges]) / 2  # a rounded normal, exactly
    levels = np.arange(mass.size) - mass.size // 2
    expected = float(np.sum(mass * levels**2))
    error = math.sqrt(2 / seen.size) * max(1.0, 1 / math.sqrt(expected))
    assert abs(float((seen.astype(float) ** 2).mean()) / expected - 1) < 4 * error
