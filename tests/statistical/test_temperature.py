"""One scale per array makes up for temperature and drift together (Boybat et al., IEDM 2021)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hil.backends import open_chip
from hil.core import CoreSettings
from hil.measure import choose_output_range, exact_output, measure_mvm, whole
from hil.metrics import mvm_error
from hil.programming import ProgrammingJob, ProgramVerify, run_programming
from hil.stimulus import InputKind, random_inputs

pytestmark = pytest.mark.statistical

Array = npt.NDArray[np.float64]


def _scaled(seen: Array, exact: Array) -> Array:
    """Outputs times the one number that brings them nearest."""
    return seen * float((seen * exact).sum() / (seen * seen).sum())


@pytest.mark.parametrize("preset", ["hermes?devices=1", "hermes?devices=2", "pcm90?"])
@pytest.mark.parametrize("age_s", [200.0, 86_400.0])
def test_one_scale_restores_most_of_what_a_warm_array_has_lost(preset: str, age_s: float) -> None:
    with open_chip(f"sim:{preset}&rows=128&cols=96&seed=21&off=mismatch") as chip:
        core, rng = chip.cores[0], np.random.default_rng(5)
        info = core.info
        weights = np.clip(rng.standard_normal((info.rows, info.cols)), -2.5, 2.5) / 2.5
        target = weights * info.device.g_max_siemens
        job = ProgrammingJob(core=core, window=whole(info), target_siemens=target)
        run_programming(ProgramVerify(), [job], seed=1)
        codes = random_inputs(InputKind.GAUSSIAN, 256, info.rows, info.input, rng)
        exact = exact_output(info, target, codes)
        chosen = choose_output_range(info, target, codes) + 1  # hot devices conduct more
        chip.wait(age_s)
        reference = measure_mvm(core, codes, output_range=chosen).siemens
        core.configure(CoreSettings(temperature_kelvin=340.0))
        warm = measure_mvm(core, codes, output_range=chosen).siemens
    moved, left = mvm_error(warm, reference), mvm_error(_scaled(warm, reference), reference)
    assert moved > 0.15, "40 K more are seen"
    assert left**2 < 0.2 * moved**2
    assert mvm_error(_scaled(warm, exact), exact) < 1.25 * mvm_error(
        _scaled(reference, exact), exact
    ), "temperature and drift together, by the same scale"
