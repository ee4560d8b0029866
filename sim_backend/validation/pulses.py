"""Incremental SET: steps against pulse number and conductance, and pulses to reach a conductance.

Nandakumar et al., J. Appl. Phys. 124, 152135 (2018), 10,000 devices. After RESET a state P is 1 and
falls by exp(-1/2.6) before each pulse; an increment has mean -0.084 G + 0.880 + 1.40 P and spread
0.091 G + 0.260 + 2.15 P, in µS, G stays within 0.1...12. Its rows are that model, run here on its
own; ours are the true conductances of a chip that gets one pulse after the other.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hil.core import Pulse
from hil.info import PulseFamily
from hil.validation import Curve, Plot, Tolerance
from sim_backend.sim_core import SimCore
from sim_backend.validation.base import Family, FamilyResult, Measuring, Reference
from sim_backend.validation.chips import open_cores, true_siemens

__all__ = ["PULSES"]

Array = npt.NDArray[np.float64]

SIDES = (256, 128)
PULSE_COUNT = 20
SHOWN = (1, 2, 3, 5, 10, 15, 20)
TO_REACH = (3, 5, 10)
"""Pulse numbers at which the pulses to reach a conductance are compared: between 4 and 8 µS."""
STEP_MICROSIEMENS = 0.05
"""Tolerance of a mean step, µS, and three standard errors: late steps are a small mean of much."""
SHARE = 0.10
SOURCE = "Nandakumar JAP 2018"
MICRO = 1e6
DRAWS = 400_000


def _states(measuring: Measuring) -> Array:
    """True conductances of a chip before and after each pulse, µS, (pulses + 1, devices)."""
    side = SIDES[0 if measuring.full else 1]
    with open_cores(
        "hermes",
        devices=1,
        rows=side,
        cols=side,
        off="drift+relaxation+stuck+mismatch",
        seed=measuring.seed,
        compute=measuring.compute,
    ) as (core,):
        _pulse(core, PulseFamily.RESET)
        states = [true_siemens(core).ravel()]
        for _ in range(PULSE_COUNT):
            _pulse(core, PulseFamily.SET)
            states.append(true_siemens(core).ravel())
            measuring.task.advance()
    return MICRO * np.array(states)


def _pulse(core: SimCore, family: PulseFamily) -> None:
    """One strongest RESET or one shortest SET pulse to every device."""
    info = core.info
    limits = info.limits(family)
    assert limits is not None  # noqa: S101 - the chip has both
    device, rows, cols = np.indices((info.devices_per_cell, info.rows, info.cols)).reshape(3, -1)
    core.program(
        Pulse.of(
            family,
            device=device,
            rows=rows,
            cols=cols,
            amplitude=limits.amplitude.max_code,
            width=limits.width.min_code,
        )
    )


def _published(rng: np.random.Generator) -> Array:
    """Conductances by the published model, µS, (pulses + 1, draws)."""
    g, p = np.full(DRAWS, 0.1), 1.0
    states = [g]
    for _ in range(PULSE_COUNT):
        p *= math.exp(-1 / 2.6)
        mean, spread = -0.084 * g + 0.880 + 1.40 * p, 0.091 * g + 0.260 + 2.15 * p
        g = np.clip(g + mean + spread * rng.standard_normal(DRAWS), 0.1, 12.0)
        states.append(g)
    return np.array(states)


def _measure(measuring: Measuring) -> FamilyResult:
    ours, published = _states(measuring), _published(measuring.rng(1))
    steps, published_steps = np.diff(ours, axis=0), np.diff(published, axis=0)

    spread = _reference("incremental SET, spread of the step")
    level = _reference("conductance after so many pulses, mean")
    levels = _reference("conductance after so many pulses, spread")
    rows, root = [], math.sqrt(ours.shape[1])
    for n in SHOWN:
        step, theirs = steps[n - 1], published_steps[n - 1]
        at, sd = f"pulse {n}", float(step.std())
        mean = replace(
            _reference("incremental SET, mean step"),
            judged=Tolerance.ABSOLUTE,
            tolerance=STEP_MICROSIEMENS + 3 * sd / root,
        )
        rows.append(mean.row(at, theirs.mean(), step.mean(), standard_error=sd / root))
        rows.append(spread.row(at, theirs.std(), sd))
        error = float(ours[n].std()) / root
        rows.append(level.row(at, published[n].mean(), ours[n].mean(), standard_error=error))
        rows.append(levels.row(at, published[n].std(), ours[n].std()))
    reach = replace(_reference("pulses that reach the mean conductance"), unit="1")
    for n in TO_REACH:
        g = float(ours[n].mean())
        rows.append(reach.row(f"{g:.1f} uS", _pulses_to_reach(g), float(n)))
    return FamilyResult(rows=rows, plots=(_plot(ours, published),))


def _reference(what: str) -> Reference:
    return Reference(
        family=PULSES.name,
        group=what,
        source=SOURCE,
        unit="uS",
        judged=Tolerance.RELATIVE,
        tolerance=SHARE,
    )


def _pulses_to_reach(microsiemens: float) -> float:
    """Pulses from RESET to a conductance, the published fit."""
    g = microsiemens
    return 0.027 * g**3 - 0.15 * g**2 + 0.81 * g


def _plot(ours: Array, published: Array) -> Plot:
    n = tuple(float(k) for k in range(PULSE_COUNT + 1))
    curves = []
    for name, of in (("mean", np.mean), ("spread", np.std)):
        for measured, states in ((False, published), (True, ours)):
            y = tuple(float(of(state)) for state in states)
            curves.append(Curve(name=name, x=n, y=y, measured=measured))
    return Plot(
        name="incremental-set",
        title="conductance after incremental SET pulses",
        x_label="pulses after RESET",
        y_label="conductance, uS",
        curves=tuple(curves),
    )


PULSES = Family(name="pulses", measure=_measure, steps=(PULSE_COUNT, PULSE_COUNT))
