"""hil.training."""
