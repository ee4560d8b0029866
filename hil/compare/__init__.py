"""Programming methods side by side: same cells, same age, same calibration, stated pulses."""

from hil.compare.matrices import MatrixKind, make_matrix
from hil.compare.plan import ComparisonPlan, Setting, plan_comparison
from hil.compare.plots import plot_adc_bits, plot_methods
from hil.compare.rows import ComparisonRow
from hil.compare.run import run_comparison
from hil.compare.summary import ComparisonSummary, ErrorSpread, RatioSpread, summarise

__all__ = [
    "ComparisonPlan",
    "ComparisonRow",
    "ComparisonSummary",
    "ErrorSpread",
    "MatrixKind",
    "RatioSpread",
    "Setting",
    "make_matrix",
    "plan_comparison",
    "plot_adc_bits",
    "plot_methods",
    "run_comparison",
    "summarise",
]
