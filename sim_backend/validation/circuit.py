"""The tile circuit: magnitudes of its effects, and the rapid solver against the exact one.

Magnitudes on 32 cols and 16 vectors, as the second computation of the reference. The rapid solver
on ordinary and hostile inputs, idle devices disconnected: clamped, the circuit has one effective
matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hil.validation import Curve, Plot, Scale, Tolerance, ValidationRow
from sim_backend.circuit.accuracy import rapid_errors
from sim_backend.circuit.magnitudes import adc_floor, ir_drop_row
from sim_backend.validation.base import Family, FamilyResult, Measuring, Reference

__all__ = ["CIRCUIT"]

Array = npt.NDArray[np.float64]

PERCENT = 100.0
MICRO = 1e-6

IR_DROP: dict[tuple[float, float], dict[int, tuple[float, float]]] = {
    # (uS, ohm): rows: relative error in %, and after the best gain per col
    (25.0, 0.15): {256: (1.9, 0.9), 512: (6.7, 3.1), 1008: (22.5, 9.8)},
    (25.0, 0.35): {256: (4.3, 1.6), 512: (14.6, 6.7), 1008: (37.5, 20.7)},  # 1008: see below
    (5.0, 0.15): {256: (0.4, 0.15), 512: (1.4, 0.6), 1008: (5.5, 2.4)},
    (5.0, 0.35): {256: (0.8, 0.35), 512: (3.1, 1.4), 1008: (11.1, 4.0)},
}
"""Reference 8.1; at 25 uS, 0.35 ohm and 1008 rows its second computation, as it says."""
SECOND: dict[tuple[float, float], dict[int, tuple[float, float]]] = {
    (25.0, 0.15): {256: (1.8, 0.7), 1008: (21.0, 9.8)},
    (25.0, 0.35): {256: (4.0, 1.6)},
    (5.0, 0.35): {256: (0.8, 0.3), 1008: (11.2, 4.8)},
}
"""Its second computation, on other draws: a figure is then the middle of both, and half of their
distance is added to its tolerance."""
ADC_FLOOR: dict[int, tuple[float, float]] = {256: (1.0, 4.3), 512: (0.65, 3.3), 1008: (0.5, 2.4)}
"""Rows: error by the floor of the converter alone, %, at 25 and at 5 uS."""
SMALL, POINTS, LARGE_POINTS = 3.0, 0.3, 1.0
"""Below `SMALL` %, its figures are good to `POINTS`, above to `LARGE_POINTS`. It does not say where
small ends; its two computations are 0.2 apart at 0.8 %, and 0.8 at 4.4 %."""
SEEDS = (16, 4)
COLS, VECTORS = 32, 16
SIGMAS = 3.0
RAPID = ((512, 0.005), (1008, 0.01))
"""Rows at 25 uS and 0.15 ohm, and the goal for the rapid solver, over full scale."""
LONGEST_QUICK_ROWS = 512


def _ir_drop(measuring: Measuring) -> tuple[list[ValidationRow], Plot]:
    rows, curves = [], []
    for (microsiemens, ohm), table in IR_DROP.items():
        name, ours = f"{microsiemens:g} uS, {ohm:g} ohm", []
        for count, first in table.items():
            second = SECOND.get((microsiemens, ohm), {}).get(count, first)
            found = [
                ir_drop_row(
                    count,
                    microsiemens * MICRO,
                    ohm,
                    seed=measuring.seed + k,
                    cols=COLS,
                    vectors=VECTORS,
                )
                for k in range(SEEDS[0 if measuring.full else 1])
            ]
            values = PERCENT * np.array([[each.relative, each.after_gain] for each in found])
            for which, what in enumerate(("IR drop", "IR drop after best gain")):
                pair = (first[which], second[which])
                rows.append(_magnitude(f"{what}, {name}", count, pair, values[:, which]))
            ours.append(float(values[:, 0].mean()))
        axis = tuple(float(count) for count in table)
        theirs = tuple(relative for relative, _ in table.values())
        curves.append(Curve(name=name, x=axis, y=theirs, measured=False))
        curves.append(Curve(name=name, x=axis, y=tuple(ours), measured=True))
        measuring.task.advance()
    plot = Plot(
        name="circuit-ir-drop",
        title="error by IR drop in the tile circuit",
        x_label="rows",
        y_label="relative error, %",
        x_scale=Scale.LOG,
        y_scale=Scale.LOG,
        curves=tuple(curves),
    )
    return rows, plot


def _floors(measuring: Measuring) -> list[ValidationRow]:
    rows = []
    for count, published in ADC_FLOOR.items():
        for which, microsiemens in enumerate((25.0, 5.0)):
            values = [
                PERCENT
                * adc_floor(
                    count, microsiemens * MICRO, seed=measuring.seed + k, cols=COLS, vectors=VECTORS
                )
                for k in range(SEEDS[0 if measuring.full else 1])
            ]
            what = f"floor of the oscillator ADC alone, {microsiemens:g} uS"
            pair = (published[which], published[which])
            rows.append(_magnitude(what, count, pair, np.array(values)))
    measuring.task.advance()
    return rows


def _magnitude(
    group: str, count: int, computed: tuple[float, float], values: Array
) -> ValidationRow:
    """Compare with the middle of two computations."""
    error = float(values.std(ddof=1)) / np.sqrt(values.size)
    published, apart = sum(computed) / 2, abs(computed[0] - computed[1]) / 2
    points = apart + (POINTS if published < SMALL else LARGE_POINTS)
    reference = Reference(
        family=CIRCUIT.name,
        group=group,
        source="reference 8.1, derived",
        unit="%",
        judged=Tolerance.ABSOLUTE,
        tolerance=points + SIGMAS * float(error),
    )
    return reference.row(f"{count} rows", published, float(values.mean()), standard_error=error)


def _rapid(measuring: Measuring) -> list[ValidationRow]:
    rows = []
    for count, limit in RAPID:
        if not measuring.full and count > LONGEST_QUICK_ROWS:
            continue
        cols, vectors = (8, 8) if measuring.full else (4, 2)
        for case in rapid_errors(
            count, 25e-6, 0.15, seed=measuring.seed, cols=cols, vectors=vectors
        ):
            group = f"rapid solver, {count} rows, worst error of full scale"
            at = f"{case.loads}; {case.widths}"
            rows.append(_reference(group).row(at, PERCENT * limit, PERCENT * case.worst))
        measuring.task.advance()
    return rows


def _reference(group: str) -> Reference:
    return Reference(
        family=CIRCUIT.name,
        group=group,
        source="exact, same run",
        unit="%",
        judged=Tolerance.AT_MOST,
        tolerance=0.0,
    )


def _measure(measuring: Measuring) -> FamilyResult:
    rows, plot = _ir_drop(measuring)
    rows += _floors(measuring)
    rows += _rapid(measuring)
    return FamilyResult(rows=rows, plots=(plot,))


CIRCUIT = Family(name="circuit", measure=_measure, steps=(7, 6))
