"""An accelerator computes the same chip: equal fabrication, equal statistics of the rest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hil.backends import open_chip
from hil.core import CellRead, CoreSettings, MvmRequest, Pulse
from hil.info import PulseFamily
from sim_backend.sim_core import SimCore

pytestmark = [
    pytest.mark.statistical,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]

COMPUTE = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def any_algorithm() -> None:
    """Sums on an accelerator may come in any order; equal statistics is all that is asked."""
    torch.use_deterministic_algorithms(False)


def _opened(compute: str, options: str) -> SimCore:
    core = open_chip(f"sim:hermes?seed=12&compute={compute}&{options}").cores[0]
    assert isinstance(core, SimCore)
    return core


def _reset(core: SimCore, seed: int) -> None:
    info = core.info
    shape = (info.devices_per_cell, info.rows, info.cols)
    device, rows, cols = (a.ravel() for a in np.indices(shape))
    amplitude = np.random.default_rng(seed).integers(350, 750, device.size)
    core.program(
        Pulse.of(
            PulseFamily.RESET, device=device, rows=rows, cols=cols, amplitude=amplitude, width=1
        )
    )


def test_fabrication_is_bit_equal() -> None:
    first, second = (_opened(compute, "rows=64&cols=64").array.pcm for compute in COMPUTE)
    for name in ("_g_set", "_i50", "_slope", "_z_nu", "stuck", "_g"):
        assert torch.equal(getattr(first, name), getattr(second, name).cpu()), name


def test_exact_products_agree() -> None:
    """Without anything drawn after fabrication, codes differ by the order of sums at most."""
    outputs = []
    off = "noise=off&off=cycle+relaxation"
    for compute in COMPUTE:
        core = _opened(compute, f"{off}&adc_bits=12")
        _reset(core, 1)
        core.wait(3600.0)
        core.configure(CoreSettings(output_range=5))
        codes = np.random.default_rng(2).integers(-127, 128, (256, core.info.rows))
        request = MvmRequest(input_codes=codes.astype(core.info.input.dtype))
        outputs.append(core.mvm(request).output_codes.astype(int))
    difference = np.abs(outputs[0] - outputs[1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_programmed_states_have_the_same_distribution() -> None:
    states = []
    for compute in COMPUTE:
        core = _opened(compute, "off=drift+relaxation+stuck")
        _reset(core, 3)
        states.append(core.array.pcm._g.double().cpu())
    shift = states[0] - states[1]  # the same devices and amplitudes, other cycle noise
    used = (states[0] > 0.3) & (states[0] < 1)
    n = int(used.sum())
    spread = float(shift[used].std())
    law = core.array.pcm._law
    expected = float((2 * law.programming_sigma(states[0][used].float()) ** 2).mean().sqrt())
    assert abs(float(shift[used].mean())) < 4 * spread / math.sqrt(n) + 0.01
    assert abs(spread / expected - 1) < 0.05


@pytest.mark.parametrize("noise", ["output_noise", "read_noise"])
def test_mvm_noise_has_the_same_variance(noise: str) -> None:
    variances = []
    for compute in COMPUTE:
        off = f"off=cycle+relaxation+{noise}&adc_bits=12"
        core = _opened(compute, off)
        _reset(core, 4)
        core.wait(3600.0)
        core.configure(CoreSettings(output_range=6))
        x = np.random.default_rng(5).integers(-127, 128, core.info.rows)
        codes = np.tile(x, (1024, 1)).astype(core.info.input.dtype)
        seen = core.mvm(MvmRequest(input_codes=codes)).output_codes.astype(float)
        variances.append(seen.var(axis=0, ddof=1))
    ratio = float(np.mean(variances[0] / variances[1]))
    assert abs(ratio - 1) < 4 * math.sqrt(4 / 1023 / 256) + 0.01  # bfloat16, and E[1/chi2]


def test_cell_reads_have_the_same_variance() -> None:
    spreads = []
    for compute in COMPUTE:
        core = _opened(compute, "rows=64&cols=64&off=cycle+relaxation&adc_bits=12")
        _reset(core, 6)
        core.wait(3600.0)
        device, rows, cols = (a.ravel() for a in np.indices((4, 64, 64)))
        request = CellRead.of(device=device, rows=rows, cols=cols)
        reads = np.stack([core.read(request).codes.astype(float) for _ in range(40)])
        spreads.append(float(reads.var(axis=0, ddof=1).mean()))
    assert abs(spreads[0] / spreads[1] - 1) < 0.03
