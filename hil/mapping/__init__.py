"""hil.mapping."""
