"""Fitting: from a core's verbs to a preset file of what its devices and converters do."""

from hil.fitting.measuring import Found, measure_and_fit
from hil.fitting.plan import Effort, FitPlan
from hil.fitting.plots import plot_laws, plot_residuals
from hil.fitting.results import FitReport, make_preset, make_report

__all__ = [
    "Effort",
    "FitPlan",
    "FitReport",
    "Found",
    "make_preset",
    "make_report",
    "measure_and_fit",
    "plot_laws",
    "plot_residuals",
]
