"""The drift table of IBM aihwkit: its PCM statistics and ours, the same matrix error over time.

aihwkit 1.2.0, `PCMLikeNoiseModel(g_max=25)`, perfect converters, weights N(0, 0.2) clipped at 0.6
and scaled to fill the range, Gaussian inputs; error is norm(y - exact) / norm(exact), Frobenius;
means of five of its seeds. It counts t from t0 and, with compensation, multiplies by the ratio of
mean magnitudes of one-hot readouts, at programming over now. Here the same statistics as a chip
has them (integer inputs whose exact product is known, outputs of 12 bits), and the same chip seen
by the conventions of aihwkit's drift step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.measure import choose_output_range, exact_output, measure_mvm
from hil.validation import Curve, Plot, Scale, Tolerance
from sim_backend.laws import PCM_90NM
from sim_backend.validation.aihwkit_convention import NOTE, seen_by_aihwkit
from sim_backend.validation.base import Family, FamilyResult, Measuring, Reference
from sim_backend.validation.chips import (
    one_hot_magnitude,
    open_cores,
    program_matrix,
    true_siemens,
)

__all__ = ["AIHWKIT_DRIFT"]

Array = npt.NDArray[np.float64]

SIDE = 256
VECTORS = 256
AGES_S = (0.0, 25.0, 3600.0, 86_400.0, 2.6e6, 3.15e7)
AGE_NAMES = ("t0", "25 s", "1 h", "1 day", "1 month", "1 year")
PUBLISHED = {
    "none": (0.113, 0.120, 0.253, 0.356, 0.453, 0.514),
    "global": (0.113, 0.114, 0.129, 0.146, 0.168, 0.187),
}
SOURCE = "aihwkit 1.2.0, peers 4"
ROUNDING = 0.0005
"""Of the published figures."""
THEIR_SEEDS = 5
SIGMAS = 3.0
SEEDS = (10, 5)
SIGMA, CLIP = 0.2, 0.6
CODES_PER_SIGMA = 30
"""Inputs reach 4.2 sigma."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """Errors of one chip and matrix, (compensation, age) each: as it is, and as aihwkit counts."""

    chip: Array
    convention: Array


def _one_chip(measuring: Measuring, seed: int) -> Errors:
    with open_cores(
        "pcm90",
        rows=SIDE,
        cols=SIDE,
        fidelity="statistical",
        off="mismatch+output_noise+wire",
        adc_bits=12,
        seed=seed,
        compute=measuring.compute,
    ) as (core,):
        info = core.info
        rng = np.random.default_rng([seed, 12])
        weights = np.clip(rng.normal(0.0, SIGMA, (SIDE, SIDE)), -CLIP, CLIP)
        target = weights / np.abs(weights).max() * info.device.g_max_siemens
        top = info.input.max_code
        codes = np.clip(np.rint(CODES_PER_SIGMA * rng.standard_normal((VECTORS, SIDE))), -top, top)
        codes = codes.astype(info.input.dtype)
        exact = exact_output(info, target, codes)
        chosen = choose_output_range(info, target, codes)
        program_matrix(core, target)
        began = core.now_s() + info.device.reference_age_s
        core.wait(began - core.now_s())
        at_t0 = true_siemens(core)
        baseline = one_hot_magnitude(core)
        found = np.zeros((2, len(PUBLISHED), len(AGES_S)))
        for k, age_s in enumerate(AGES_S):
            core.wait(max(0.0, began + age_s - core.now_s()))
            y = measure_mvm(core, codes, output_range=chosen).siemens
            seen = seen_by_aihwkit(at_t0, true_siemens(core), age_s, PCM_90NM, rng)
            theirs = info.input.to_si(codes) @ seen
            scales = (baseline / one_hot_magnitude(core), _mean(at_t0[0] - at_t0[1]) / _mean(seen))
            for which, (got, scale) in enumerate(zip((y, theirs), scales, strict=True)):
                found[which, 0, k] = np.linalg.norm(got - exact) / np.linalg.norm(exact)
                found[which, 1, k] = np.linalg.norm(scale * got - exact) / np.linalg.norm(exact)
        return Errors(chip=found[0], convention=found[1])


def _mean(siemens: Array) -> float:
    return float(np.abs(siemens).mean())


def _measure(measuring: Measuring) -> FamilyResult:
    seeds = SEEDS[0 if measuring.full else 1]
    found = []
    for k in range(seeds):
        found.append(_one_chip(measuring, measuring.seed + k))
        measuring.task.advance()
    chip = np.array([each.chip for each in found])
    convention = np.array([each.convention for each in found])
    rows, curves = [], []
    for c, (name, published) in enumerate(PUBLISHED.items()):
        for k, age in enumerate(AGE_NAMES):
            rows += [
                _judged(name, seeds, convention[:, c, k]).row(
                    age,
                    published[k],
                    convention[:, c, k].mean(),
                    standard_error=_error(convention[:, c, k]),
                ),
                _aside(name).row(
                    age, published[k], chip[:, c, k].mean(), standard_error=_error(chip[:, c, k])
                ),
            ]
        ages = tuple(max(age_s, 1.0) for age_s in AGES_S)
        curves.append(Curve(name=name, x=ages, y=published, measured=False))
        for label, errors in ((name, convention), (f"{name}, chip", chip)):
            mean = tuple(errors[:, c].mean(0).tolist())
            curves.append(Curve(name=label, x=ages, y=mean, measured=True))
    plot = Plot(
        name="aihwkit-drift",
        title="aihwkit's PCM statistics and ours, 256x256",
        x_label="time since t0, s (t0 drawn at 1 s)",
        y_label="relative MVM error",
        x_scale=Scale.LOG,
        curves=tuple(curves),
    )
    return FamilyResult(rows=rows, plots=(plot,))


def _error(values: Array) -> float:
    return float(values.std(ddof=1)) / math.sqrt(values.size)


def _judged(compensation: str, seeds: int, values: Array) -> Reference:
    # Their seeds scatter like ours: same statistics, same sizes.
    seed_noise = float(values.std(ddof=1)) * math.sqrt(1 / seeds + 1 / THEIR_SEEDS)
    return Reference(
        family=AIHWKIT_DRIFT.name,
        group=f"relative MVM error as aihwkit counts, compensation {compensation}",
        source=SOURCE,
        unit="1",
        judged=Tolerance.ABSOLUTE,
        tolerance=SIGMAS * seed_noise + ROUNDING,
        note="Tolerance: three standard errors of the difference of the means over seeds, theirs "
        "taken to scatter like ours, and half a unit of the last digit published",
    )


def _aside(compensation: str) -> Reference:
    return Reference(
        family=AIHWKIT_DRIFT.name,
        group=f"relative MVM error of the chip, compensation {compensation}",
        source=SOURCE,
        unit="1",
        judged=Tolerance.NONE,
        tolerance=0.0,
        note=NOTE,
    )


AIHWKIT_DRIFT = Family(name="aihwkit-drift", measure=_measure, steps=SEEDS)
