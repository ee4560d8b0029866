"""hil.inference."""
