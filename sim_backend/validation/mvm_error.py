"""MVM error over time by device effects alone, through statistical chips and their 8-bit codes.

Error is the mean over vectors of norm2(y - exact) / norm2(exact). Weights fill the range: their
largest magnitude is g_max. Compensation: none; one scalar, by the mean magnitude of one-hot
readouts at t0 over now (the convention of aihwkit; on HERMES low conductances drift more, so it
overcorrects large ones); one least-squares scale per col, fitted on other vectors against exact
outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from hil.measure import choose_output_range, exact_output, measure_mvm
from hil.metrics import mvm_error
from hil.stimulus import InputKind, random_inputs
from hil.validation import Curve, Plot, Scale, Tolerance
from sim_backend.sim_core import SimCore
from sim_backend.validation.base import Family, FamilyResult, Measuring, Reference
from sim_backend.validation.chips import one_hot_magnitude, open_cores, program_matrix

__all__ = ["MVM_ERROR", "WeightKind", "draw_weights", "errors_over_time"]

Array = npt.NDArray[np.float64]

AGES_S = (0.0, 3600.0, 86_400.0, 30 * 86_400.0, 360 * 86_400.0)
AGE_NAMES = ("t0", "1 h", "1 day", "30 days", "360 days")
COMPENSATIONS = ("none", "global scalar", "per-col least squares")
VECTORS = (1024, 256)
"""At full and at quick effort, as SEEDS."""
POINTS = 0.5
"""Tolerance, points; other seeds of the source move its figures by up to 0.4."""
SEEDS = (5, 2)
SOURCE = "reference 8.2, derived"


class WeightKind(StrEnum):
    """Distribution of weights in [-1, 1]; the largest is 1."""

    GAUSSIAN = "gaussian"
    """Clipped at 2.5 sigma."""
    UNIFORM_SPARSE = "uniform, 30 % zero"


def draw_weights(kind: WeightKind, rows: int, cols: int, rng: np.random.Generator) -> Array:
    """Draw weights, (rows, cols)."""
    if kind is WeightKind.GAUSSIAN:
        drawn = np.clip(rng.standard_normal((rows, cols)), -2.5, 2.5)
    else:
        drawn = rng.uniform(-1.0, 1.0, (rows, cols)) * (rng.random((rows, cols)) >= 0.3)
    return np.asarray(drawn / np.abs(drawn).max())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A line of the table, and what it says: % by compensation, at each age."""

    name: str
    preset: str
    devices: int
    side: int
    weights: WeightKind
    inputs: InputKind
    published: tuple[tuple[float, ...], ...]


SETTINGS = (
    Setting(
        name="hermes, 1 device, Gaussian 256x256",
        preset="hermes",
        devices=1,
        side=256,
        weights=WeightKind.GAUSSIAN,
        inputs=InputKind.GAUSSIAN,
        published=(
            (18.8, 21.8, 29.9, 39.1, 45.2),
            (18.9, 20.0, 23.3, 28.6, 33.0),
            (18.6, 19.4, 21.8, 25.4, 28.6),
        ),
    ),
    Setting(
        name="hermes, 2 devices, Gaussian 256x256",
        preset="hermes",
        devices=2,
        side=256,
        weights=WeightKind.GAUSSIAN,
        inputs=InputKind.GAUSSIAN,
        published=(
            (12.4, 16.6, 26.4, 36.7, 43.3),
            (12.4, 13.5, 17.1, 22.7, 27.6),
            (12.3, 13.1, 15.8, 20.1, 23.6),
        ),
    ),
    Setting(
        name="pcm90, Gaussian 256x256",
        preset="pcm90",
        devices=1,
        side=256,
        weights=WeightKind.GAUSSIAN,
        inputs=InputKind.GAUSSIAN,
        published=(
            (10.0, 24.7, 35.1, 44.8, 51.0),
            (10.0, 11.4, 13.0, 15.2, 16.9),
            (10.0, 11.3, 13.0, 15.1, 16.7),
        ),
    ),
    Setting(
        name="hermes, 1 device, uniform 512x512",
        preset="hermes",
        devices=1,
        side=512,
        weights=WeightKind.UNIFORM_SPARSE,
        inputs=InputKind.UNIFORM_SPARSE,
        published=(
            (16.1, 18.7, 25.6, 33.6, 39.0),
            (16.1, 17.1, 19.8, 24.0, 27.4),
            (15.9, 16.7, 18.8, 21.9, 24.6),
        ),
    ),
    Setting(
        name="hermes, 2 devices, uniform 512x512",
        preset="hermes",
        devices=2,
        side=512,
        weights=WeightKind.UNIFORM_SPARSE,
        inputs=InputKind.UNIFORM_SPARSE,
        published=(
            (10.1, 13.8, 22.2, 31.2, 37.1),
            (10.1, 11.2, 14.2, 18.7, 22.4),
            (10.1, 10.9, 13.4, 17.1, 20.0),
        ),
    ),
)


def errors_over_time(
    core: SimCore, target: Array, inputs: InputKind, rng: np.random.Generator, *, vectors: int
) -> Array:
    """Measure a core that was just programmed, at t0 and after it: %, (compensation, age).

    Args:
        core: Programmed with `target`.
        target: Wanted conductances, S, (rows, cols).
        inputs: Distribution of inputs.
        rng: What they are drawn from.
        vectors: How many to measure with.
    """
    info = core.info
    began = core.now_s() + info.device.reference_age_s
    codes, fit_codes = (
        random_inputs(inputs, vectors, info.rows, info.input, rng) for _ in range(2)
    )
    exact, fit_exact = (exact_output(info, target, each) for each in (codes, fit_codes))
    chosen = choose_output_range(info, target, codes)

    def measured(given: npt.NDArray[np.signedinteger]) -> Array:
        return measure_mvm(core, given, output_range=chosen).siemens

    found = np.zeros((len(COMPENSATIONS), len(AGES_S)))
    at_first: float | None = None
    for k, age_s in enumerate(AGES_S):
        core.wait(max(0.0, began + age_s - core.now_s()))
        now = one_hot_magnitude(core)
        at_first = now if at_first is None else at_first
        scalar = at_first / now
        y, fit = measured(codes), measured(fit_codes)
        per_col = (fit * fit_exact).sum(0) / (fit * fit).sum(0)
        found[:, k] = [100 * mvm_error(y * scale, exact) for scale in (1.0, scalar, per_col)]
    return found


def _of_setting(setting: Setting, measuring: Measuring, seed: int) -> Array:
    with open_cores(
        setting.preset,
        devices=setting.devices,
        rows=setting.side,
        cols=setting.side,
        fidelity="statistical",
        off="mismatch+output_noise+wire",
        seed=seed,
        compute=measuring.compute,
    ) as (core,):
        rng = np.random.default_rng([seed, setting.side])
        weights = draw_weights(setting.weights, setting.side, setting.side, rng)
        target = weights * core.info.device.g_max_siemens
        program_matrix(core, target)
        vectors = VECTORS[0 if measuring.full else 1]
        return errors_over_time(core, target, setting.inputs, rng, vectors=vectors)


def _measure(measuring: Measuring) -> FamilyResult:
    rows, plots = [], []
    seeds = SEEDS[0 if measuring.full else 1]
    for setting in SETTINGS:
        found = []
        for k in range(seeds):
            measuring.task.say(setting.name)
            found.append(_of_setting(setting, measuring, measuring.seed + k))
            measuring.task.advance()
        mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(seeds)
        for c, compensation in enumerate(COMPENSATIONS):
            reference = Reference(
                family=MVM_ERROR.name,
                group=f"{setting.name}: {compensation}",
                source=SOURCE,
                unit="%",
                judged=Tolerance.ABSOLUTE,
                tolerance=POINTS,
            )
            rows += [
                reference.row(name, setting.published[c][k], mean[c, k], standard_error=error[c, k])
                for k, name in enumerate(AGE_NAMES)
            ]
        plots.append(_plot(setting, mean))
    return FamilyResult(rows=rows, plots=plots)


def _plot(setting: Setting, mean: Array) -> Plot:
    ages = tuple(max(age_s, 200.0) for age_s in AGES_S)
    curves = []
    for c, name in enumerate(COMPENSATIONS):
        curves.append(Curve(name=name, x=ages, y=setting.published[c], measured=False))
        curves.append(Curve(name=name, x=ages, y=tuple(mean[c].tolist()), measured=True))
    kind = "gaussian" if setting.weights is WeightKind.GAUSSIAN else "uniform"
    return Plot(
        name=f"mvm-error-{setting.preset}-{setting.devices}-{kind}",
        title=setting.name,
        x_label="time since t0, s (t0 drawn at 200 s)",
        y_label="MVM error, %",
        x_scale=Scale.LOG,
        curves=tuple(curves),
    )


MVM_ERROR = Family(
    name="mvm-error",
    measure=_measure,
    steps=(SEEDS[0] * len(SETTINGS), SEEDS[1] * len(SETTINGS)),
)
