"""hil.training.networks."""
