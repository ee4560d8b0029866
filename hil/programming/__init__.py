"""hil.programming."""
