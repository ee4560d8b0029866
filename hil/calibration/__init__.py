"""Calibration: a measurement (what to set, what to observe) x a search (how), kept as a record."""

from hil.calibration.adc_gain import AdcGain
from hil.calibration.adc_offset import AdcOffset
from hil.calibration.base import (
    TEMPERATURE_BAND_KELVIN,
    Judgement,
    Measurement,
    Seen,
    Setup,
    Stimulus,
    Values,
    run_calibration,
)
from hil.calibration.batch_norm import BatchNormStatistics, ChannelMoments, restore_statistics
from hil.calibration.column_affine import ColumnAffine
from hil.calibration.drift import DriftBaseline, DriftMode, DriftScale, drift_scale
from hil.calibration.input_range import InputRange, RangeRule, choose_input_range
from hil.calibration.record import (
    CalibrationRecord,
    Parameter,
    load_record,
    save_record,
)
from hil.calibration.search import BinarySearch, Knob, KnobPlace, LeastSquares, LinearSolve, Search
from hil.calibration.validity import apply_record, require_valid

__all__ = [
    "TEMPERATURE_BAND_KELVIN",
    "AdcGain",
    "AdcOffset",
    "BatchNormStatistics",
    "BinarySearch",
    "CalibrationRecord",
    "ChannelMoments",
    "ColumnAffine",
    "DriftBaseline",
    "DriftMode",
    "DriftScale",
    "InputRange",
    "Judgement",
    "Knob",
    "KnobPlace",
    "LeastSquares",
    "LinearSolve",
    "Measurement",
    "Parameter",
    "RangeRule",
    "Search",
    "Seen",
    "Setup",
    "Stimulus",
    "Values",
    "apply_record",
    "choose_input_range",
    "drift_scale",
    "load_record",
    "require_valid",
    "restore_statistics",
    "run_calibration",
    "save_record",
]
