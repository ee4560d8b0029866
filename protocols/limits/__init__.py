"""Pulse limits by chip model: data files, no code."""
