"""Pictures of a fit, as PNG bytes: what was seen against what was fitted. Reads no file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hil.report_figure import INK, grid_figure, legend_below, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hil.fitting.estimates import Curve
    from hil.fitting.measuring import Found

__all__ = ["plot_laws", "plot_residuals"]

SEEN, FITTED = "#d55e00", "#0072b2"
THIRDS = ("#e69f00", "#009e73", "#56b4e9")
_SIZE = (11.5, 6.2)


def plot_laws(found: Found) -> bytes:
    """Draw cycle noise, drift, read noise and relaxation against r, with 95 % bands."""
    laws = found.laws
    panels: tuple[tuple[Curve, str], ...] = (
        (found.cycle.sigma, "cycle noise of RESET, % of g_max"),
        (laws.mu, "mean drift exponent"),
        (laws.sd, "its spread over devices"),
        (laws.q, "read-noise coefficient Q"),
        (laws.relaxation, "relaxation up to t0, % of g_max"),
    )
    figure, axes = grid_figure(_SIZE, 2, 3, panels=len(panels))
    for axis, (curve, name) in zip(axes, panels, strict=True):
        scale = 100.0 if "%" in name else 1.0
        grid = np.linspace(curve.r[0], curve.r[-1], 200)
        axis.fill_between(
            curve.r, scale * curve.low, scale * curve.high, color=FITTED, alpha=0.2, linewidth=0
        )
        axis.plot(grid, scale * curve.at(grid), color=FITTED, label="fitted, 95 % band")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("conductance over g_max")
        axis.set_ylim(bottom=min(0.0, float(scale * curve.low.min())))
    legend_below(figure, axes)
    return png_bytes(figure)


def plot_residuals(found: Found) -> bytes:
    """Draw data beside what was fitted: scatter of landings, drift, scatter by age, SET steps."""
    figure, axes = grid_figure(_SIZE, 2, 3, panels=5)
    _sweep(axes[0], found)
    cycle = found.cycle
    axes[1].plot(cycle.aimed, 100 * cycle.seen, "o", color=SEEN, markersize=3, label="seen")
    axes[1].plot(cycle.aimed, 100 * cycle.fitted, color=FITTED, label="fitted")
    axes[1].set_title("scatter of reads around their aim, % of g_max", fontsize=9)
    axes[1].set_xlabel("aimed conductance over g_max")
    _by_age(axes[2], found, found.laws.decay, "conductance over where it landed")
    spread = (np.sqrt(found.laws.scatter[0]), np.sqrt(found.laws.scatter[1]))
    _by_age(axes[3], found, spread, "its scatter")
    pulses = np.arange(1, found.steps.seen.size + 1)
    axes[4].plot(pulses, found.steps.seen, "o", color=SEEN, markersize=4, label="seen")
    axes[4].plot(pulses, found.steps.fitted, color=FITTED, label="fitted")
    axes[4].set_title("incremental SET, mean step, µS", fontsize=9)
    axes[4].set_xlabel("pulse")
    legend_below(figure, axes)
    return png_bytes(figure)


def _sweep(axis: Axes, found: Found) -> None:
    ampere, seen, meant = found.curves.course
    order = np.argsort(ampere)
    axis.plot(1e6 * ampere, seen, "o", color=SEEN, markersize=3, label="seen")
    axis.plot(1e6 * ampere[order], meant[order], color=FITTED, label="fitted")
    axis.set_title("RESET curve, mean over devices, over g_max", fontsize=9)
    axis.set_xlabel("amplitude, µA")


def _by_age(axis: Axes, found: Found, pair: tuple[np.ndarray, np.ndarray], name: str) -> None:
    parts = ("low r", "middle r", "high r")
    for k, (seen, meant) in enumerate(zip(*pair, strict=True)):
        colour = THIRDS[k]
        axis.plot(found.axis.age_s, seen, "o", color=colour, markersize=3)
        axis.plot(found.axis.age_s, meant, color=colour, label=f"fitted, {parts[k]}")
    axis.axvline(found.axis.t0_s, color=INK, linewidth=0.6, linestyle=":")
    axis.set_xscale("log")
    axis.set_title(f"{name} (dots: seen)", fontsize=9)
    axis.set_xlabel("age, s")
