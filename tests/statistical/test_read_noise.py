"""Reads scatter by the published log law and remember; an MVM sees what the cells show."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import sici

from hil.backends import open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse
from hil.info import Direction, PulseFamily
from sim_backend.flicker import HOLD_TIMES_FREQUENCY
from sim_backend.sim_core import SimCore

pytestmark = pytest.mark.statistical

Array = npt.NDArray[np.float64]

# Published Q at r and read times: (r, Q), t_r in s.
HERMES_Q = {0.3: 0.021, 0.5: 0.022, 0.7: 0.019, 1.0: 0.017}
PCM90_Q = {0.3: 0.019, 0.5: 0.014, 0.7: 0.011, 1.0: 0.009}
QUIET = "adc_bits=12&off=mismatch+output_noise+stuck+wire"


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
def test_devices_of_one_state_scatter_by_the_log_law(
    preset: str, t0_s: float, t_read_s: float, published: dict[float, float], age_s: float
) -> None:
    with open_chip(f"sim:{preset}?devices=1&rows=256&cols=256&seed=3&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 3)
        r = core.array.pcm._g.numpy().ravel()  # Q belongs to the programmed state
        chip.wait(age_s or t0_s)
        unit = core.info.device.device_g_max_siemens
        codes = core.read(_everything(core)).codes
        now = core.array.conductance_siemens(core.now_s()).numpy().ravel() / unit
    quantum = core.info.read.step / unit
    relative = (codes * quantum - now) / np.maximum(now, quantum)
    age = max(age_s, t0_s)
    growth = math.sqrt(math.log((age + t_read_s) / (2 * t_read_s)))
    for spot, q in published.items():
        near = np.abs(r - spot) < 0.05
        variance = relative[near].var(ddof=1) - float(np.mean(quantum**2 / 12 / now[near] ** 2))
        seen = math.sqrt(variance) / growth
        # Published values are rounded to three decimals, and Q varies within the bin.
        assert abs(seen - q) < 4 * q / math.sqrt(2 * int(near.sum())) + 0.0011, spot


def test_reads_of_a_device_remember_as_one_over_f_noise_does() -> None:
    """Half the mean squared change of reads grows by Q^2 per e-fold of the time between them."""
    lags_s = np.array([1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0])
    with open_chip(f"sim:hermes?devices=1&rows=128&cols=128&seed=13&{QUIET}+drift") as chip:
        core = _core(chip)
        _program_random(core, 13)
        chip.wait(1e5)
        unit = core.info.read.step / core.info.device.device_g_max_siemens
        pcm = core.array.pcm
        g = pcm.conductance(core.now_s()).numpy().ravel()
        used = (g > 0.3) & (g < 1.2)
        amplitude = (g * pcm._q.numpy().ravel())[used]
        half = np.zeros((4, lags_s.size))
        reading_s = 2 * 128 * core.info.read_slot_s
        for k in range(half.shape[0]):
            first, began_s = core.read(_everything(core)), core.now_s()
            for i, lag_s in enumerate(lags_s):
                chip.wait(lag_s - (core.now_s() - began_s) - reading_s)
                step = (core.read(_everything(core)).codes - first.codes.astype(float))[used]
                half[k, i] = 0.5 * np.mean((step**2 - 1 / 6) * (unit / amplitude) ** 2)
            chip.wait(500.0)
    error = half.mean(0) * math.sqrt(2 / amplitude.size / half.shape[0])
    fit, covariance = np.polyfit(np.log(lags_s), half.mean(0), 1, w=1 / error, cov="unscaled")
    assert abs(fit[0] - 1) < 4 * math.sqrt(covariance[0, 0]) + 0.03
    # R(0) - R(lag) = ln(lag / (2 t_r)) + gamma + ln(2 pi), of noise with density Q^2 / f.
    exact = np.log(lags_s / (2 * 512e-9)) + np.euler_gamma + math.log(2 * math.pi)
    miss = half.mean(0) - exact
    assert (np.abs(miss) < 4 * error + 0.16).all(), np.round(miss, 2)


def test_cells_have_noise_of_their_own() -> None:
    with open_chip(f"sim:hermes?devices=1&rows=128&cols=128&seed=14&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 14)
        chip.wait(200.0)
        unit = core.info.device.device_g_max_siemens / core.info.read.step
        g = core.array.pcm.conductance(core.now_s())
        sigma = core.array.pcm.read_sigma(g, core.now_s()).numpy() * unit
        seen = core.read(_everything(core)).codes.reshape(sigma.shape)
    used = (sigma > 2) & (seen < core.info.read.max_code)  # codes: quantisation apart
    z = np.where(used, (seen - g.numpy() * unit) / np.maximum(sigma, 2), 0.0)
    for axis in range(3):
        both = used & np.roll(used, 1, axis)
        correlation = np.mean((z * np.roll(z, 1, axis))[both])
        pairs = both.sum() / (2 if axis == 0 else 1)  # two polarities: each pair twice
        assert abs(correlation) < 4 / math.sqrt(pairs)


def test_a_pulse_begins_a_new_trajectory() -> None:
    """Reads 0.1 ms apart agree in most of their noise, unless a pulse came between."""
    with open_chip(f"sim:hermes?devices=1&rows=96&cols=96&seed=15&{QUIET}+cycle") as chip:
        core = _core(chip)
        correlations = []
        for pulsed in (False, True):
            _program_random(core, 15)
            chip.wait(1.0)
            g = core.array.pcm.conductance(core.now_s()).numpy().ravel()
            used = (g > 0.4) & (g < 1.2)
            noise = []
            for _ in range(2):
                codes = core.read(_everything(core)).codes
                now = core.array.conductance_siemens(core.now_s()).numpy().ravel()
                noise.append(codes[used] * core.info.read.step / now[used] - 1)
                if pulsed:
                    _program_random(core, 15)
            correlations.append(np.corrcoef(noise)[0, 1])
    kept, lost = correlations
    assert 0.5 < kept < 0.7, "1 - (ln(0.1 ms / 2 t_r) + 2.4) / 19.1 = 0.63"
    assert abs(lost) < 4 / math.sqrt(used.sum())


@pytest.mark.parametrize("averages", [1, 16, 256])
def test_averaging_takes_away_converter_noise_and_fast_noise_alone(averages: int) -> None:
    address = "sim:hermes?devices=1&rows=128&cols=128&seed=4&off=mismatch&adc_bits=12"
    with open_chip(address) as chip:
        core = _core(chip)
        _program_random(core, 4)
        chip.wait(200.0)
        codes = core.read(_everything(core, averages)).codes
        pcm = core.array.pcm
        g = pcm.conductance(core.now_s()).numpy().ravel()
        unit = (g * pcm._q.numpy().ravel()) * core.info.device.device_g_max_siemens
    used = (g > 0.3) & (g < 1.2)
    step = core.info.read.step
    miss = codes - g * core.info.device.device_g_max_siemens / step
    converter = (0.5 * 4095 / 255 / math.sqrt(averages)) ** 2
    seen = float(np.mean((miss[used] ** 2 - converter - 1 / 12) * (step / unit[used]) ** 2))
    apart_s = np.arange(1, averages) * core.info.read_slot_s
    lowest_hz = 1 / (200 + 512e-9)
    high, low = (sici(2 * math.pi * f * apart_s)[1] for f in (1 / (2 * 512e-9), lowest_hz))
    autocovariance = high - low
    weights = averages - np.arange(1, averages)
    law = math.log(1 / lowest_hz / (2 * 512e-9))
    expected = law / averages + 2 / averages**2 * float(np.sum(weights * autocovariance))
    assert abs(seen - expected) < 4 * seen * math.sqrt(2 / used.sum()) + 0.16


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.TRANSPOSED])
def test_mvm_scatters_as_if_every_device_had_been_drawn(direction: Direction) -> None:
    """From vector to vector by the fast part of the noise, and their mean by the slow part."""
    repeats, lines = 512, 256
    with open_chip(f"sim:hermes?devices=2&rows={lines}&cols={lines}&seed=5&{QUIET}") as chip:
        core = _core(chip)
        _program_random(core, 5)
        chip.wait(3600.0)
        info = core.info
        rng = np.random.default_rng(6)
        x = rng.integers(-127, 128, lines)
        core.configure(CoreSettings(output_range=6))
        request = MvmRequest(
            input_codes=np.tile(x, (repeats, 1)).astype(info.input.dtype), direction=direction
        )
        result = core.mvm(request)
        assert not result.saturated.any()
        seen = result.output_codes * info.output_step_siemens(6)
        pcm = core.array.pcm
        g = pcm.conductance(core.now_s()).double().numpy() * info.device.device_g_max_siemens
        sigma = pcm.read_sigma(pcm.conductance(core.now_s()), core.now_s()).double().numpy()
    sigma *= info.device.device_g_max_siemens
    if direction is Direction.TRANSPOSED:
        g, sigma = np.swapaxes(g, 1, 2), np.swapaxes(sigma, 1, 2)
    half, level = info.devices_per_polarity, x / 127
    law = math.log((3600 + 512e-9) / (2 * 512e-9))
    fast = math.log(0.5e-3 / (HOLD_TIMES_FREQUENCY * 2 * 512e-9)) / law
    total = (level**2) @ (sigma**2).sum(0)
    quantum = info.output_step_siemens(6) ** 2 / 12
    within = seen.var(axis=0, ddof=1) / (fast * total + quantum)
    error = math.sqrt(2 / (repeats - 1) / lines)
    assert abs(within.mean() - 1) < 4 * error + 0.004  # bfloat16
    miss = seen.mean(axis=0) - level @ (g[:half].sum(0) - g[half:].sum(0))
    between = miss**2 / ((1 - fast + fast / repeats) * total + quantum / repeats)
    assert abs(between.mean() - 1) < 4 * math.sqrt(2 / lines)
    correlation = np.corrcoef(seen.T) - np.eye(lines)
    assert np.abs(correlation).max() < 5.5 / math.sqrt(repeats), "outputs have noise of their own"


def test_outputs_at_two_times_are_as_correlated_as_their_devices() -> None:
    lags_s = np.array([0.01, 1.0, 100.0])
    with open_chip(f"sim:hermes?devices=1&rows=64&cols=256&seed=7&{QUIET}+drift") as chip:
        core = _core(chip)
        _program_random(core, 7)
        chip.wait(1e5)
        info = core.info
        core.configure(CoreSettings(output_range=5))
        request = MvmRequest(input_codes=np.full((256, 64), 100, info.input.dtype))
        pcm = core.array.pcm
        unit = pcm.noise_amplitude(pcm.conductance(core.now_s())).double().square().sum((0, 1))
        unit *= (100 / 127 * info.device.device_g_max_siemens / info.output_step_siemens(5)) ** 2
        half = np.zeros((6, lags_s.size))
        for k in range(half.shape[0]):
            first, began_s = core.mvm(request).output_codes.mean(0), core.now_s()
            for i, lag_s in enumerate(lags_s):
                chip.wait(lag_s - (core.now_s() - began_s))
                step = core.mvm(request).output_codes.mean(0) - first
                half[k, i] = 0.5 * np.mean(step**2 / unit.numpy())
            chip.wait(500.0)
    # What is held for less than 0.5 ms is averaged away within a batch.
    fresh = math.log(0.5e-3 / (HOLD_TIMES_FREQUENCY * 2 * 512e-9))
    exact = np.log(lags_s / (2 * 512e-9)) + np.euler_gamma + math.log(2 * math.pi) - fresh
    error = 4 * exact * math.sqrt(2 / 256 / half.shape[0])
    assert (np.abs(half.mean(0) - exact - fresh / 256) < error + 0.16).all(), half.mean(0) / exact


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
