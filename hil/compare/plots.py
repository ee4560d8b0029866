"""Pictures of a comparison, as PNG bytes. Draws from its summary; reads no file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.compare.plan import Setting
from hil.compare.summary import ComparisonSummary, ErrorSpread, Spread
from hil.experiment_words import age_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_adc_bits", "plot_methods"]

# Okabe & Ito (2008): told apart by colour-blind readers and in grey.
_STYLES: dict[str, tuple[str, str]] = {
    Setting.PUBLISHED: ("#e69f00", "verify, published margin"),
    Setting.BEST: ("#d55e00", "verify, own best margin"),
    Setting.DELAYED: ("#cc79a7", "verify, best margin, late reads"),
    Setting.NO_RETENTION: ("#999999", "gradient descent, aims at t0"),
    Setting.EQUAL_PULSES: ("#56b4e9", "gradient descent, verify's pulses"),
    Setting.GDP: ("#0072b2", "gradient descent"),
}
_GRID = "#dddddd"
_DOTS_PER_INCH = 130
_PANEL_INCH = (4.6, 3.3)


def plot_methods(summary: ComparisonSummary) -> bytes:
    """Draw the MVM error after the affine fit by matrix: a panel per age, a bar per setting."""
    ages = list(dict.fromkeys(e.age_s for e in summary.errors))
    matrices = list(dict.fromkeys(e.matrix for e in summary.errors))
    shown = [s for s in _STYLES if any(e.setting == s for e in summary.errors)]
    found = {(e.matrix, e.age_s, e.setting): e for e in summary.errors}
    figure, axes = _figure(len(ages))
    width = 0.84 / len(shown)
    for axis, age_s in zip(axes, ages, strict=True):
        for k, setting in enumerate(shown):
            colour, name = _STYLES[setting]
            errors = [found[m, age_s, setting].mvm_error_affine for m in matrices]
            left = np.arange(len(matrices)) + width * (k - (len(shown) - 1) / 2)
            axis.bar(
                left,
                _percent(errors),
                yerr=_halves(errors),
                width=0.92 * width,
                color=colour,
                ecolor="#222222",
                error_kw={"linewidth": 0.9},
                capsize=1.5,
                label=name,
            )
        axis.set_title(f"{age_text(age_s)} after the last pulse", fontsize=10)
        axis.set_xticks(range(len(matrices)), [m.replace("_", "\n") for m in matrices], fontsize=8)
    axes[0].set_ylabel("MVM error after affine fit, %")
    _legend(figure, axes[0], columns=3)
    return _png(figure)


def plot_adc_bits(summary: ComparisonSummary) -> bytes:
    """Draw the error against ADC bits: whole as lines, the part of the matrix itself dashed."""
    ages = list(dict.fromkeys(e.age_s for e in summary.by_adc_bits))
    figure, axes = _figure(len(ages))
    for axis, age_s in zip(axes, ages, strict=True):
        for setting in (Setting.PUBLISHED, Setting.GDP):
            mine = [e for e in summary.by_adc_bits if (e.age_s, e.setting) == (age_s, setting)]
            colour, name = _STYLES[setting]
            _line(axis, mine, [e.mvm_error_affine for e in mine], color=colour, label=name)
            linear = [e.linear_error for e in mine]
            if None not in linear:
                _line(
                    axis,
                    mine,
                    [s for s in linear if s is not None],
                    color=colour,
                    linestyle="--",
                    label=f"{name}: programmed matrix alone",
                )
        axis.set_title(f"{age_text(age_s)} after the last pulse", fontsize=10)
        axis.set_xticks(sorted({e.adc_bits for e in summary.by_adc_bits}))
        axis.set_xlabel("ADC bits")
    axes[0].set_ylabel("MVM error after affine fit, %")
    _legend(figure, axes[0], columns=2)
    return _png(figure)


def _line(
    axis: Axes,
    at: Sequence[ErrorSpread],
    values: Sequence[Spread],
    **style: Any,  # noqa: ANN401 - matplotlib's own
) -> None:
    axis.errorbar(
        [e.adc_bits for e in at],
        _percent(values),
        yerr=_halves(values),
        marker="o",
        markersize=4.5,
        linewidth=1.5,
        capsize=2.5,
        **style,
    )


def _percent(values: Sequence[Spread]) -> list[float]:
    return [100 * v.mean for v in values]


def _halves(values: Sequence[Spread]) -> list[float] | None:
    halves = [v.half for v in values if v.half is not None]
    return [100 * h for h in halves] if len(halves) == len(values) else None


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    width, height = _PANEL_INCH
    figure = Figure(figsize=(0.4 + width * panels, height + 0.6), layout="constrained")
    axes: list[Any] = list(np.atleast_1d(np.asarray(figure.subplots(1, panels, sharey=True))))
    for axis in axes:
        axis.grid(visible=True, axis="y", color=_GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, color=_GRID)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def _legend(figure: Figure, axis: Axes, *, columns: int) -> None:
    for other in figure.axes:
        other.set_ylim(bottom=0)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
