"""hil.calibration."""
