"""Fit the short-term relaxation of a preset to its published programming-error curve.

    python tools/fit_relaxation.py hermes --rounds 6

Program-and-verify leaves less error than the published curve when only its margin and the read
noise of the verify are counted. The rest is taken as a relaxation between the pulse and t0. Each
round programs random targets at the preset's own margin, waits until t0, and moves the variance of
each knot by what the accepted devices miss of the published variance. The knots that come out
belong into `sim_backend/params.py`; tests/statistical holds them to the curve.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from hil.core import Chip, Window
from hil.programming import ProgrammingJob, ProgramVerify, run_programming
from sim_backend.array import PhysicalArray
from sim_backend.laws import StatisticalLaw
from sim_backend.opening import SimSetup, build_chip
from sim_backend.params import PRESETS, DeviceParams
from sim_backend.pcm import Effects
from sim_backend.sim_core import SimCore

RELATIVE_TARGETS = tuple(k / 10 for k in range(1, 11))
DAMPING = 0.7
"""Share of a miss that a round corrects: the chip of the next round has other devices."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammingError:
    """Errors of accepted polarities at age t0, relative to g_max; arrays are (targets,).

    Attributes:
        relative: Target conductances.
        bias, sigma: Mean and standard deviation of conductance - target.
        count: Polarities behind each.
    """

    relative: Array
    bias: Array
    sigma: Array
    count: npt.NDArray[np.int64]

    @property
    def standard_error(self) -> Array:
        """Relative standard error of sigma for near-normal errors."""
        return np.asarray(1 / np.sqrt(2 * (self.count - 1)))


def published_sigma(law: StatisticalLaw, relative: Array) -> Array:
    """Published programming error, relative to g_max."""
    r = torch.from_numpy(relative.astype(np.float32))
    return np.asarray(law.programming_sigma(r).numpy(), np.float64)


def measure_programming_error(chip: Chip, *, seed: int) -> ProgrammingError:
    """Program random targets at the chip's own margin; compare true conductances at age t0.

    A signed target is held by one polarity, the other is brought to zero. Counted are cells that
    were accepted and hold no stuck device, by the true conductance of the polarity that holds them.
    """
    core = chip.cores[0]
    # True conductances exist in a simulator only.
    assert isinstance(core, SimCore)  # noqa: S101
    assert isinstance(core.array, PhysicalArray)  # noqa: S101
    info = core.info
    rng = np.random.default_rng(seed)
    relative = np.asarray(RELATIVE_TARGETS)
    which = rng.integers(0, relative.size, (info.rows, info.cols))
    sign = rng.choice([-1.0, 1.0], which.shape)
    g_max = info.device.g_max_siemens
    job = ProgrammingJob(
        core=core,
        window=Window(row=0, col=0, rows=info.rows, cols=info.cols),
        target_siemens=relative[which] * sign * g_max,
    )
    result = run_programming(ProgramVerify(), [job], seed=seed)[0]
    chip.wait(info.device.reference_age_s)
    devices = core.array.conductance_siemens(core.now_s()).numpy()
    half = info.devices_per_polarity
    held = np.where(sign > 0, devices[:half].sum(0), devices[half:].sum(0)) / g_max
    good = result.done & ~core.array.pcm.stuck.numpy().any(0)
    errors = [held[(which == k) & good] - r for k, r in enumerate(relative)]
    return ProgrammingError(
        relative=relative,
        bias=np.array([e.mean() for e in errors]),
        sigma=np.array([e.std(ddof=1) for e in errors]),
        count=np.array([e.size for e in errors]),
    )


def refined(device: DeviceParams, seen: ProgrammingError) -> DeviceParams:
    """Return the device with its knots moved towards the published curve by one round."""
    missing = published_sigma(device.law, seen.relative) ** 2 - seen.sigma**2
    knots = [device.relaxation[0]]
    for r, sigma in device.relaxation[1:]:
        # Half of the logarithmic way to t0 is over when a verify reads, 1 ms after the pulse.
        after_verify = (1 - _progress(1e-3, device.law)) ** 2
        change = DAMPING * float(np.interp(r, seen.relative, missing)) / after_verify
        knots.append((r, math.sqrt(max(sigma**2 + change, 0.0))))
    return replace(device, relaxation=tuple(knots))


def fit_relaxation(name: str, *, rounds: int, seed: int) -> list[tuple[DeviceParams, Array]]:
    """Return the device of each round with the ratio of its sigma to the published one."""
    preset = PRESETS[name]
    device = preset.device
    if device is None:
        raise SystemExit(f"{name} has no PCM devices to fit")
    history = []
    for k in range(rounds):
        setup = SimSetup(
            preset=replace(preset, device=device, rows=256, cols=256),
            address=f"sim:{name}",
            serial=f"FIT-{seed + k}",
            seed=seed + k,
            effects=Effects(mismatch=False),
        )
        with build_chip(setup) as chip:
            seen = measure_programming_error(chip, seed=seed + k)
        history.append((device, seen.sigma / published_sigma(device.law, seen.relative)))
        device = refined(device, seen)
    return history


def _progress(age_s: float, law: StatisticalLaw) -> float:
    return math.log1p(age_s / law.t_read_s) / math.log1p(law.t0_s / law.t_read_s)


def main() -> None:
    """Fit a preset; write the knots and the ratios of every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=sorted(n for n, p in PRESETS.items() if p.device))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for device, ratio in fit_relaxation(given.preset, rounds=given.rounds, seed=given.seed):
        knots = ", ".join(f"({r:g}, {sigma:.3f})" for r, sigma in device.relaxation)
        ratios = " ".join(f"{value:.2f}" for value in ratio)
        sys.stdout.write(f"relaxation=({knots})  sigma/published at r=0.1...1: {ratios}\n")


if __name__ == "__main__":
    main()
