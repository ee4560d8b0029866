"""Statistical fidelity: targets in, the published statistics out, one draw per programming."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hil.backends import open_chip
from hil.core import CellRead, MvmRequest, Pulse
from hil.errors import RequestError
from hil.info import PulseFamily
from hil.programming import OpenLoop
from sim_backend.device_array import DeviceArray
from sim_backend.laws import HERMES_ONE_DEVICE, HERMES_TWO_DEVICES, PCM_90NM, StatisticalLaw
from sim_backend.pcm import PcmArray
from sim_backend.statistical import StatisticalArray
from sim_backend.validation.chips import open_cores, program_cells, program_matrix, true_siemens

Array = npt.NDArray[np.float64]

TYPES = [
    pytest.param("hermes", 1, HERMES_ONE_DEVICE, 10.35e-6, id="hermes, one device"),
    pytest.param("hermes", 2, HERMES_TWO_DEVICES, 20.7e-6, id="hermes, two devices"),
    pytest.param("pcm90", 1, PCM_90NM, 25e-6, id="pcm90"),
    pytest.param("aon", 1, PCM_90NM, 5e-6, id="aon"),
]
BARE = "mismatch+output_noise+wire"


def _uniform_targets(g_max: float, shape: tuple[int, int], seed: int) -> Array:
    return np.random.default_rng(seed).uniform(-g_max, g_max, shape)


@pytest.mark.statistical
@pytest.mark.parametrize(("preset", "devices", "law", "g_max"), TYPES)
def test_what_lands_is_normal_about_the_target_by_the_published_error(
    preset: str, devices: int, law: StatisticalLaw, g_max: float
) -> None:
    with open_cores(
        preset, devices=devices, fidelity="statistical", seed=2, rows=256, cols=256, off=BARE
    ) as (core,):
        info = core.info
        assert info.devices_per_polarity == 1
        assert info.device.g_max_siemens == pytest.approx(g_max)
        target = _uniform_targets(g_max, (info.rows, info.cols), 3)
        program_matrix(core, target)
        held = np.where(target > 0, *true_siemens(core)) / g_max
    r = torch.from_numpy(np.abs(target) / g_max)
    z = ((torch.from_numpy(held) - r) / law.programming_sigma(r)).numpy().ravel()
    inside = r.numpy().ravel() > 4.5 * law.programming_sigma(r).numpy().ravel()  # none is cut at 0
    z, n = z[inside], int(inside.sum())
    assert n > 20_000
    step = 1e-3 / math.sqrt(12)  # of the target codes, in units of the smallest error, 2 %
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * n) + (step / 0.02) ** 2
    assert abs(np.mean(z**4) - 3) < 4 * math.sqrt(96 / n) + 0.02


@pytest.mark.statistical
def test_drift_goes_by_the_target_and_read_noise_by_what_landed() -> None:
    """Two devices of one target and other conductances drift alike, but read unlike."""
    law = HERMES_ONE_DEVICE
    with open_cores(
        "hermes", devices=1, fidelity="statistical", seed=4, off=BARE, adc_bits=12, cores=2
    ) as cores:
        held = program_cells(cores, np.array([0.3]), OpenLoop(), np.random.default_rng(1))
        t0 = law.t0_s
        held.wait_until(cores[0].now_s() + t0)
        g, seen = held.conductance(), held.read()
        held.wait_until(cores[0].now_s() + 1e5 * t0)
        nu = -np.log(held.conductance() / g) / math.log1p(1e5)
    for part in (g < 0.27, g > 0.33):
        n = int(part.sum())
        assert abs(nu[part].mean() - 0.065896) < 4 * 0.0124 / math.sqrt(n) + 1e-4
        assert abs(nu[part].std() - 0.0124) < 4 * 0.0124 / math.sqrt(2 * n) + 1e-4
    growth = math.log((t0 + law.t_read_s) / (2 * law.t_read_s))
    for middle in (0.15, 0.3, 0.45):
        part = np.abs(g - middle) < 0.02
        noise = ((seen - g)[part] / g[part]).std() / math.sqrt(growth)
        expected = float(law.read_noise_q(torch.tensor(middle)))
        assert abs(noise / expected - 1) < 4 / math.sqrt(2 * part.sum()) + 0.02


@pytest.mark.statistical
def test_every_programming_draws_anew() -> None:
    with open_cores("hermes", devices=1, fidelity="statistical", seed=5, off=BARE) as (core,):
        target = _uniform_targets(core.info.device.g_max_siemens, (256, 256), 6)
        rounds = []
        for _ in range(2):
            program_matrix(core, target)
            pcm = core.array.pcm
            deviates = (pcm._nu - pcm._law.mu(pcm._g.clamp(max=1))).flatten()
            landed = np.where(target > 0, *true_siemens(core)) - np.abs(target)
            rounds.append((landed.ravel(), deviates.numpy()[: landed.size]))
        for one, other in zip(*rounds, strict=True):
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
        assert bool((core.array.pcm.pulses == 2).all())


def test_a_full_set_is_a_target_of_g_max_and_no_set_is_less_than_full() -> None:
    with open_cores("pcm90", fidelity="statistical", rows=32, cols=32, off="cycle") as (core,):
        info = core.info
        limits = info.limits(PulseFamily.SET)
        assert limits is not None
        assert limits.full_width_code == limits.width.min_code
        device, rows, cols = np.indices((2, 32, 32)).reshape(3, -1)
        places = {"device": device, "rows": rows, "cols": cols}
        core.program(Pulse.of(PulseFamily.SET, **places, amplitude=0, width=1))
        np.testing.assert_allclose(true_siemens(core), info.device.g_max_siemens, rtol=1e-6)


def test_without_cycle_noise_the_target_is_met_to_its_code() -> None:
    with open_cores("hermes", fidelity="statistical", rows=64, cols=64, off="cycle") as (core,):
        g_max = core.info.device.g_max_siemens
        target = _uniform_targets(g_max, (64, 64), 7)
        program_matrix(core, target)
        plus, minus = true_siemens(core)
    assert np.abs(plus - minus - target).max() < 0.51 / 1023 * g_max
    assert (np.minimum(plus, minus) == 0).all()


OBSERVED = {"cycle": {"g", "q"}, "spread": {"nu"}}


@pytest.mark.parametrize(
    "effect", ["cycle", "spread", "read_noise", "drift", "relaxation", "stuck", "output_noise"]
)
def test_an_effect_that_is_off_leaves_all_other_draws(effect: str) -> None:
    states = []
    for off in ("mismatch", f"mismatch+{effect}"):
        with open_cores("hermes", fidelity="statistical", rows=24, cols=20, off=off) as (core,):
            target = _uniform_targets(core.info.device.g_max_siemens, (24, 20), 8)
            program_matrix(core, target)
            core.mvm(MvmRequest(input_codes=np.ones((2, 24), np.int16)))
            program_matrix(core, -target)
            pcm = core.array.pcm
            states.append({"g": pcm._g, "nu": pcm._nu, "q": pcm._q})
    for name, state in states[0].items():
        same = torch.equal(state, states[1][name])
        assert same != (name in OBSERVED.get(effect, set())), name


def test_nothing_drifts_before_the_reference_age_and_temperature_leaves_no_trace() -> None:
    with open_cores("pcm90", fidelity="statistical", rows=32, cols=32) as (core,):
        program_matrix(core, _uniform_targets(25e-6, (32, 32), 9))
        fresh = true_siemens(core)
        core.wait(19.0)
        assert np.array_equal(true_siemens(core), fresh)
        core.wait(3600.0)
        assert (true_siemens(core) <= fresh).all()
        assert (true_siemens(core) < fresh).mean() > 0.7
        pcm = core.array.pcm
        cold, hot = (pcm.conductance(core.now_s(), kelvin) for kelvin in (300.0, 330.0))
        assert bool((hot >= cold).all())
        assert torch.equal(pcm.conductance(core.now_s(), 300.0), cold)


def test_the_chip_says_what_it_is() -> None:
    with (
        open_chip("sim:hermes?fidelity=statistical&rows=8&cols=8&seed=3") as pair,
        open_chip("sim:hermes?fidelity=statistical&rows=8&cols=8&seed=3&devices=1") as one,
        open_chip("sim:hermes?rows=8&cols=8&seed=3") as pulse,
    ):
        assert pair.info.model == pair.cores[0].info.model == "hermes-statistical-2"
        assert one.info.model == "hermes-statistical"
        assert len({pair.serial, pulse.serial}) == 2
        assert isinstance(pair.cores[0].array.pcm, StatisticalArray)
        assert isinstance(pulse.cores[0].array.pcm, PcmArray)
        assert all(isinstance(chip.cores[0].array.pcm, DeviceArray) for chip in (pair, pulse))


@pytest.mark.parametrize("address", ["sim:ideal?fidelity=statistical", "sim:hermes?fidelity=best"])
def test_a_fidelity_that_a_preset_has_not_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=r"fidelity=.* is unknown; known: .*pulse"):
        open_chip(address)


def test_a_state_opens_under_its_own_fidelity_alone(tmp_path: Path) -> None:
    options = "rows=9&cols=7&seed=3&serial=BENCH"
    with open_chip(f"sim:pcm90?{options}&fidelity=statistical") as chip:
        program_matrix(chip.cores[0], _uniform_targets(25e-6, (9, 7), 1))
        kept = chip.preserve(tmp_path)
        device, rows, cols = np.indices((2, 9, 7)).reshape(3, -1)
        request = CellRead.of(device=device, rows=rows, cols=cols)
        codes = chip.cores[0].read(request).codes
    with open_chip(kept) as again:
        assert np.array_equal(again.cores[0].read(request).codes, codes)
    with pytest.raises(RequestError, match="fidelity 'statistical', the address has 'pulse'"):
        open_chip(kept.replace("statistical", "pulse"))
